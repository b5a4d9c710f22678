// What the io-replica handler uses of its TargetQueue. Tests and simulators stand in for it.

import type { TargetQueue } from "./target_queue.ts";

export type RequestQueue = Pick<
  TargetQueue,
  | "op"
  | "flags"
  | "locate"
  | "offsetBytes"
  | "sectors"
  | "finish"
  | "readPrimary"
  | "writePrimary"
  | "flushPrimary"
  | "zeroPrimary"
  | "writePage"
>;
