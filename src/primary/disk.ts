// What the metadata needs of a primary: so little that a disk which tears, loses or refuses writes
// can stand in for it in tests (tests/support/failing_disk.ts).
//
// Contract:
// - A write that resolved is seen by every later read; only flush() makes it survive a power cut.
// - A write that was not flushed, or that failed, may have reached the medium wholly, in part (in
//   whole sectors of 512 bytes) or not at all.
// - Offsets and lengths are multiples of PAGE_BYTES (src/format/sealed_page.ts).
// - Failures are ReplicaErrors of kind `kernel`.

export interface Disk {
  /** The path, for messages. */
  readonly name: string;
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  flush(): Promise<void>;
}
