// What happened in a world: a digest of every event, and its text for a person who replays a seed.

/** A violation of a promise, or something that can't go on: the world ends. */
export class SimFailure extends Error {
  override name = "SimFailure";
}

/** The first violation of this world: code under test may have swallowed what was thrown. */
let first: SimFailure | null = null;

export function violated(message: string): never {
  first ??= new SimFailure(message);
  throw first;
}

/** The violation since the last call, if there was one. */
export function takeViolation(): SimFailure | null {
  const failure = first;
  first = null;
  return failure;
}

export class Trace {
  readonly #now: () => number;
  /** Prints every line; null: only the digest. */
  readonly #print: ((line: string) => void) | null;
  #low = 0x811c9dc5;
  #high = 0x1b873593;

  constructor(now: () => number, print: ((line: string) => void) | null) {
    this.#now = now;
    this.#print = print;
  }

  /** `what` is fixed text; the values say the rest. */
  add(what: string, ...values: (number | string)[]): void {
    this.#mix(Math.round(this.#now() * 1000));
    this.#text(what);
    for (const value of values) {
      if (typeof value === "number") this.#mix(value);
      else this.#text(value);
    }
    if (this.#print === null) return;
    const time = this.#now().toFixed(3).padStart(12);
    this.#print(`${time} ${what} ${values.join(" ")}`);
  }

  /** Text that a replay shows and that no digest depends on. */
  note(text: string): void {
    this.#print?.(`${this.#now().toFixed(3).padStart(12)} ${text}`);
  }

  get digest(): string {
    return hex(this.#high) + hex(this.#low);
  }

  #mix(value: number): void {
    this.#low = Math.imul(this.#low ^ (value | 0), 0x01000193);
    this.#high = Math.imul(this.#high ^ (value | 0), 0x85ebca6b) + this.#low | 0;
    this.#low ^= this.#low >>> 15;
  }

  #text(text: string): void {
    for (let i = 0; i < text.length; i++) this.#mix(text.charCodeAt(i));
  }
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
