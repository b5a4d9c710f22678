// Programmer errors. An invariant that fails is a bug of ours, never bad input: it is not caught,
// it takes its room down, and the main room then stops the device with the dirty state intact.

/** Thrown by {@link invariant}; deliberately not a ReplicaError, so that no handler absorbs it. */
export class InvariantError extends Error {
  override name = "InvariantError";
}

/** Throws {@link InvariantError} unless `condition` holds. `why` states the fact that must hold. */
export function invariant(condition: boolean, why: string): asserts condition {
  if (!condition) throw new InvariantError(`Invariant violated: ${why}`);
}
