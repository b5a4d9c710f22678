// Runs a scenario in a guest with ublk and fails unless the guest, its command and its kernel are well.
// Called by the tests of tests/e2e and tests/alone; what scenarios are made of is in tests/e2e/programs.

import { type GuestOptions, type GuestResult } from "../../tools/guest/guest.ts";
import { kernelTrouble, runGuest } from "../../tools/guest/guest.ts";
import { assertEquals } from "./assert.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

export interface ScenarioOptions extends Partial<GuestOptions> {
  /** Of tests/e2e/programs, with the scenario's functions. Default: ublk_prelude.sh. */
  prelude?: string;
}

/** The lines that the scenario printed. */
export async function ublkGuest(script: string, options: ScenarioOptions = {}): Promise<string[]> {
  const { prelude = "ublk_prelude.sh", env = {}, ...rest } = options;
  const result = await runGuest({
    command: `. ${ROOT}tests/e2e/programs/${prelude}\n${script}`,
    env: { ROOT, ...env },
    ...rest,
  });
  assertEquals([result.outcome, result.exitCode], ["exited", 0], explain(result));
  assertEquals(kernelTrouble(result.kernelLog), [], explain(result));
  return result.stdout.trim().split("\n");
}

function explain(result: GuestResult): string {
  return [result.stdout, result.stderr, result.kernelLog, result.qemuLog].join("\n");
}
