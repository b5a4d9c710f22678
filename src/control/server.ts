// The daemon's end of the control socket. The socket is there from before the device is started (so
// that a busy path is found while nothing is changed yet) until the device is gone.
//
// Invariants:
// - the socket has mode 0600 from the moment it exists;
// - only a socket on which nobody answers is replaced, and never a file of another type;
// - whatever a client sends or leaves out costs it its own connection at most.

import { reportOf } from "../base/error_report.ts";
import { systemClock } from "../base/clock.ts";
import { messageOf, ReplicaError, systemReason, usageError } from "../base/errors.ts";
import { roomLog } from "../base/log.ts";
import { within } from "../base/within.ts";
import { checkSocketPath } from "../config.ts";
import { ping, UnreachableError } from "./client.ts";
import { LineConnection, type LineLimits } from "./line_connection.ts";
import {
  encodeLine,
  type ModeReport,
  parseRequest,
  type PingReport,
  type Request,
  REQUEST_BYTES_MAX,
  type Response,
  type StatsReport,
  type StatusReport,
} from "./protocol.ts";
import { withRunDirectoryLock } from "./run_directory.ts";
import type { VerifyReport } from "../replication/verify_report.ts";
import type { DeviceProgress, VerifyOrder } from "./running_device.ts";
import type { WantedMode } from "../replication/wanted_mode.ts";

/** What the server asks of the daemon. */
export interface ControlHandler {
  ping(): PingReport;
  status(): StatusReport;
  stats(): StatsReport;
  setMode(wanted: WantedMode): Promise<ModeReport>;
  /** Compares primary and replica. */
  verify(order: VerifyOrder): Promise<VerifyReport>;
  /** Resolves when the device is stopped. */
  stop(onProgress: (progress: DeviceProgress) => void): Promise<void>;
}

export interface ServerOptions {
  readonly path: string;
  readonly handler: ControlHandler;
  /** Its lock keeps two daemons from taking the same path at the same time. */
  readonly runDirectory: string;
  readonly limits?: LineLimits;
  readonly clientsMax?: number;
}

const LIMITS: LineLimits = { lineBytesMax: REQUEST_BYTES_MAX, idleMs: 60_000, lineMs: 10_000 };
/** How long close() waits for answers under way, such as the one to "stop". */
const CLOSE_MS = 2_000;
/** Too many open files, perhaps: it passes. */
const ACCEPT_RETRY_MS = 100;

export class ControlServer {
  readonly path: string;
  readonly #listener: Deno.UnixListener;
  readonly #options: ServerOptions;
  readonly #clients = new Map<LineConnection, Promise<void>>();
  readonly #answering = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(listener: Deno.UnixListener, options: ServerOptions) {
    this.#listener = listener;
    this.#options = options;
    this.path = options.path;
    this.#accepting = this.#accept();
  }

  /** Takes the path and begins to answer. A usage error when somebody else answers there. */
  static async listen(options: ServerOptions): Promise<ControlServer> {
    checkSocketPath(options.path);
    const listener = await withRunDirectoryLock(options.runDirectory, async () => {
      await clearPath(options.path);
      return bind(options.path);
    });
    return new ControlServer(listener, options);
  }

  /** Stops answering, after answers under way are sent, and removes the socket. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Under the lock, since Deno removes the socket by its path, which could be the next daemon's.
    await withRunDirectoryLock(this.#options.runDirectory, () => {
      this.#listener.close();
      return Promise.resolve();
    });
    await this.#accepting;
    await within(Promise.allSettled(this.#answering), CLOSE_MS);
    const serving = [...this.#clients.values()];
    for (const client of this.#clients.keys()) client.close();
    await Promise.allSettled(serving);
  }

  async #accept(): Promise<void> {
    const clientsMax = this.#options.clientsMax ?? 64;
    for (;;) {
      const connection = await this.#nextConnection();
      if (connection === null) return;
      const client = new LineConnection(connection, this.#options.limits ?? LIMITS);
      const serving = this.#clients.size >= clientsMax ? refuse(client) : this.#serve(client);
      this.#clients.set(client, serving.finally(() => this.#clients.delete(client)));
    }
  }

  /** Null: the server closes. No failure to accept a client is the guest's. */
  async #nextConnection(): Promise<Deno.UnixConn | null> {
    for (;;) {
      try {
        return await this.#listener.accept();
      } catch (error) {
        if (this.#closing !== undefined || error instanceof Deno.errors.BadResource) return null;
        roomLog("main").warn("Cannot take a request", { error: messageOf(error) });
        await systemClock.sleep(ACCEPT_RETRY_MS);
      }
    }
  }

  async #serve(client: LineConnection): Promise<void> {
    try {
      for (;;) {
        const line = await client.readLine();
        if (line === null) break;
        const answering = this.#answer(client, line);
        this.#answering.add(answering);
        await answering.finally(() => this.#answering.delete(answering));
      }
    } catch (error) {
      await sayLast(client, error);
    } finally {
      client.close();
    }
  }

  async #answer(client: LineConnection, line: Uint8Array): Promise<void> {
    let response: Response;
    try {
      const request = parseRequest(line);
      response = { ok: true, result: await this.#result(client, request) };
    } catch (error) {
      if (!(error instanceof ReplicaError)) {
        roomLog("control").error("A request failed unexpectedly", { error: messageOf(error) });
      }
      response = { ok: false, error: reportOf(error) };
    }
    await client.send(encodeLine(response));
  }

  async #result(client: LineConnection, request: Request): Promise<unknown> {
    const { handler } = this.#options;
    switch (request.command) {
      case "ping":
        return handler.ping();
      case "status":
        return handler.status();
      case "stats":
        return handler.stats();
      case "set-mode":
        return await handler.setMode(request.mode);
      case "verify":
        return await verifyWhileHeard(client, handler, request.repair);
      case "stop":
        // A stop goes on when the client that asked for it goes away.
        await withProgress(client, (onProgress) => handler.stop(onProgress));
        return {};
    }
  }
}

