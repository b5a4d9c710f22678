// One stream of a guest's output: collected as text, echoed if wanted, and waited for.

/** The text that came so far from one of the guest's ports. */
export class Output {
  #text = "";
  #ended = false;
  #waiters: (() => void)[] = [];

  /** The tail that is kept; a guest that prints without end must not fill this machine. */
  static readonly keptChars = 16 * 1024 * 1024;

  get text(): string {
    return this.#text;
  }

  /** Reads the stream to its end. `echo` gets every chunk first. */
  async collect(
    stream: AsyncIterable<Uint8Array>,
    echo?: (chunk: Uint8Array) => void,
  ): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of stream) {
        echo?.(chunk);
        this.#append(decoder.decode(chunk, { stream: true }));
      }
    } finally {
      this.#ended = true;
      this.#append(decoder.decode());
    }
  }

  /** Resolves with the first match of `pattern`, rejects when the stream ends or time is up. */
  async waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    const deadline = Date.now() + timeoutMs;
    while (true) {
      const match = pattern.exec(this.#text);
      if (match) return match;
      if (this.#ended) throw new Error(`The guest ended without printing ${pattern}`);
      if (!await this.#changed(deadline - Date.now())) {
        throw new Error(`The guest did not print ${pattern} within ${timeoutMs} ms`);
      }
    }
  }

  #append(text: string): void {
    this.#text = (this.#text + text).slice(-Output.keptChars);
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  /** True when something came, false when the time is up. */
  #changed(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), Math.max(0, timeoutMs));
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }
}
