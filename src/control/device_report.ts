// The parts of a device's status that every target has.

import type { CountersReport, ThroughputReport } from "./protocol.ts";
import type { QUEUE_COUNTER } from "../shared/counters.ts";

/** Reads one column of the queues' counters, summed. */
export type ReadCounter = (name: keyof typeof QUEUE_COUNTER) => number;

export function countersReport(read: ReadCounter): CountersReport {
  return {
    reads: read("reads"),
    readBytes: read("readBytes"),
    writes: read("writes"),
    writtenBytes: read("writtenBytes"),
    flushes: read("flushes"),
    discards: read("discards"),
    discardedBytes: read("discardedBytes"),
    writeZeroes: read("writeZeroes"),
    zeroedBytes: read("zeroedBytes"),
    errors: read("errors"),
  };
}

export function throughputReport(
  perSecond: Readonly<Record<keyof CountersReport, number>>,
  replicatedBytesPerSecond = 0,
): ThroughputReport {
  return {
    readBytesPerSecond: perSecond.readBytes,
    writeBytesPerSecond: perSecond.writtenBytes,
    readsPerSecond: perSecond.reads,
    writesPerSecond: perSecond.writes,
    replicatedBytesPerSecond,
  };
}
