// Writes stamped blocks to a device from several threads and leaves the history in a folder:
//   stamp_writer.ts DEVICE FOLDER SECONDS SEED [MIB=16] [THREADS=4] [SYNC_ONE_IN=16] [AT_MIB=0] [live]
// history.json: shape, counts per thread of issued, acknowledged and synced writes, errno that ended
// it (0: its time was up); thread-N.bin: the records of tests/support/stamps.ts.
// With live, a record is in the folder before its write is issued, and synced-N.bin says what an fsync
// has covered: for power cuts, which leave nobody to write history.json.
// Exits 0 also when I/O failed, so that a killed daemon can be tested: the caller looks at `failed`.

import { recordWords, type StampShape } from "../../support/stamps.ts";
import type { StampThreadStart } from "./stamp_thread.ts";

const [device, folder, seconds, seed, mib = "16", threadsText = "4", sync = "16"] = Deno.args;
const [atMib = "0", live = ""] = Deno.args.slice(7);
const threads = Number(threadsText);
const shape: StampShape = { threads, blocks: Number(mib) * 256 };
const WRITES_MAX = 200_000;

function shared(words: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(words * 4));
}

const acknowledged = shared(threads);
const synced = shared(threads);
const logs = Array.from({ length: threads }, () => shared(WRITES_MAX * recordWords(shape)));
const failures = await Promise.all(logs.map((log, thread) => {
  const worker = new Worker(new URL("./stamp_thread.ts", import.meta.url), { type: "module" });
  const start: StampThreadStart = {
    device,
    shape,
    thread,
    seed: Number(seed) + thread,
    seconds: Number(seconds),
    syncOneIn: Number(sync),
    startBytes: Number(atMib) * 1024 * 1024,
    liveFolder: live === "live" ? folder : null,
    acknowledged,
    synced,
    log,
  };
  return new Promise<number>((resolve, reject) => {
    worker.onmessage = (event) => resolve(event.data.failed);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(start);
  });
}));

// A write that failed may have reached the primary, so its record counts as issued.
const issued = logs.map((_, thread) => acknowledged[thread] + (failures[thread] ? 1 : 0));
for (const [thread, log] of logs.entries()) {
  const records = log.slice(0, issued[thread] * recordWords(shape));
  Deno.writeFileSync(`${folder}/thread-${thread}.bin`, new Uint8Array(records.buffer));
}
const history = {
  shape,
  issued,
  acknowledged: [...acknowledged],
  synced: [...synced],
  failed: failures.find((errno) => errno !== 0) ?? 0,
};
Deno.writeTextFileSync(`${folder}/history.json`, JSON.stringify(history));
Deno.exit(0);
