// The tests' assertions: node's, under the names that Deno's test suites use.

import assert from "node:assert/strict";

export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  assert.deepEqual(actual, expected, message);
}

export function assertThrows(
  run: () => unknown,
  // deno-lint-ignore no-explicit-any -- any constructor of errors
  type: new (...args: any[]) => Error,
  part = "",
  message?: string,
): void {
  assert.throws(run, matches(type, part), message);
}

export function assertRejects(
  run: () => Promise<unknown>,
  // deno-lint-ignore no-explicit-any -- any constructor of errors
  type: new (...args: any[]) => Error,
  part = "",
  message?: string,
): Promise<void> {
  return assert.rejects(run, matches(type, part), message);
}

// deno-lint-ignore no-explicit-any -- any constructor of errors
function matches(type: new (...args: any[]) => Error, part: string) {
  return (error: unknown) => {
    assert(error instanceof type, `threw ${error}, not a ${type.name}`);
    assert(error.message.includes(part), `"${error.message}" does not contain "${part}"`);
    return true;
  };
}

export { assert };
