// One thread of stamp_writer.ts: writes, one after the other, until its time is up or I/O fails.

import { EIO, errno } from "../../../ffi/errno.ts";
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  O_DIRECT,
  O_RDWR,
  openLibc,
} from "../../../ffi/libc.ts";
import { cString, SharedArea } from "../../../ffi/memory.ts";
import { Prng } from "../../support/prng.ts";
import { BLOCK, KIND_WRITE, KIND_ZERO, recordWords } from "../../support/stamps.ts";
import { RUN_BLOCKS, runsOf, stamp, type StampShape } from "../../support/stamps.ts";

export interface StampThreadStart {
  readonly device: string;
  readonly shape: StampShape;
  readonly thread: number;
  readonly seed: number;
  readonly seconds: number;
  /** One write in so many is followed by an fsync. */
  readonly syncOneIn: number;
  /** Where the stamped blocks begin on the device. */
  readonly startBytes: number;
  /** Where records and synced numbers go at once; null: nowhere. */
  readonly liveFolder: string | null;
  /** Acknowledged writes of each thread. */
  readonly acknowledged: Int32Array;
  /** Last write of each thread that an fsync covers. */
  readonly synced: Int32Array;
  readonly log: Int32Array;
}

/** Files on the other side of the guest: what was written to them outlives a power cut. */
class LiveHistory {
  readonly #records: Deno.FsFile;
  readonly #synced: Deno.FsFile;

  constructor(folder: string, thread: number) {
    this.#records = Deno.openSync(`${folder}/thread-${thread}.bin`, { write: true, create: true });
    this.#synced = Deno.openSync(`${folder}/synced-${thread}.bin`, { write: true, create: true });
  }

  issue(record: Int32Array): void {
    this.#records.writeSync(new Uint8Array(new Int32Array(record).buffer));
  }

  synced(number: number): void {
    this.#synced.writeSync(new Uint8Array(Int32Array.of(number).buffer));
  }
}

self.onmessage = (event: MessageEvent<StampThreadStart>) => {
  const start = event.data;
  const { device, shape, thread, startBytes, acknowledged, synced, log } = start;
  const live = start.liveFolder === null ? null : new LiveHistory(start.liveFolder, thread);
  const libc = openLibc();
  const fd = libc.open(cString(device), O_RDWR | O_DIRECT, 0);
  if (fd < 0) throw new Error(`Cannot open ${device}: errno ${errno()}`);
  const area = SharedArea.allocate(RUN_BLOCKS * BLOCK);
  const random = new Prng(start.seed);
  const runs = runsOf(shape, thread);
  const words = recordWords(shape);
  const limit = log.length / words;
  const until = performance.now() + start.seconds * 1000;
  let failed = 0;
  for (let number = 1; number <= limit && performance.now() < until; number++) {
    const offset = random.below(RUN_BLOCKS);
    const count = 1 + random.below(random.oneIn(12) ? RUN_BLOCKS - offset : 1);
    const first = random.pick(runs) + offset;
    const zero = random.oneIn(8);
    const at = (number - 1) * words;
    log[at] = first;
    log[at + 1] = count;
    log[at + 2] = zero ? KIND_ZERO : KIND_WRITE;
    for (let other = 0; other < shape.threads; other++) {
      log[at + 3 + other] = Atomics.load(acknowledged, other);
    }
    live?.issue(log.subarray(at, at + words));
    const from = BigInt(startBytes + first * BLOCK);
    const bytes = area.bytes.subarray(0, count * BLOCK) as Uint8Array<ArrayBuffer> | Uint8Array;
    let done: number;
    if (zero) {
      const mode = random.oneIn(2) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
      const size = BigInt(count * BLOCK);
      done = libc.fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, from, size);
    } else {
      stamp(bytes, thread, number);
      const view = bytes as Uint8Array<ArrayBuffer>;
      done = Number(libc.pwrite(fd, view, BigInt(view.length), from));
      if (done >= 0 && done !== view.length) failed = EIO;
    }
    if (done < 0) failed = errno();
    if (failed !== 0) break;
    Atomics.store(acknowledged, thread, number);
    if (random.oneIn(start.syncOneIn)) {
      if (libc.fdatasync(fd) < 0) {
        failed = errno();
        break;
      }
      Atomics.store(synced, thread, number);
      live?.synced(number);
    }
  }
  libc.close(fd);
  self.postMessage({ failed });
};
