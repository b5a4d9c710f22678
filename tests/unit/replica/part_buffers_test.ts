// Who gets a buffer, and who waits, when calls are aborted at the wrong moment.

import { PartBuffers } from "../../../src/replica/part_buffers.ts";
import { assertEquals } from "../../support/assert.ts";

// The abort of a call that has just got its place took somebody else out of the queue, for ever.
Deno.test("PartBuffers.lend() gives every waiting call its turn, whenever another is aborted", async () => {
  for (let ticks = 0; ticks < 8; ticks++) {
    const buffers = new PartBuffers({ sizeBytes: 8, count: 1 });
    const first = Promise.withResolvers<void>();
    const abort = new AbortController();
    const lent = buffers.lend(undefined, () => first.promise);
    const aborted = buffers.lend(abort.signal, () => Promise.resolve()).catch(() => undefined);
    let served = false;
    const last = buffers.lend(undefined, () => Promise.resolve(served = true));
    first.resolve();
    for (let tick = 0; tick < ticks; tick++) await null;
    abort.abort();
    await Promise.all([lent, aborted]);
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals(served, true, `aborted after ${ticks} turns of promises`);
    await last;
  }
});
