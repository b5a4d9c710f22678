// What the client takes as an answer. A daemon may be of another version than the command that asks it,
// so every member that the command may use is checked; the compiler keeps these forms and the reports of
// protocol.ts together. Members of a newer daemon pass unseen. Caller: client.ts.

import {
  flag,
  type Form,
  listOf,
  natural,
  number,
  objectOf,
  oneOf,
  orNull,
  recordOf,
  text,
} from "../base/json_form.ts";
import type { ByteSpan, VerifyReport } from "../replication/verify_report.ts";
import type {
  CheckpointReport,
  CountersReport,
  DirtyReport,
  LagReport,
  ModeReport,
  PingReport,
  PoolReport,
  ReplicaErrorsReport,
  ResyncReport,
  StatsReport,
  StatusReport,
  ThroughputReport,
  VerifyStatusReport,
} from "./protocol.ts";

export const pingForm: Form<PingReport> = objectOf<PingReport>({
  pid: natural,
  version: text,
  device: orNull(text),
  uuid: orNull(text),
});

export const modeForm: Form<ModeReport> = objectOf<ModeReport>({ mode: text, note: text });

export const statsForm: Form<StatsReport> = objectOf<StatsReport>({
  takenMs: number,
  counters: recordOf(number),
});

/** The answer to "stop". */
export const stopForm: Form<object> = objectOf({});

const spanForm = objectOf<ByteSpan>({ offsetBytes: natural, lengthBytes: natural });

export const verifyForm: Form<VerifyReport> = objectOf<VerifyReport>({
  comparedBytes: natural,
  deviceSizeBytes: natural,
  cno: natural,
  differing: listOf(spanForm),
  damaged: listOf(objectOf<VerifyReport["damaged"][number]>({
    offsetBytes: natural,
    lengthBytes: natural,
    message: text,
  })),
  unreadable: listOf(spanForm),
  busyBytes: natural,
  isComplete: flag,
  isRepairing: flag,
  tookMs: number,
});

export const statusForm: Form<StatusReport> = objectOf<StatusReport>({
  version: text,
  uuid: orNull(text),
  device: text,
  target: oneOf(["null", "loop", "io-replica"]),
  mode: orNull(text),
  pid: natural,
  startedMs: number,
  deviceSizeBytes: natural,
  primary: orNull(text),
  replicaUri: orNull(text),
  pool: orNull(objectOf<PoolReport>({ sizeBytes: number, usedBytes: number, waitingTags: number })),
  lag: orNull(objectOf<LagReport>({ bytes: number, operations: number, seconds: number })),
  checkpoint: orNull(objectOf<CheckpointReport>({
    cno: orNull(natural),
    committedMs: orNull(number),
    ageSeconds: orNull(number),
  })),
  dirty: orNull(objectOf<DirtyReport>({ regions: number, bytes: number })),
  resync: orNull(objectOf<ResyncReport>({
    doneBytes: number,
    pendingBytes: number,
    bytesPerSecond: number,
    remainingSeconds: orNull(number),
  })),
  verify: orNull(objectOf<VerifyStatusReport>({
    stage: oneOf(["comparing", "waiting"]),
    comparedBytes: number,
    pendingBytes: number,
    differingBytes: number,
    bytesPerSecond: number,
    remainingSeconds: orNull(number),
  })),
  throughput: objectOf<ThroughputReport>({
    readBytesPerSecond: number,
    writeBytesPerSecond: number,
    readsPerSecond: number,
    writesPerSecond: number,
    replicatedBytesPerSecond: number,
  }),
  counters: objectOf<CountersReport>({
    reads: number,
    readBytes: number,
    writes: number,
    writtenBytes: number,
    flushes: number,
    discards: number,
    discardedBytes: number,
    writeZeroes: number,
    zeroedBytes: number,
    errors: number,
  }),
  replicaErrors: orNull(objectOf<ReplicaErrorsReport>({
    retries: number,
    failedCommits: number,
    last: orNull(objectOf<NonNullable<ReplicaErrorsReport["last"]>>({
      atMs: number,
      message: text,
    })),
  })),
  messages: listOf(text),
});
