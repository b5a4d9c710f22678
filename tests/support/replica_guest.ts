// Runs an io-replica scenario in a guest, with a primary and a folder that this side sees as well.
// Called by the tests of tests/e2e and tests/alone.

import { MiB } from "../../src/base/units.ts";
import { assertEquals } from "./assert.ts";
import { type ScenarioOptions, ublkGuest } from "./ublk_guest.ts";

export interface ReplicaGuestOutput {
  /** The folder that the guest shared, gone afterwards. */
  readonly share: string;
  /** The file behind the first disk. */
  readonly primary: string;
  readonly lines: readonly string[];
}

/** `check` sees what the scenario printed and left in the shared folder. */
export async function replicaGuest(
  script: string,
  check: (output: ReplicaGuestOutput) => void | Promise<void>,
  options: ScenarioOptions & { primaryMib?: number } = {},
): Promise<void> {
  const { primaryMib = 64, disks = [], env = {}, ...rest } = options;
  const share = await Deno.makeTempDir({ prefix: "replica-" });
  const primary = `${share}/primary.img`;
  try {
    const lines = await ublkGuest(script, {
      prelude: "replica_prelude.sh",
      env: { SHARE: share, ...env },
      share,
      disks: [{ path: primary, sizeBytes: primaryMib * MiB }, ...disks],
      timeLimitMs: 400_000,
      ...rest,
    });
    await check({ share, primary, lines });
  } finally {
    await Deno.remove(share, { recursive: true });
  }
}

/** The one entry of a directory. */
export async function onlyChild(directory: string): Promise<string> {
  const names = await Array.fromAsync(Deno.readDir(directory), (entry) => entry.name);
  assertEquals(names.length, 1);
  return `${directory}/${names[0]}`;
}
