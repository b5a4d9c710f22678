// Progress that arrives also while nothing advances: whoever waits at the socket gives up on a daemon
// that stays silent. Callers: what implements RunningDevice.

const PROGRESS_MS = 500;

/** Runs `body` to its end; calls `report` at once and then every `everyMs` milliseconds meanwhile. */
export async function reportRegularly<T>(
  report: () => void,
  body: () => Promise<T>,
  everyMs = PROGRESS_MS,
): Promise<T> {
  report();
  const timer = setInterval(report, everyMs);
  try {
    return await body();
  } finally {
    clearInterval(timer);
  }
}
