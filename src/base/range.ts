// Numbers that an operator gives. Callers: config.ts and the commands.

import { usageError } from "./errors.ts";

/** A usage error unless `value` is a whole number from `least` to `greatest`. `name`: "--depth". */
export function checkRange(
  name: string,
  value: number,
  least: number,
  greatest: number,
  hint?: string,
): void {
  if (Number.isSafeInteger(value) && value >= least && value <= greatest) return;
  throw usageError(`Cannot use ${name} ${value}: it must be from ${least} to ${greatest}`, {
    hint,
  });
}
