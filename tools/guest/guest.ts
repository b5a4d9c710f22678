// A guest: a stock Debian kernel in QEMU that runs one command on this machine's own files.
//
// The guest's root is this machine's root, read-only, under an overlay in memory: every program and
// every path is the same on both sides, writes vanish with the guest. What shall stay goes to a disk
// or to the shared folder. One guest is one run: start(), then wait for `finished` or powerCut().

import { prepareDisk } from "./disks.ts";
import { writeJob } from "./job.ts";
import { guestParts } from "./kernel.ts";
import type { GuestOptions, GuestOutcome, GuestResult } from "./options.ts";
import { Output } from "./output.ts";
import { killChild, spawnBound } from "./process.ts";
import { type PortName, PORTS, qemuArguments } from "./qemu.ts";

export * from "./options.ts";

const VIRTIOFSD = "/usr/lib/qemu/virtiofsd";
const BOOT_LIMIT_MS = 90_000;
const BOOTS_MAX = 3;

/**
 * Boots a guest, runs the command and waits for its end. Under emulation a kernel now and then loses its
 * timer while it boots, and stands still: a boot that never comes to the command says nothing about the
 * command, and is repeated.
 */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  for (let boot = 1;; boot++) {
    const guest = await Guest.start(options);
    await guest.started.catch(() => undefined);
    if (!guest.standsStill || boot === BOOTS_MAX) return await guest.finished;
    await guest.powerCut();
  }
}

type Outputs = Readonly<Record<PortName, Output>>;

/** A running guest. */
export class Guest {
  /** Resolves when the guest has ended, however it did. Never rejects. */
  readonly finished: Promise<GuestResult>;
  /** Resolves with the time the boot took when the command starts; rejects if the guest ends before. */
  readonly started: Promise<number>;

  readonly #outputs: Outputs;
  readonly #qemu: Deno.ChildProcess;
  readonly #startedAtMs: number;
  readonly #isShell: boolean;
  /** Why the power was cut, once it was. */
  #cut: GuestOutcome | undefined;
  #standsStill = false;

  private constructor(
    parts: { outputs: Outputs; qemu: Deno.ChildProcess; startedAtMs: number },
    options: GuestOptions,
    cleanUp: () => Promise<void>,
  ) {
    this.#outputs = parts.outputs;
    this.#qemu = parts.qemu;
    this.#startedAtMs = parts.startedAtMs;
    this.#isShell = options.shell ?? false;
    this.finished = this.#finish(options.timeLimitMs ?? 300_000, cleanUp);
    this.started = this.#waitForStart(options.bootLimitMs ?? BOOT_LIMIT_MS);
    this.started.catch(() => undefined); // whoever asks gets the rejection; nobody need ask
  }

  /** Boots a guest; resolves when QEMU runs, before the kernel is up. */
  static async start(options: GuestOptions): Promise<Guest> {
    const parts = await guestParts(options.kernel ?? kernelFromEnvironment());
    const directory = await Deno.makeTempDir({ prefix: "guest-" });
    const children: Deno.ChildProcess[] = [];
    const cleanUp = async () => {
      for (const child of children) killChild(child);
      await Promise.all(children.map((child) => child.status));
      await Deno.remove(directory, { recursive: true });
    };
    try {
      const startedAtMs = performance.now();
      await writeJob(directory, options, parts);
      const shares = new Map([["root", `${directory}/root.sock`]]);
      children.push(startVirtiofsd("/", "always", `${directory}/root.sock`));
      if (options.share !== undefined) {
        shares.set("share", `${directory}/share.sock`);
        children.push(startVirtiofsd(options.share, "auto", `${directory}/share.sock`));
      }
      const diskPaths = await Promise.all(
        (options.disks ?? []).map((disk, index) => prepareDisk(disk, index, directory)),
      );
      await Promise.all([...shares.values()].map(waitForFile));
      const ports = PORTS.map((name) => ({ name, socket: listen(`${directory}/${name}.sock`) }));
      const args = qemuArguments(options, { directory, parts, diskPaths, shares });
      const qemu = spawnBound(parts.qemuPath, args, {
        stdin: options.shell ? "inherit" : "null",
        stdout: options.shell ? "inherit" : "null",
      });
      children.push(qemu);
      const outputs: Partial<Record<PortName, Output>> = {};
      for (const { name, socket } of ports) {
        outputs[name] = receive(socket, options.echo ? echoTo(name) : undefined);
        qemu.status.finally(() => closeQuietly(socket));
      }
      return new Guest({ outputs: outputs as Outputs, qemu, startedAtMs }, options, cleanUp);
    } catch (error) {
      await cleanUp();
      throw error;
    }
  }

