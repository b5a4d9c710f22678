// Time as a dependency: what the simulator runs - replicator, replica, target - takes a Clock, so that
// the simulator and the tests decide what time it is. What deals with the kernel or a socket takes
// the system's.

export interface Clock {
  /** Milliseconds since the epoch, for records that people and other machines read. */
  wallMs(): number;
  /** Monotonic milliseconds, for intervals. */
  nowMs(): number;
  /** Resolves after `ms`, or at once when `signal` is aborted; never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
  });
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  nowMs: () => performance.now(),
  sleep,
};
