// How much of a contended processor the replicator takes (promise 1: the primary never waits for the
// replica). Queues serve a guest who waits; the replicator has a pool to fall back on. So it runs at
// a lower priority, until falling back has filled half of the pool: then it counts like everybody,
// because a full pool costs the guest more than a shared processor. Pure.

/** Nice value with room in the pool: about a third of a queue's share where they compete. */
export const COURTEOUS_NICE = 5;
const EQUAL_NICE = 0;

/** Where between courteous and equal the replicator stays as it is: no back and forth. */
const EQUAL_FROM = 0.5;
const COURTEOUS_BELOW = 0.25;

/** The nice value for the replicator, given the one it has and how full the pool is (0 to 1). */
export function niceFor(current: number, poolUse: number): number {
  if (poolUse >= EQUAL_FROM) return EQUAL_NICE;
  return poolUse < COURTEOUS_BELOW ? COURTEOUS_NICE : current;
}
