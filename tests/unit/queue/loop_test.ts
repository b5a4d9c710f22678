// The real loop and ring, with commands that complete at once instead of the driver's.

import { EAGAIN, EBUSY, EINTR, EINVAL } from "../../../ffi/errno.ts";
import { openLibc } from "../../../ffi/libc.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { LOOP_CONTROL, LOOP_CONTROL_BYTES, QueueLoop } from "../../../src/queue/loop.ts";
import type { TargetQueue } from "../../../src/queue/target_queue.ts";
import { IORING_OP_NOP, Ring } from "../../../src/ublk/ring.ts";
import { assertEquals, assertThrows } from "../../support/assert.ts";
import { openDoorbell } from "../../support/hot_loop.ts";

const DEPTH = 1;

interface LoopRun {
  /** After so many the loop is told to abandon what it has. */
  readonly requests: number;
  /** What the ring answers first. */
  readonly refusals: number[];
  /** What it answers once the loop was told; 0: it works. */
  readonly refusalAtEnd?: number;
}

/** Runs a loop; gives the number of requests that it served. */
function runLoop({ requests, refusals, refusalAtEnd = 0 }: LoopRun): number {
  const libc = openLibc();
  const ring = Ring.open({ entries: 8, completionEntries: 16, deferTaskRun: true });
  const submitAndWait = ring.submitAndWait.bind(ring);
  const doorbellFd = openDoorbell();
  const control = new Int32Array(new SharedArrayBuffer(LOOP_CONTROL_BYTES));
  const commands: number[] = [];
  let served = 0;
  const fetch = (tag: number, data: number) => {
    commands[tag] = data;
    ring.prepare(IORING_OP_NOP, -1, 0, 0, 0, 0, 0, 0, data);
  };
  const handler = {
    start(tag: number): void {
      if (++served === requests) {
        Atomics.store(control, LOOP_CONTROL.abandon, 1);
        libc.write(doorbellFd, new Uint8Array(new BigUint64Array([1n]).buffer), 8n);
      } else if (served < requests) {
        fetch(tag, commands[tag]);
      }
    },
    complete() {},
    parked: 0,
    wake() {},
  };
  const loop = new QueueLoop({
    ring,
    queue: { queueId: 0, depth: DEPTH, fetch },
    target: { inFlight: 0 } as TargetQueue,
    handler,
    doorbellFd,
    control,
  });
  try {
    loop.prime();
    ring.submitAndWait = (count) => {
      if (served >= requests && refusalAtEnd !== 0) return -refusalAtEnd;
      return -(refusals.shift() ?? -submitAndWait(count));
    };
    loop.run();
    return served;
  } finally {
    ring.close();
    loop.close();
    libc.close(doorbellFd);
  }
}

Deno.test("QueueLoop goes on when the kernel refuses to take requests for now", () => {
  const refusals = [EAGAIN, EBUSY, EINTR, EAGAIN];
  assertEquals(runLoop({ requests: 100, refusals }), 100);
  assertEquals(refusals, []);
});

Deno.test("QueueLoop hears that it is to abandon while the kernel takes nothing, its doorbell's read neither", () => {
  assertEquals(runLoop({ requests: 10, refusals: [], refusalAtEnd: EAGAIN }), 10);
});

Deno.test("QueueLoop ends with what the kernel refuses for good", () => {
  assertThrows(
    () => runLoop({ requests: 100, refusals: [EAGAIN, EINVAL] }),
    ReplicaError,
    "wait for requests",
  );
});
