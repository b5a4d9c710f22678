// A cache of things read from segments, bounded in bytes: least recently used go first. Everything in
// a segment is immutable, so an entry never goes stale.
//
// A value that is longer than the whole bound is not kept. Evicted values stay valid for whoever
// still holds them: the bound is on what the cache itself keeps alive.

export interface Sized {
  readonly byteLength: number;
}

export class ByteLru<T extends Sized> {
  readonly bytesMax: number;
  #bytes = 0;
  // A Map iterates in order of insertion; a hit re-inserts.
  readonly #entries = new Map<number, T>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value, which becomes the most recently used. */
  get(id: number): T | undefined {
    const value = this.#entries.get(id);
    if (value !== undefined) {
      this.#entries.delete(id);
      this.#entries.set(id, value);
    }
    return value;
  }

  /** The value, without a change of its rank. */
  peek(id: number): T | undefined {
    return this.#entries.get(id);
  }

  set(id: number, value: T): void {
    this.delete(id);
    if (value.byteLength > this.bytesMax) return;
    this.#entries.set(id, value);
    this.#bytes += value.byteLength;
    for (const [oldest, { byteLength }] of this.#entries) {
      if (this.#bytes <= this.bytesMax) break;
      this.#entries.delete(oldest);
      this.#bytes -= byteLength;
    }
  }

  delete(id: number): void {
    const value = this.#entries.get(id);
    if (value === undefined) return;
    this.#entries.delete(id);
    this.#bytes -= value.byteLength;
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }
}
