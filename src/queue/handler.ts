// The seam between a queue's loop and its target. One implementation per target; a queue room has
// exactly one, so every call from the loop goes to one known function.
//
// A handler runs on the I/O path: no allocation, no await, no exception. It answers every request
// with TargetQueue.finish() exactly once, at once or when an I/O that it submitted completes.

export interface RequestHandler {
  /** A new request for `tag` stands in the queue's descriptors. */
  start(tag: number): void;
  /**
   * An I/O on the primary that the handler submitted for `tag` is complete: all its bytes (`res` is
   * their number, or 0 where there are none to count), or -errno. Never in between.
   */
  complete(tag: number, stage: number, res: number): void;
  /** The doorbell rang: retry what is parked. */
  wake(): void;
  /** Tags that wait for something other than the primary. */
  readonly parked: number;
}
