// How fast resync may copy (R10): never above the operator's limit, and while the guest works only half
// of the time, so that the drive is the guest's first. Pure: time comes in.

export class ResyncPace {
  readonly #bytesPerSecond: number;
  #limitMs = 0;
  #yieldMs = 0;

  /** `bytesPerSecond`: null for no limit. */
  constructor(bytesPerSecond: number | null) {
    this.#bytesPerSecond = bytesPerSecond ?? Infinity;
  }

  /** Milliseconds until the next copy may begin. */
  delayMs(nowMs: number): number {
    return Math.max(0, this.#limitMs - nowMs, this.#yieldMs - nowMs);
  }

  /** A copy of that many bytes begins. */
  began(nowMs: number, bytes: number): void {
    this.#limitMs = Math.max(this.#limitMs, nowMs) + bytes / this.#bytesPerSecond * 1000;
  }

  /** A copy ended. `guestIsBusy`: requests of the guest were served meanwhile. */
  ended(nowMs: number, tookMs: number, guestIsBusy: boolean): void {
    if (guestIsBusy) this.#yieldMs = Math.max(this.#yieldMs, nowMs + tookMs);
  }
}
