// Where an export goes: what the copy needs of an image file or a block device.

export type TargetKind = "file" | "block device";

export interface ExportTarget {
  /** As the operator named it. */
  readonly path: string;
  readonly kind: TargetKind;
  /** Unwritten stretches shorter than this are written as zeros along with their neighbours. */
  readonly gapBytesMax: number;
  /** Length of a write is a multiple of this, unless it ends where the image does. */
  readonly unitBytes: number;
  /** Writes `bytes`, which lie in page-aligned memory that stays reachable and unchanged meanwhile. */
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  /** Makes a stretch read as zeros; null where everything unwritten does so already. */
  readonly zero: ((offsetBytes: number, lengthBytes: number) => Promise<void>) | null;
  /** Makes everything durable and the image visible under its name. */
  finish(): Promise<void>;
  /** Lets go of it. An image that was not finished is removed. Never throws. */
  close(): Promise<void>;
}
