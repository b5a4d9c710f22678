// The kernel's ublk interface, <linux/ublk_cmd.h>: commands, flags and records under their C names
// and in their C order. tests/conformance/uapi_test.ts compares all of it with the installed header.
// Numbers that the header makes from others are made the same way here.

import { i32, size64, struct, u16, u32, u64, u8, zero } from "../base/struct.ts";

// ioctl(2) encoding, <asm-generic/ioctl.h>: direction, size, type, number.
const IOC_WRITE = 1;
const IOC_READ = 2;

function ioc(direction: number, nr: number, sizeBytes: number): number {
  return ((direction << 30) | (sizeBytes << 16) | ("u".charCodeAt(0) << 8) | nr) >>> 0;
}

/** Argument of every control command, at SQE byte 48 of a ring with 128-byte SQEs. */
export const CtrlCmd = struct("ublksrv_ctrl_cmd", 32, {
  devId: u32,
  /** All ones unless the command is for one queue. */
  queueId: u16,
  len: u16,
  addr: u64,
  data0: u64,
  devPathLen: u16,
  pad: u16,
  reserved: u32,
});

/** What ADD_DEV takes and gives back, and GET_DEV_INFO reads. */
export const CtrlDevInfo = struct("ublksrv_ctrl_dev_info", 64, {
  nrHwQueues: u16,
  queueDepth: u16,
  state: u16,
  pad0: u16,
  maxIoBufBytes: u32,
  devId: u32,
  ublksrvPid: i32,
  pad1: u32,
  flags: u64,
  ublksrvFlags: u64,
  ownerUid: u32,
  ownerGid: u32,
  reserved1: u64,
  reserved2: u64,
});

/** One request as the driver describes it, read-only in the queue's mapped memory. */
export const IoDesc = struct("ublksrv_io_desc", 24, {
  /** Operation in the low byte, UBLK_IO_F_* above. */
  opFlags: u32,
  nrSectors: u32,
  startSector: u64,
  addr: u64,
});

/** Argument of FETCH_REQ and COMMIT_AND_FETCH_REQ, at SQE byte 48. */
export const IoCmd = struct("ublksrv_io_cmd", 16, {
  qId: u16,
  tag: u16,
  result: i32,
  addr: u64,
});

/** `struct ublk_params` with the parameter types that we set; the kernel takes any prefix length. */
export const Params = struct("ublk_params", 80, {
  len: u32,
  types: u32,
  // struct ublk_param_basic
  attrs: u32,
  logicalBsShift: u8,
  physicalBsShift: u8,
  ioOptShift: u8,
  ioMinShift: u8,
  maxSectors: u32,
  chunkSectors: u32,
  devSectors: size64,
  virtBoundaryMask: u64,
  // struct ublk_param_discard
  discardAlignment: u32,
  discardGranularity: u32,
  maxDiscardSectors: u32,
  maxWriteZeroesSectors: u32,
  maxDiscardSegments: u16,
  reserved0: zero(2),
  // struct ublk_param_devt: filled by the kernel
  charMajor: u32,
  charMinor: u32,
  diskMajor: u32,
  diskMinor: u32,
  /** Rounds the record up to 8 bytes; the kernel's zoned parameters would start here. */
  tail: u32,
});

// Control commands: plain numbers, as kernels without GET_FEATURES know them.
export const UBLK_CMD_GET_QUEUE_AFFINITY = 0x01;
export const UBLK_CMD_GET_DEV_INFO = 0x02;
export const UBLK_CMD_ADD_DEV = 0x04;
export const UBLK_CMD_DEL_DEV = 0x05;
export const UBLK_CMD_START_DEV = 0x06;
export const UBLK_CMD_STOP_DEV = 0x07;
export const UBLK_CMD_SET_PARAMS = 0x08;
export const UBLK_CMD_GET_PARAMS = 0x09;
export const UBLK_CMD_START_USER_RECOVERY = 0x10;
export const UBLK_CMD_END_USER_RECOVERY = 0x11;
export const UBLK_CMD_GET_DEV_INFO2 = 0x12;
export const UBLK_CMD_GET_FEATURES = 0x13;
export const UBLK_CMD_DEL_DEV_ASYNC = 0x14;
export const UBLK_CMD_UPDATE_SIZE = 0x15;
export const UBLK_CMD_QUIESCE_DEV = 0x16;

// I/O commands.
export const UBLK_IO_FETCH_REQ = 0x20;
export const UBLK_IO_COMMIT_AND_FETCH_REQ = 0x21;

/** Control commands that only read: _IOR in the header, the others _IOWR. */
const READING_COMMANDS: ReadonlySet<number> = new Set([
  UBLK_CMD_GET_QUEUE_AFFINITY,
  UBLK_CMD_GET_DEV_INFO,
  UBLK_CMD_GET_PARAMS,
  UBLK_CMD_GET_DEV_INFO2,
  UBLK_CMD_GET_FEATURES,
  UBLK_CMD_DEL_DEV_ASYNC,
]);

/** The ioctl-encoded form (UBLK_U_CMD_*) of a control command. */
export function encodedCtrlCommand(nr: number): number {
  const direction = READING_COMMANDS.has(nr) ? IOC_READ : IOC_READ | IOC_WRITE;
  return ioc(direction, nr, CtrlCmd.size);
}