  /** It has not come to the command in the time that a boot takes many times over. */
  get standsStill(): boolean {
    return this.#standsStill;
  }

  /** What the command has printed so far. */
  get stdout(): Output {
    return this.#outputs.stdout;
  }

  get stderr(): Output {
    return this.#outputs.stderr;
  }

  /**
   * What was written to $GUEST_EVENTS. A write to it that returned is here even if the power is cut
   * right after, which stdout (a pipe in the guest) does not promise.
   */
  get events(): Output {
    return this.#outputs.events;
  }

  get kernelLog(): Output {
    return this.#outputs.console;
  }

  /** Cuts the power: the guest's memory is gone, what its disks were given stays. */
  powerCut(): Promise<GuestResult> {
    this.#cutPower("power-cut");
    return this.finished;
  }

  #cutPower(reason: GuestOutcome): void {
    this.#cut ??= reason;
    // Asked to end, QEMU leaves a shell's terminal as it was.
    killChild(this.#qemu, this.#isShell && reason === "exited" ? "SIGTERM" : "SIGKILL");
  }

  async #waitForStart(limitMs: number): Promise<number> {
    try {
      await this.#outputs.control.waitFor(/^ready$/m, limitMs);
    } catch (error) {
      const waitedMs = performance.now() - this.#startedAtMs;
      this.#standsStill = this.#cut === undefined && waitedMs >= limitMs;
      throw error;
    }
    return performance.now() - this.#startedAtMs;
  }

  async #finish(timeLimitMs: number, cleanUp: () => Promise<void>): Promise<GuestResult> {
    const limit = setTimeout(() => this.#cutPower("time-limit"), timeLimitMs);
    const exited = this.#outputs.control.waitFor(/^exit (\d+)$/m, timeLimitMs + 1000)
      .then((match) => {
        this.#cutPower("exited");
        return Number(match[1]);
      }, () => undefined);
    const qemuLog = await new Response(this.#qemu.stderr).text();
    await this.#qemu.status;
    clearTimeout(limit);
    const exitCode = await exited;
    await cleanUp();
    const kernelLog = this.kernelLog.text.replaceAll("\r", "");
    const panicked = /Kernel panic/.test(kernelLog);
    const outcome = this.#cut ?? (panicked ? "panic" : "died");
    return {
      outcome,
      exitCode: outcome === "exited" ? exitCode : undefined,
      stdout: this.stdout.text,
      stderr: this.stderr.text,
      kernelLog,
      qemuLog,
      elapsedMs: performance.now() - this.#startedAtMs,
    };
  }
}

function kernelFromEnvironment(): "backports" | "sid" {
  return Deno.env.get("KERNEL") === "sid" ? "sid" : "backports";
}

function startVirtiofsd(source: string, cache: "always" | "auto", socket: string) {
  const options = [`source=${source}`, `cache=${cache}`, "sandbox=chroot"];
  return spawnBound(VIRTIOFSD, [`--socket-path=${socket}`, ...options.flatMap((o) => ["-o", o])]);
}

async function waitForFile(path: string): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (await Deno.stat(path).then(() => true, () => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Cannot share this machine's files with a guest: virtiofsd did not make ${path}`);
}

function listen(path: string): Deno.UnixListener {
  return Deno.listen({ transport: "unix", path });
}

/** Collects what QEMU sends on the one connection it makes to the port's socket. */
function receive(socket: Deno.UnixListener, echo?: (chunk: Uint8Array) => void): Output {
  const output = new Output();
  output.collect(connection(socket), echo).catch(() => undefined); // ends with QEMU, in whatever way
  return output;
}

async function* connection(socket: Deno.UnixListener): AsyncGenerator<Uint8Array> {
  const peer = await socket.accept();
  yield* peer.readable;
}

function closeQuietly(socket: Deno.UnixListener): void {
  socket.close();
}

function echoTo(port: PortName): ((chunk: Uint8Array) => void) | undefined {
  if (port === "stdout") return (chunk) => writeAll(Deno.stdout, chunk);
  if (port === "stderr") return (chunk) => writeAll(Deno.stderr, chunk);
  return undefined;
}

function writeAll(to: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}
