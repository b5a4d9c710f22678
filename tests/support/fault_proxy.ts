// A proxy in front of an S3 server that does what networks and servers do on bad days: refuses,
// resets before or after the effect, cuts bodies off, hangs, delays, slows down. What happens to a
// request is decided by a function of that request, so a test names exactly the one it means.
//
// Bodies pass through memory whole: for tests, not for benchmarks.

import { type HttpMessage, MessageReader, serialize } from "./http_message.ts";

export type RequestKind =
  | "head"
  | "get"
  | "put"
  | "delete"
  | "list"
  | "bucket"
  | "begin"
  | "part"
  | "complete"
  | "abandon";

export interface ProxiedRequest {
  readonly kind: RequestKind;
  readonly method: string;
  readonly target: string;
  /** From 1: all requests, and those of this kind. */
  readonly number: number;
  readonly numberOfKind: number;
  readonly headers: ReadonlyMap<string, string>;
}

export type Fault =
  /** An answer instead of the server's; nothing reaches the server. */
  | {
    readonly type: "status";
    readonly status: number;
    readonly code?: string;
    readonly body?: string;
    readonly headers?: Readonly<Record<string, string>>;
  }
  /** The same, before the body was read, and the connection is closed. */
  | { readonly type: "early-status"; readonly status: number; readonly code?: string }
  /** The connection breaks; nothing reaches the server. */
  | { readonly type: "reset-before" }
  /** The server acts; the connection breaks before its answer. */
  | { readonly type: "reset-after" }
  /** The server gets half of the body. */
  | { readonly type: "cut-request" }
  /** The client gets half of the answer's body. */
  | { readonly type: "cut-response" }
  /** No answer, and nothing reaches the server. */
  | { readonly type: "hang" }
  /** The server acts; no answer. */
  | { readonly type: "hang-after" }
  /** The answer's head and half of its body, then silence. */
  | { readonly type: "stall-response" }
  | { readonly type: "delay"; readonly ms: number };

/** What goes wrong with a store in any way that a request can notice, but for throttling. */
export const USUAL_FAULTS: readonly Fault[] = [
  { type: "status", status: 500, code: "InternalError" },
  { type: "status", status: 403, code: "AccessDenied" },
  { type: "status", status: 409, code: "ConditionalRequestConflict" },
  { type: "status", status: 404, code: "NoSuchKey" },
  { type: "status", status: 412, code: "PreconditionFailed" },
  { type: "reset-before" },
  { type: "reset-after" },
  { type: "cut-request" },
  { type: "cut-response" },
  { type: "hang" },
  { type: "hang-after" },
];

export function nameOfFault(fault: Fault): string {
  return "status" in fault ? `${fault.type} ${fault.status}` : fault.type;
}

export interface FaultProxy {
  readonly endpoint: string;
  readonly port: number;
  /** What happens to a request; null: nothing special. May be replaced at any time. */
  plan: (request: ProxiedRequest) => Fault | null;
  /** Limit of every connection, in each direction; Infinity for none. */
  bytesPerSecond: number;
  /** While true, connections are accepted and nothing is read from them. */
  blackHole: boolean;
  /** While set, no request reaches the server and no answer the client; they go on when it resolves. */
  held: Promise<void> | null;
  readonly requests: ProxiedRequest[];
  count(kind: RequestKind): number;
  reset(): void;
  stop(): void;
}

export interface FaultProxyOptions {
  readonly targetPort: number;
  /** PEM texts: the proxy then speaks TLS to its clients. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Starts a proxy on a free port. */
export function startFaultProxy(options: FaultProxyOptions): FaultProxy {
  return new Proxy(options);
}

class Proxy implements FaultProxy {
  readonly port: number;
  readonly endpoint: string;
  plan: (request: ProxiedRequest) => Fault | null = () => null;
  bytesPerSecond = Infinity;
  blackHole = false;
  held: Promise<void> | null = null;
  readonly requests: ProxiedRequest[] = [];
  readonly #targetPort: number;
  readonly #listener: Deno.Listener;
  readonly #connections = new Set<Deno.Conn>();
  #stopped = false;

