// What one measurement of the replicator is made of; drain_bench.ts gives it to drain_probe.ts.

import type { S3Options } from "../../src/replica/s3_settings.ts";
import type { SharedLayout } from "../../src/shared/layout.ts";

export interface Workload {
  readonly name: string;
  readonly entryBytes: number;
  readonly random: boolean;
  readonly totalBytes: number;
  /** Size of the device that the entries are spread over. */
  readonly spanBytes: number;
}

export interface DrainJob {
  /** A folder, or a bucket. */
  readonly store: { readonly path: string } | { readonly s3: S3Options };
  readonly workload: Workload;
  readonly poolBytes: number;
}

export interface DrainResult {
  /** What was captured, and drained. */
  readonly bytes: number;
  readonly seconds: number;
  /** Of the process without the thread that fills the pool. */
  readonly cpuSeconds: number;
  readonly checkpoints: number;
  /** Objects: a segment and the inode for each checkpoint. */
  readonly puts: number;
  readonly putBytes: number;
  readonly peakRssBytes: number;
}

/** What the producer is told. */
export interface ProducerJob {
  readonly shared: SharedArrayBuffer;
  readonly layout: SharedLayout;
  readonly workload: Workload;
}