/** A comparison ends when the client that asked for it goes away. */
async function verifyWhileHeard(
  client: LineConnection,
  handler: ControlHandler,
  repair: boolean,
): Promise<VerifyReport> {
  const gone = new AbortController();
  return await withProgress(
    client,
    (onProgress) => handler.verify({ repair, onProgress, signal: gone.signal }),
    () => gone.abort(),
  );
}

/**
 * Runs what takes long and sends its progress. A client that reads slowly gets the newest progress
 * whenever it is ready for one; one that went away gets none, and `onGone` is called.
 */
async function withProgress<T>(
  client: LineConnection,
  run: (onProgress: (progress: DeviceProgress) => void) => Promise<T>,
  onGone: () => void = () => {},
): Promise<T> {
  let newest: DeviceProgress | null = null;
  let sending: Promise<void> | null = null;
  async function sendNewest(): Promise<void> {
    try {
      while (newest !== null) {
        const progress: DeviceProgress = newest;
        newest = null;
        await client.send(encodeLine({ progress }));
      }
    } catch (error) {
      roomLog("control").debug("A client left before the end", { reason: messageOf(error) });
      onGone();
      return; // `sending` stays set: nothing more is sent
    }
    sending = null;
  }
  try {
    return await run((progress) => {
      newest = progress;
      sending ??= sendNewest();
    });
  } finally {
    await sending;
  }
}

async function refuse(client: LineConnection): Promise<void> {
  await sayLast(client, new ReplicaError("unavailable", "Cannot serve: too many clients"));
  client.close();
}

/** The last words to a client whose connection ends; it may not hear them. */
async function sayLast(client: LineConnection, error: unknown): Promise<void> {
  try {
    await client.send(encodeLine({ ok: false, error: reportOf(error) }));
  } catch (failed) {
    roomLog("control").debug("A client went away", { reason: messageOf(failed) });
  }
}

function bind(path: string): Deno.UnixListener {
  const before = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (cause) {
    throw usageError(`Cannot listen on the socket "${path}": ${systemReason(cause)}`, {
      cause,
      hint: "Give a --unix-socket in a directory that exists and that this user may write.",
    });
  } finally {
    Deno.umask(before);
  }
}

/** Makes way for a new socket at `path`, or throws when the path is in use. */
async function clearPath(path: string): Promise<void> {
  const info = await lstatOrNull(path);
  if (info === null) return;
  if (!info.isSocket) {
    throw usageError(`Cannot listen on the socket "${path}": a file of another type is there`, {
      hint: "Give another --unix-socket, or remove the file yourself.",
    });
  }
  const holder = await whoAnswers(path);
  if (holder !== null) {
    throw usageError(`Cannot listen on the socket "${path}": ${holder} answers on it`, {
      hint: "Stop that daemon, or give another --unix-socket.",
    });
  }
  removeSocket(path);
}

/** Describes the daemon that holds the socket; null when nobody listens on it. */
async function whoAnswers(path: string): Promise<string | null> {
  try {
    const { pid, device } = await ping(path, { timeoutMs: 2_000 });
    return `the daemon with pid ${pid}${device === null ? "" : ` (${device})`}`;
  } catch (error) {
    if (error instanceof UnreachableError && error.reason === "refused") return null;
    return "another program";
  }
}

async function lstatOrNull(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw usageError(`Cannot use the socket "${path}": ${systemReason(error)}`, { cause: error });
  }
}

function removeSocket(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    roomLog("control").warn("The control socket stays behind", { path, reason: messageOf(error) });
  }
}
