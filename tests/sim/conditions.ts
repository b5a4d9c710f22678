// Waiting until something is so: looked at after every event of the world.

export class Conditions {
  readonly #waiting: { readonly holds: () => boolean; readonly resolve: () => void }[] = [];

  /** Resolves after the first event after which `holds` says so. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ holds, resolve }));
  }

  /** After an event: whether somebody goes on. */
  look(): boolean {
    let moved = false;
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      if (!this.#waiting[i].holds()) continue;
      this.#waiting.splice(i, 1)[0].resolve();
      moved = true;
    }
    return moved;
  }
}
