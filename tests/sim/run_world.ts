// Runs one world and says how it ended: the entry to the simulator.

import { armFailpoints } from "../../src/base/failpoints.ts";
import type { WorldFigures } from "./figures.ts";
import { SimFailure, takeViolation } from "./trace.ts";
import { World, type WorldOptions } from "./world.ts";

export interface WorldResult extends WorldFigures {
  readonly seed: number;
  /** What went wrong; null: nothing. */
  readonly failure: string | null;
}

/** Runs the world of `seed`. Worlds of one thread run one after the other. */
export async function runWorld(seed: number, options: WorldOptions = {}): Promise<WorldResult> {
  const world = new World(seed, options);
  const undo = options.bugs?.patch();
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    world.broke(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  takeViolation();
  let failure: string | null = null;
  try {
    await world.run();
  } catch (error) {
    failure = describe(takeViolation() ?? error);
  } finally {
    armFailpoints(null);
    globalThis.removeEventListener("unhandledrejection", onRejection);
    undo?.();
  }
  return { seed, failure, ...world.figures() };
}

/** A broken promise by its message; anything else is a bug somewhere, with its stack. */
function describe(error: unknown): string {
  if (error instanceof SimFailure) return error.message;
  return error instanceof Error ? `${error.message}\n${error.stack}` : String(error);
}
