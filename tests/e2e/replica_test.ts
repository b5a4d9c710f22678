// io-replica on a real ublk driver: writes with stamps from several threads, then, on this side of
// the guest, every checkpoint must be a prefix of the history and the replica equal to the primary.

import { MiB } from "../../src/base/units.ts";
import { type GuestResult, kernelTrouble, runGuest } from "../../tools/guest/guest.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { seedOf } from "../support/prng.ts";
import { checkEqual, checkReplica, readHistory } from "../support/stamp_history.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PRIMARY_BYTES = 64 * MiB;

function explain(result: GuestResult): string {
  return [result.stdout, result.stderr, result.kernelLog, result.qemuLog].join("\n");
}

/** Runs a scenario with a primary on a virtio disk; `check` gets the shared folder. */
async function withGuest(
  script: string,
  check: (share: string, primary: string) => Promise<void>,
): Promise<void> {
  const share = await Deno.makeTempDir({ prefix: "replica-" });
  const primary = `${share}/primary.img`;
  try {
    const result = await runGuest({
      command: `. ${ROOT}tests/e2e/programs/replica_prelude.sh\n${script}`,
      env: { ROOT, SHARE: share },
      share,
      disks: [{ path: primary, sizeBytes: PRIMARY_BYTES }],
      timeLimitMs: 400_000,
    });
    assertEquals([result.outcome, result.exitCode], ["exited", 0], explain(result));
    assertEquals(kernelTrouble(result.kernelLog), [], explain(result));
    await check(share, primary);
  } finally {
    await Deno.remove(share, { recursive: true });
  }
}

async function onlyChild(directory: string): Promise<string> {
  const names = await Array.fromAsync(Deno.readDir(directory), (entry) => entry.name);
  assertEquals(names.length, 1);
  return `${directory}/${names[0]}`;
}

for (const queues of [1, 4]) {
  Deno.test(`every checkpoint is a prefix of the write history, on ${queues} queues`, async () => {
    const seed = seedOf(`replica on ${queues} queues`);
    await withGuest(
      `
      formatted "$DISK0"
      added "$DISK0" -q ${queues} --pool-size 16MiB
      stamped 40 ${seed}
      io stop -n 0 || fail stop
      gone stopped
      saved`,
      async (share, primary) => {
        const { history } = readHistory(share);
        assertEquals(history.failed, 0);
        const verdict = await checkReplica(await onlyChild(`${share}/replica`), share);
        await checkEqual(primary, verdict.head);
        const writes = history.issued.reduce((sum, count) => sum + count, 0);
        assert(verdict.checkpoints >= 40, `only ${verdict.checkpoints} checkpoints`);
        assert(verdict.held > 0.8 * writes, "a stop brings everything to the replica");
      },
    );
  });
}

Deno.test("a killed daemon leaves a prefix on the replica and flushed writes on the primary", async () => {
  const seed = seedOf("killed daemon");
  await withGuest(
    `
    formatted "$DISK0"
    added "$DISK0" -q 2 --pool-size 16MiB
    stamped 60 ${seed} &
    sleep 15
    kill -KILL $(daemon)
    wait
    io del -n 0 || fail del
    gone killed
    cp "$DISK0" "$SHARE/after-kill.img" || fail cp
    added "$DISK0" -q 2
    io stop -n 0 || fail stop
    saved`,
    async (share, primary) => {
      const { history, checker } = readHistory(share);
      assert(history.failed !== 0, "the writer met the kill");
      // The primary right after the kill: a state of the history in which nothing synced is missing.
      const image = Deno.readFileSync(`${share}/after-kill.img`)
        .subarray(0, history.shape.blocks * 4096);
      const held = checker.check(image);
      const synced = history.synced.reduce((sum, count) => sum + count, 0);
      assert(held >= synced, `primary holds ${held} writes, ${synced} were synced`);
      // After the second start the two are equal again; every checkpoint is a prefix.
      const verdict = await checkReplica(await onlyChild(`${share}/replica`), share);
      await checkEqual(primary, verdict.head);
    },
  );
});
