// As much of HTTP/1.1 as the fault proxy needs: heads, and bodies of a stated length or up to the
// end of the connection.

export interface HttpMessage {
  readonly startLine: string;
  /** Names in lower case. */
  readonly headers: Map<string, string>;
  body: Uint8Array;
}

const HEAD_END = new TextEncoder().encode("\r\n\r\n");

/** Reads messages off a connection, not faster than a rate. */
export class MessageReader {
  readonly #connection: Deno.Conn;
  readonly #bytesPerSecond: () => number;
  #buffered: Uint8Array = new Uint8Array();

  constructor(connection: Deno.Conn, bytesPerSecond: () => number) {
    this.#connection = connection;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Null at the end of the connection. */
  async readHead(): Promise<HttpMessage | null> {
    let end = -1;
    while ((end = indexOf(this.#buffered, HEAD_END)) < 0) {
      if (!await this.#more(64 * 1024)) return null;
    }
    const text = new TextDecoder("latin1").decode(this.#buffered.subarray(0, end));
    this.#buffered = this.#buffered.subarray(end + HEAD_END.length);
    const [startLine, ...lines] = text.split("\r\n");
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    return { startLine, headers, body: new Uint8Array() };
  }

  /** The body of a message with a Content-Length (none means 0). */
  async readBody(head: HttpMessage): Promise<Uint8Array> {
    return await this.#take(Number(head.headers.get("content-length") ?? 0));
  }

  /** Reads a body of `length` bytes and forgets it. */
  async skip(length: number, scratch: Uint8Array): Promise<void> {
    let left = length - this.#buffered.length;
    this.#buffered = this.#buffered.subarray(length);
    while (left > 0) {
      const read = await this.#connection.read(scratch.subarray(0, left));
      if (read === null) throw new Deno.errors.UnexpectedEof("a body ended early");
      left -= read;
    }
  }

  /** Everything up to the end of the connection. */
  async readToEnd(): Promise<Uint8Array> {
    return await this.#take(Infinity);
  }

  async #take(length: number): Promise<Uint8Array> {
    const parts = [this.#buffered];
    let total = this.#buffered.length;
    while (total < length) {
      this.#buffered = new Uint8Array();
      if (!await this.#more(Math.min(1024 * 1024, length - total))) {
        if (length === Infinity) break;
        throw new Deno.errors.UnexpectedEof("a body ended early");
      }
      parts.push(this.#buffered);
      total += this.#buffered.length;
    }
    const bytes = new Uint8Array(total);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    const end = Math.min(length, total);
    this.#buffered = bytes.subarray(end);
    return bytes.subarray(0, end);
  }

  async #more(atMost: number): Promise<boolean> {
    const rate = this.#bytesPerSecond();
    const limited = Number.isFinite(rate);
    const chunk = new Uint8Array(Math.max(1, Math.min(atMost, limited ? rate / 20 : atMost)));
    const read = await this.#connection.read(chunk);
    if (read === null) return false;
    if (limited) await new Promise((resolve) => setTimeout(resolve, 1000 * read / rate));
    const joined = new Uint8Array(this.#buffered.length + read);
    joined.set(this.#buffered);
    joined.set(chunk.subarray(0, read), this.#buffered.length);
    this.#buffered = joined;
    return true;
  }
}

/** The bytes of a message as they go over the wire. */
export function serialize(message: HttpMessage): Uint8Array {
  const lines = [...message.headers].map(([name, value]) => `${name}: ${value}\r\n`);
  const head = Uint8Array.from(
    `${message.startLine}\r\n${lines.join("")}\r\n`,
    (character) => character.charCodeAt(0),
  );
  const bytes = new Uint8Array(head.length + message.body.length);
  bytes.set(head);
  bytes.set(message.body, head.length);
  return bytes;
}

function indexOf(bytes: Uint8Array, pattern: Uint8Array): number {
  for (let at = 0; at + pattern.length <= bytes.length; at++) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
