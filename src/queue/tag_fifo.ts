// Tags that wait, in the order in which they came. Every tag is in at most one FIFO, so it never
// overflows; nothing is allocated after construction.

export class TagFifo {
  readonly #tags: Int32Array;
  #first = 0;
  length = 0;

  constructor(depth: number) {
    this.#tags = new Int32Array(depth);
  }

  push(tag: number): void {
    this.#tags[(this.#first + this.length++) % this.#tags.length] = tag;
  }

  front(): number {
    return this.#tags[this.#first];
  }

  shift(): number {
    const tag = this.#tags[this.#first];
    this.#first = (this.#first + 1) % this.#tags.length;
    this.length--;
    return tag;
  }
}
