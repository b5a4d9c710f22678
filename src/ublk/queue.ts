// One queue of a ublk device as its thread sees it: the request descriptors that the driver writes,
// and the commands that fetch and commit requests. Owns: the mapping of the descriptors.
//
// Invariants:
// - all commands of a queue are submitted by one thread, for the device's whole life;
// - a tag has exactly one command at the driver, or is in our hands: it is fetched once, and
//   committed once per request;
// - the mapping must be gone (close) before DEL_DEV, which waits for every user of the char device.

import { checkResult, errno, errnoError } from "../../ffi/errno.ts";
import { MAP_POPULATE, MAP_SHARED, openLibc, PROT_READ } from "../../ffi/libc.ts";
import { high32, int32At, low32, MEMORY_PAGE_BYTES } from "../../ffi/memory.ts";
import { alignUp } from "../base/units.ts";
import { IORING_OP_URING_CMD, type Ring, SQE_CMD_WORD } from "./ring.ts";
import {
  encodedIoCommand,
  IoCmd,
  IoDesc,
  UBLK_IO_COMMIT_AND_FETCH_REQ,
  UBLK_IO_FETCH_REQ,
  UBLK_MAX_QUEUE_DEPTH,
  UBLKSRV_CMD_BUF_OFFSET,
} from "./uapi.ts";

const DESC_WORDS = IoDesc.size / 4;
const OP_FLAGS = IoDesc.offset.opFlags / 4;
const NR_SECTORS = IoDesc.offset.nrSectors / 4;
const START_SECTOR = IoDesc.offset.startSector / 4;
const CMD_QUEUE_AND_TAG = SQE_CMD_WORD + IoCmd.offset.qId / 4;
const CMD_RESULT = SQE_CMD_WORD + IoCmd.offset.result / 4;
const CMD_ADDRESS = SQE_CMD_WORD + IoCmd.offset.addr / 4;

const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

export interface UblkQueueOptions {
  readonly ring: Ring;
  /** The open char device /dev/ublkcN. */
  readonly charDeviceFd: number;
  readonly queueId: number;
  readonly depth: number;
  /** Whether the driver wants ioctl-encoded commands (UBLK_F_CMD_IOCTL_ENCODE). */
  readonly ioctlEncoded: boolean;
  /** Address of each tag's data buffer: `bufferAddress + tag * bufferStrideBytes`. */
  readonly bufferAddress: bigint;
  readonly bufferStrideBytes: number;
}

export class UblkQueue {
  readonly queueId: number;
  readonly depth: number;
  readonly #ring: Ring;
  readonly #sqes: Int32Array;
  readonly #fd: number;
  readonly #fetchCommand: number;
  readonly #commitCommand: number;
  readonly #descriptors: Int32Array;
  readonly #bufferLow: Int32Array;
  readonly #bufferHigh: Int32Array;
  readonly #mapAddress: bigint;
  readonly #mapBytes: number;
  #mapped = true;

  private constructor(options: UblkQueueOptions, mapAddress: bigint, mapBytes: number) {
    const { ring, queueId, depth, ioctlEncoded } = options;
    this.queueId = queueId;
    this.depth = depth;
    this.#ring = ring;
    this.#sqes = ring.sqes;
    this.#fd = options.charDeviceFd;
    this.#fetchCommand = commandNumber(UBLK_IO_FETCH_REQ, ioctlEncoded);
    this.#commitCommand = commandNumber(UBLK_IO_COMMIT_AND_FETCH_REQ, ioctlEncoded);
    this.#mapAddress = mapAddress;
    this.#mapBytes = mapBytes;
    this.#descriptors = int32At(mapAddress, depth * DESC_WORDS);
    this.#bufferLow = new Int32Array(depth);
    this.#bufferHigh = new Int32Array(depth);
    for (let tag = 0; tag < depth; tag++) {
      const address = options.bufferAddress + BigInt(tag * options.bufferStrideBytes);
      this.#bufferLow[tag] = low32(address);
      this.#bufferHigh[tag] = high32(address);
    }
  }

  /** Maps the queue's descriptors; throws a kernel error when the driver refuses. */
  static open(options: UblkQueueOptions): UblkQueue {
    const libc = openLibc();
    const pageBytes = checkResult(libc.getpagesize(), "read the page size");
    const strideBytes = alignUp(UBLK_MAX_QUEUE_DEPTH * IoDesc.size, pageBytes);
    const mapBytes = alignUp(options.depth * IoDesc.size, Math.max(pageBytes, MEMORY_PAGE_BYTES));
    const address = libc.mmap(
      0n,
      BigInt(mapBytes),
      PROT_READ,
      MAP_SHARED | MAP_POPULATE,
      options.charDeviceFd,
      BigInt(UBLKSRV_CMD_BUF_OFFSET + options.queueId * strideBytes),
    );
    if (address === MAP_FAILED) {
      throw errnoError(errno(), "map the queue's request descriptors", {
        queue: options.queueId,
        depth: options.depth,
      });
    }
    return new UblkQueue(options, address, mapBytes);
  }

  /** Prepares the first command of a tag: hand me a request. `userData` comes back with it. */
  fetch(tag: number, userData: number): void {
    this.#command(this.#fetchCommand, tag, 0, userData);
  }

  /** Prepares the answer to a tag's request (bytes done, or -errno) and asks for the next one. */
  commit(tag: number, result: number, userData: number): void {
    this.#command(this.#commitCommand, tag, result, userData);
  }

  #command(command: number, tag: number, result: number, userData: number): void {
    const ring = this.#ring;
    const at = ring.prepare(IORING_OP_URING_CMD, this.#fd, command, 0, 0, 0, 0, 0, userData);
    const sqes = this.#sqes;
    sqes[at + CMD_QUEUE_AND_TAG] = this.queueId | (tag << 16);
    sqes[at + CMD_RESULT] = result;
    sqes[at + CMD_ADDRESS] = this.#bufferLow[tag];
    sqes[at + CMD_ADDRESS + 1] = this.#bufferHigh[tag];
  }

  /** Operation (UBLK_IO_OP_MASK) and UBLK_IO_F_* flags of the tag's request. */
  opFlags(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS + OP_FLAGS];
  }

  sectorCount(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS + NR_SECTORS];
  }

  startSectorLow(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS + START_SECTOR];
  }

  startSectorHigh(tag: number): number {
    return this.#descriptors[tag * DESC_WORDS + START_SECTOR + 1];
  }

  bufferLow(tag: number): number {
    return this.#bufferLow[tag];
  }

  bufferHigh(tag: number): number {
    return this.#bufferHigh[tag];
  }

  /** Unmaps the descriptors. Nothing may be read from them after it. Safe to call twice. */
  close(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    openLibc().munmap(this.#mapAddress, BigInt(this.#mapBytes));
  }
}

function commandNumber(nr: number, ioctlEncoded: boolean): number {
  return (ioctlEncoded ? encodedIoCommand(nr) : nr) | 0;
}
