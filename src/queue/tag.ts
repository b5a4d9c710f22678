// What a completion is about: the low 32 bits of user_data are an index in the lower 24 bits and a
// kind above. The index is the tag for a ublk command, and the I/O slot for a target's I/O.

/** A ublk command: a request for the tag has come, or the tag is aborted. */
export const KIND_COMMAND = 0;
/** An I/O on the primary (target_queue.ts). */
export const KIND_TARGET_IO = 1;
/** The read of the doorbell's eventfd. */
export const KIND_DOORBELL = 2;

const INDEX_BITS = 24;
const INDEX_MASK = (1 << INDEX_BITS) - 1;

export function userData(kind: number, index: number): number {
  return (kind << INDEX_BITS) | index;
}

export function kindOf(data: number): number {
  return data >>> INDEX_BITS;
}

export function indexOf(data: number): number {
  return data & INDEX_MASK;
}
