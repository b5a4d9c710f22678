// Copies a checkpoint to an export's target: windows of the image, several at once, each filled by
// range reads and written by runs.
//
// Invariants:
// - Memory is bounded: a fixed number of window buffers, whatever the size or shape of the image.
// - Every byte of the image is either written, zeroed, or left to a target that reads as zeros there.
// - When it has settled, nothing reads or writes any more.

import { SharedArea } from "../../ffi/memory.ts";
import { alignDown, alignUp, MiB } from "../base/units.ts";
import { closedError } from "../replica/store_error.ts";
import type { HyperfileReader } from "../replica/hyperfile_reader.ts";
import type { ExportTarget } from "./target.ts";

const WINDOW_BYTES = 4 * MiB;
/** Windows at once, at most: 64 MiB of buffers. */
const WINDOWS_MAX = 16;
/** Stretches of zeros are written in pieces, so that an abort does not wait for a whole device. */
const ZERO_BYTES_MAX = 1024 * MiB;

export interface CopyProgress {
  /** How far the copy is in the image; only ever grows. */
  readonly positionBytes: number;
  /** Bytes of data written so far. */
  readonly dataBytes: number;
}

export interface CopyOptions {
  /** Size of the image: not less than the file in the replica. */
  readonly sizeBytes: number;
  /** Range reads at once. The reader was opened with the same number. */
  readonly concurrency: number;
  readonly signal?: AbortSignal;
  onProgress?(progress: CopyProgress): void;
}

/** Bytes `startBytes` to `endBytes - 1` of the image. */
interface Span {
  startBytes: number;
  endBytes: number;
}

type Job =
  /** A stretch within one window, and its runs of data. */
  | {
    readonly type: "data";
    readonly span: Span;
    readonly runs: Span[];
    /** Without the gaps that are written as zeros. */
    readonly dataBytes: number;
  }
  | { readonly type: "zero"; readonly span: Span };

/** Copies the checkpoint that `reader` has open; returns the bytes of data that were written. */
export async function copyCheckpoint(
  reader: HyperfileReader,
  target: ExportTarget,
  options: CopyOptions,
): Promise<number> {
  const stop = new AbortController();
  const signal = options.signal === undefined
    ? stop.signal
    : AbortSignal.any([options.signal, stop.signal]);
  const jobs = planJobs(reader, target, { sizeBytes: options.sizeBytes, signal });
  const progress = { positionBytes: 0, dataBytes: 0 };
  const failures: unknown[] = [];

  async function worker(): Promise<void> {
    const area = SharedArea.allocate(WINDOW_BYTES);
    try {
      for (;;) {
        if (signal.aborted) throw closedError("Cannot export: interrupted", signal.reason);
        const next = await jobs.next();
        if (next.done) return;
        const job = next.value;
        await runJob(job, { reader, target, area, signal });
        if (job.type === "data") progress.dataBytes += job.dataBytes;
        progress.positionBytes = Math.max(progress.positionBytes, job.span.endBytes);
        options.onProgress?.({ ...progress });
      }
    } catch (error) {
      // The first one is the reason; the others end because of it.
      failures.push(error);
      stop.abort();
    } finally {
      area.release();
    }
  }

  const workers = Math.min(options.concurrency, WINDOWS_MAX);
  await Promise.all(Array.from({ length: workers }, worker));
  if (failures.length > 0) throw failures[0];
  return progress.dataBytes;
}

/** The whole image as jobs, in ascending order. */
async function* planJobs(
  reader: HyperfileReader,
  target: ExportTarget,
  { sizeBytes, signal }: { sizeBytes: number; signal: AbortSignal },
): AsyncGenerator<Job, void, undefined> {
  let doneBytes = 0;
  let window: Span[] = [];
  let dataBytes = 0;

  function* close(): Generator<Job> {
    if (window.length === 0) return;
    const span = { startBytes: window[0].startBytes, endBytes: window[window.length - 1].endBytes };
    yield* zeroJobs(target, doneBytes, span.startBytes);
    yield { type: "data", span, runs: window, dataBytes };
    doneBytes = span.endBytes;
    window = [];
    dataBytes = 0;
  }

  for await (const extent of reader.extents(0, Infinity, signal)) {
    const startBytes = extent.startBlock * reader.dataBlockBytes;
    const endBytes = Math.min(
      startBytes + extent.blockCount * reader.dataBlockBytes,
      reader.sizeBytes,
    );
    for (let at = startBytes; at < endBytes;) {
      const windowEnd = alignDown(at, WINDOW_BYTES) + WINDOW_BYTES;
      const span = { startBytes: at, endBytes: Math.min(endBytes, windowEnd) };
      const open = window.at(-1);
      if (open !== undefined && windowOf(open) !== windowOf(span)) yield* close();
      dataBytes += span.endBytes - span.startBytes;
      addRun(window, span, target.gapBytesMax);
      at = span.endBytes;
    }
  }
  yield* close();
  yield* zeroJobs(target, doneBytes, sizeBytes);
}

function windowOf({ startBytes }: Span): number {
  return Math.floor(startBytes / WINDOW_BYTES);
}

function addRun(runs: Span[], span: Span, gapBytesMax: number): void {
  const last = runs.at(-1);
  const joins = last !== undefined &&
    (span.startBytes === last.endBytes || span.startBytes - last.endBytes < gapBytesMax);
  if (joins) last.endBytes = span.endBytes;
  else runs.push(span);
}

function* zeroJobs(target: ExportTarget, startBytes: number, endBytes: number): Generator<Job> {
  // Data that ends within a unit is written with zeros up to the unit's end.
  const first = alignUp(startBytes, target.unitBytes);
  if (target.zero === null) {
    // Holes cost nothing, but count for the progress.
    if (endBytes > startBytes) yield { type: "zero", span: { startBytes, endBytes } };
    return;
  }
  for (let at = first; at < endBytes; at += ZERO_BYTES_MAX) {
    const span = { startBytes: at, endBytes: Math.min(endBytes, at + ZERO_BYTES_MAX) };
    yield { type: "zero", span };
  }
}

async function runJob(
  job: Job,
  { reader, target, area, signal }: {
    reader: HyperfileReader;
    target: ExportTarget;
    area: SharedArea;
    signal: AbortSignal;
  },
): Promise<void> {
  const { startBytes, endBytes } = job.span;
  if (job.type === "zero") {
    await target.zero?.(startBytes, endBytes - startBytes);
    return;
  }
  const base = alignDown(startBytes, WINDOW_BYTES);
  const window = area.bytes.subarray(startBytes - base, endBytes - base);
  await reader.read(startBytes, window, signal);
  let doneBytes = startBytes;
  for (const run of job.runs) {
    if (run.startBytes > doneBytes) await target.zero?.(doneBytes, run.startBytes - doneBytes);
    const from = run.startBytes - base;
    const dataEnd = run.endBytes - base;
    // Only the image's last run ends within a unit; the rest of that unit reads as zeros.
    const to = alignUp(dataEnd, target.unitBytes);
    area.bytes.fill(0, dataEnd, to);
    await target.write(run.startBytes, area.bytes.subarray(from, to));
    doneBytes = run.endBytes;
  }
}