  constructor(options: FaultProxyOptions) {
    this.#targetPort = options.targetPort;
    const address = { hostname: "127.0.0.1", port: 0 };
    this.#listener = options.tls
      ? Deno.listenTls({ ...address, ...options.tls })
      : Deno.listen(address);
    this.port = (this.#listener.addr as Deno.NetAddr).port;
    this.endpoint = `${options.tls ? "https" : "http"}://127.0.0.1:${this.port}`;
    this.#accept();
  }

  count(kind: RequestKind): number {
    return this.requests.filter((request) => request.kind === kind).length;
  }

  reset(): void {
    this.requests.length = 0;
    this.plan = () => null;
    this.bytesPerSecond = Infinity;
    this.blackHole = false;
    this.held = null;
  }

  stop(): void {
    this.#stopped = true;
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
  }

  async #accept(): Promise<void> {
    while (!this.#stopped) {
      let connection: Deno.Conn;
      try {
        connection = await this.#listener.accept();
      } catch {
        if (this.#stopped) return;
        continue; // a client that went away, or a failed TLS handshake
      }
      this.#serve(connection);
    }
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    this.#connections.add(connection);
    try {
      const reader = new MessageReader(connection, () => this.bytesPerSecond);
      while (!this.#stopped) {
        while (this.blackHole) await sleep(20);
        const head = await reader.readHead();
        if (head === null || !await this.#handle(connection, reader, head)) break;
      }
    } catch (error) {
      if (!isGone(error)) throw error;
    } finally {
      close(connection);
      this.#connections.delete(connection);
    }
  }

  /** Serves one request; false when the connection is to be closed. */
  async #handle(client: Deno.Conn, reader: MessageReader, head: HttpMessage): Promise<boolean> {
    const request = this.#note(head);
    const fault = this.plan(request);
    await this.held;
    if (fault?.type === "early-status") {
      await client.write(answer(fault));
      return false;
    }
    if (fault?.type === "cut-request") {
      await this.#forwardHalf(reader, head);
      return false;
    }
    head.body = await reader.readBody(head);
    switch (fault?.type) {
      case "status":
        await writeAll(client, answer(fault, request.method));
        return true;
      case "reset-before":
        return false;
      case "hang":
        return await untilGone(client);
      case "delay":
        await sleep(fault.ms);
    }
    const response = await this.#forward(head);
    await this.held;
    switch (fault?.type) {
      case "reset-after":
        return false;
      case "hang-after":
        return await untilGone(client);
      case "cut-response":
      case "stall-response": {
        if (response.body.length === 0) break;
        const whole = serialize(response);
        await writeAll(
          client,
          whole.subarray(0, whole.length - Math.ceil(response.body.length / 2)),
        );
        return fault.type === "cut-response" ? false : await untilGone(client);
      }
    }
    await writeAll(client, serialize(response), this.bytesPerSecond);
    return request.method === "HEAD" || response.headers.has("content-length");
  }

  #note(head: HttpMessage): ProxiedRequest {
    const [method, target] = head.startLine.split(" ");
    const kind = kindOf(method, target);
    const number = this.requests.length + 1;
    const numberOfKind = this.count(kind) + 1;
    const request = { kind, method, target, number, numberOfKind, headers: head.headers };
    this.requests.push(request);
    return request;
  }

  async #forward(request: HttpMessage): Promise<HttpMessage> {
    const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#targetPort });
    try {
      request.headers.set("connection", "close");
      await writeAll(server, serialize(request));
      const reader = new MessageReader(server, () => Infinity);
      const response = await reader.readHead();
      if (response === null) throw new Deno.errors.ConnectionReset("the server closed");
      const ofHead = request.startLine.startsWith("HEAD ");
      if (!ofHead && response.headers.has("content-length")) {
        response.body = await reader.readBody(response);
      } else if (!ofHead) response.body = await reader.readToEnd();
      response.headers.delete("connection");
      return response;
    } finally {
      close(server);
    }
  }

  async #forwardHalf(reader: MessageReader, head: HttpMessage): Promise<void> {
    head.body = await reader.readBody(head);
    const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#targetPort });
    const whole = serialize(head);
    await writeAll(server, whole.subarray(0, whole.length - Math.ceil(head.body.length / 2)));
    close(server);
  }
}

function kindOf(method: string, target: string): RequestKind {
  const url = new URL(target, "http://proxy");
  const query = url.searchParams;
  if (method === "POST") return query.has("uploads") ? "begin" : "complete";
  if (method === "PUT") return query.has("partNumber") ? "part" : "put";
  if (method === "DELETE") return query.has("uploadId") ? "abandon" : "delete";
  if (query.has("list-type")) return "list";
  if (method === "HEAD") return /^\/[^/]+\/?$/.test(url.pathname) ? "bucket" : "head";
  return "get";
}

function answer(
  fault: {
    status: number;
    code?: string;
    body?: string;
    headers?: Readonly<Record<string, string>>;
  },
  method = "GET",
): Uint8Array {
  const { status, code } = fault;
  const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>injected</Message></Error>`;
  const body = new TextEncoder().encode(fault.body ?? (code ? xml : ""));
  const headers = new Map<string, string>(Object.entries(fault.headers ?? {}));
  headers.set("content-type", "application/xml");
  headers.set("content-length", String(body.length));
  const startLine = `HTTP/1.1 ${status} Injected`;
  return serialize({ startLine, headers, body: method === "HEAD" ? new Uint8Array() : body });
}

async function writeAll(
  connection: Deno.Conn,
  bytes: Uint8Array,
  bytesPerSecond = Infinity,
): Promise<void> {
  const sliceBytes = Number.isFinite(bytesPerSecond)
    ? Math.max(1, bytesPerSecond / 20)
    : 1024 * 1024;
  for (let at = 0; at < bytes.length;) {
    const written = await connection.write(bytes.subarray(at, at + sliceBytes));
    if (Number.isFinite(bytesPerSecond)) await sleep(1000 * written / bytesPerSecond);
    at += written;
  }
}

/** Waits until the client has closed the connection. */
async function untilGone(connection: Deno.Conn): Promise<false> {
  const scratch = new Uint8Array(4096);
  while (await connection.read(scratch) !== null);
  return false;
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error; // closed from the other side
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.UnexpectedEof || error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.InvalidData;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
