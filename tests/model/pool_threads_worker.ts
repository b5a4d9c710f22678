// One producer of pool_threads_test.ts: locks a block range, "writes" it to the model of the primary,
// captures it and unlocks, as a queue does.

import { sharedViews } from "../../src/shared/layout.ts";
import { ENTRY_DATA, Pool } from "../../src/shared/pool.ts";
import { IntervalLock } from "../../src/shared/interval_lock.ts";
import { ringIfAsleep } from "../../src/shared/bell.ts";
import { Prng } from "../support/prng.ts";
import type { ProducerStart } from "./pool_threads_test.ts";

self.onmessage = (event: MessageEvent<ProducerStart>) => {
  const { buffer, layout, primary, seed, writes, id } = event.data;
  const views = sharedViews(buffer, layout);
  const pool = new Pool(views);
  const lock = new IntervalLock(views);
  const random = new Prng(seed);
  const source = layout.tagBuffersOffset + id * layout.tagStrideBytes;
  const words = new Int32Array(buffer, source, layout.ioBufBytes / 4);
  for (let i = 0; i < writes; i++) {
    const count = 1 + random.below(8);
    const start = random.below(primary.length - count);
    while (!lock.tryLock(start, count));
    const stamp = (id << 24) | i;
    for (let k = 0; k < count; k++) {
      primary[start + k] = stamp;
      words[k * layout.unitBytes / 4] = stamp;
    }
    while (!pool.reserve(count));
    const position = pool.reservedAt;
    pool.fill(position, source, count * layout.unitBytes);
    pool.publish(position, ENTRY_DATA, start, count);
    ringIfAsleep(views.words);
    lock.unlock(start, count);
  }
  self.postMessage("done");
};