/** The ioctl-encoded form (UBLK_U_IO_*) of an I/O command. */
export function encodedIoCommand(nr: number): number {
  return ioc(IOC_READ | IOC_WRITE, nr, IoCmd.size);
}

export const UBLK_IO_RES_OK = 0;
/** -ENODEV: the device is stopping and the tag will see no more requests. */
export const UBLK_IO_RES_ABORT = -19;

/** Largest number of tags of a queue; fixes where each queue's descriptors are mapped. */
export const UBLK_MAX_QUEUE_DEPTH = 4096;
export const UBLK_MAX_NR_QUEUES = 4096;
export const UBLKSRV_CMD_BUF_OFFSET = 0;

// Features and device flags.
export const UBLK_F_SUPPORT_ZERO_COPY = 1n << 0n;
export const UBLK_F_URING_CMD_COMP_IN_TASK = 1n << 1n;
export const UBLK_F_NEED_GET_DATA = 1n << 2n;
export const UBLK_F_USER_RECOVERY = 1n << 3n;
export const UBLK_F_USER_RECOVERY_REISSUE = 1n << 4n;
export const UBLK_F_UNPRIVILEGED_DEV = 1n << 5n;
export const UBLK_F_CMD_IOCTL_ENCODE = 1n << 6n;
export const UBLK_F_USER_COPY = 1n << 7n;
export const UBLK_F_ZONED = 1n << 8n;
export const UBLK_F_USER_RECOVERY_FAIL_IO = 1n << 9n;
export const UBLK_F_UPDATE_SIZE = 1n << 10n;
export const UBLK_F_AUTO_BUF_REG = 1n << 11n;
export const UBLK_F_QUIESCE = 1n << 12n;
export const UBLK_F_PER_IO_DAEMON = 1n << 13n;
export const UBLK_F_BUF_REG_OFF_DAEMON = 1n << 14n;

// Device states.
export const UBLK_S_DEV_DEAD = 0;
export const UBLK_S_DEV_LIVE = 1;
export const UBLK_S_DEV_QUIESCED = 2;
export const UBLK_S_DEV_FAIL_IO = 3;

// Operations: low byte of op_flags.
export const UBLK_IO_OP_MASK = 0xff;
export const UBLK_IO_OP_READ = 0;
export const UBLK_IO_OP_WRITE = 1;
export const UBLK_IO_OP_FLUSH = 2;
export const UBLK_IO_OP_DISCARD = 3;
export const UBLK_IO_OP_WRITE_ZEROES = 5;

// Request flags of op_flags.
export const UBLK_IO_F_FUA = 1 << 13;
export const UBLK_IO_F_NOUNMAP = 1 << 15;

// Parameter types and attributes.
export const UBLK_PARAM_TYPE_BASIC = 1 << 0;
export const UBLK_PARAM_TYPE_DISCARD = 1 << 1;
export const UBLK_PARAM_TYPE_DEVT = 1 << 2;
export const UBLK_ATTR_READ_ONLY = 1 << 0;
export const UBLK_ATTR_ROTATIONAL = 1 << 1;
export const UBLK_ATTR_VOLATILE_CACHE = 1 << 2;
export const UBLK_ATTR_FUA = 1 << 3;

/** The feature bits, lowest first, as `features` explains them. */
export const FEATURES: readonly { name: string; bit: number; summary: string }[] = [
  { name: "SUPPORT_ZERO_COPY", bit: 0, summary: "requests' pages as registered io_uring buffers" },
  { name: "URING_CMD_COMP_IN_TASK", bit: 1, summary: "requests are handed over in task work" },
  { name: "NEED_GET_DATA", bit: 2, summary: "the server asks for a write's data when it wants it" },
  { name: "USER_RECOVERY", bit: 3, summary: "a device outlives its server and can be adopted" },
  { name: "USER_RECOVERY_REISSUE", bit: 4, summary: "requests of a dead server are sent again" },
  { name: "UNPRIVILEGED_DEV", bit: 5, summary: "devices of users without privileges" },
  { name: "CMD_IOCTL_ENCODE", bit: 6, summary: "commands numbered like ioctls" },
  { name: "USER_COPY", bit: 7, summary: "the server copies data by pread and pwrite" },
  { name: "ZONED", bit: 8, summary: "zoned devices" },
  { name: "USER_RECOVERY_FAIL_IO", bit: 9, summary: "without its server a device fails requests" },
  { name: "UPDATE_SIZE", bit: 10, summary: "the size can be changed while it runs" },
  { name: "AUTO_BUF_REG", bit: 11, summary: "zero copy without a command for each request" },
  { name: "QUIESCE", bit: 12, summary: "a server can be replaced without failing requests" },
  { name: "PER_IO_DAEMON", bit: 13, summary: "each tag may have a thread of its own" },
  { name: "BUF_REG_OFF_DAEMON", bit: 14, summary: "buffers registered from any thread" },
];

const STATE_NAMES: Readonly<Record<number, string>> = {
  [UBLK_S_DEV_DEAD]: "dead",
  [UBLK_S_DEV_LIVE]: "live",
  [UBLK_S_DEV_QUIESCED]: "quiesced",
  [UBLK_S_DEV_FAIL_IO]: "failed",
};

/** "live" for UBLK_S_DEV_LIVE, and so on; "state 9" for one that is not known here. */
export function stateName(state: number): string {
  return STATE_NAMES[state] ?? `state ${state}`;
}
