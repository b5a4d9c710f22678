// A connection that carries lines, for both ends of the control socket: lines have a greatest length
// and every wait has a limit, so that a peer that says nothing, sends too much or reads too slowly
// costs a bounded amount of memory and time.

import { ReplicaError, usageError } from "../base/errors.ts";
import { within } from "../base/within.ts";

const NEWLINE = 10;

export interface LineLimits {
  readonly lineBytesMax: number;
  /** Longest wait for the first byte of a line. */
  readonly idleMs: number;
  /** Longest wait from a line's first byte to its end, and for an own line to be taken. */
  readonly lineMs: number;
}

/** The peer took too long. */
export class TooSlowError extends ReplicaError {
  constructor(what: string) {
    super("unavailable", `Cannot ${what}: the other side took too long`);
  }
}

export class LineConnection {
  readonly #connection: Deno.Conn;
  readonly #limits: LineLimits;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(connection: Deno.Conn, limits: LineLimits) {
    this.#connection = connection;
    this.#limits = limits;
  }

  /**
   * The next line without its newline; null when the peer has closed. Throws a usage error for a
   * line that is too long, `unavailable` when it takes too long; no further line can be read then.
   */
  async readLine(): Promise<Uint8Array | null> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    let chunk: Uint8Array | null = this.#rest;
    let deadline = performance.now() + this.#limits.idleMs;
    this.#rest = new Uint8Array(0);
    while (chunk !== null) {
      const end = chunk.indexOf(NEWLINE);
      const part = end < 0 ? chunk : chunk.subarray(0, end);
      if (length === 0 && part.length > 0) deadline = performance.now() + this.#limits.lineMs;
      chunks.push(part);
      length += part.length;
      if (length > this.#limits.lineBytesMax) {
        throw usageError(
          `Cannot read a line: it is longer than ${this.#limits.lineBytesMax} bytes`,
        );
      }
      if (end >= 0) {
        this.#rest = chunk.subarray(end + 1);
        return join(chunks, length);
      }
      chunk = await this.#read(deadline);
    }
    if (length > 0) throw usageError("Cannot read a line: it ends without a newline");
    return null;
  }

  /** Sends bytes; `unavailable` when the peer does not take them in time. */
  async send(bytes: Uint8Array): Promise<void> {
    const deadline = performance.now() + this.#limits.lineMs;
    for (let at = 0; at < bytes.length;) {
      at += await this.#within(deadline, "send to the other side", () => {
        return this.#connection.write(bytes.subarray(at));
      });
    }
  }

  /** Closes the connection; pending reads and writes fail. May be called twice. */
  close(): void {
    try {
      this.#connection.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #read(deadline: number): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(16 * 1024);
    const count = await this.#within(deadline, "read from the other side", () => {
      return this.#connection.read(buffer);
    });
    return count === null ? null : buffer.subarray(0, count);
  }

  /** Runs one operation; at the deadline it is abandoned (whoever gets the error closes). */
  async #within<T extends number | null>(
    deadline: number,
    what: string,
    operation: () => Promise<T>,
  ): Promise<T> {
    const done = await within(operation(), Math.max(0, deadline - performance.now()));
    if (done === "late") throw new TooSlowError(what);
    return done;
  }
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const line = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    line.set(chunk, at);
    at += chunk.length;
  }
  return line;
}
