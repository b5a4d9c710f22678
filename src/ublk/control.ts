// ublk's control commands, for the main room and for command-line tools. Owns: /dev/ublk-control,
// a ring for it, and the memory that a command's argument lies in.
//
// Invariants:
// - every command has a deadline: some kernels never complete ADD_DEV, and START_DEV and DEL_DEV
//   wait for other parties. A command that is late is cancelled, and its memory is never reused;
// - the calling thread is never blocked: commands run on a worker thread of the kernel (IOSQE_ASYNC)
//   and the ring is looked into from timers.

import {
  check,
  EACCES,
  EINVAL,
  ENODEV,
  ENOTTY,
  EOPNOTSUPP,
  EPERM,
  errnoError,
  errnoOf,
} from "../../ffi/errno.ts";
import { O_CLOEXEC, O_RDWR, openLibc } from "../../ffi/libc.ts";
import { cString, SharedArea } from "../../ffi/memory.ts";
import { invariant } from "../base/assert.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { ReplicaError } from "../base/errors.ts";
import { type ValuesOf, viewOf } from "../base/struct.ts";
import {
  type CqeSink,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_URING_CMD,
  IOSQE_ASYNC,
  Ring,
  Sqe,
  SQE_CMD_WORD,
} from "./ring.ts";
import {
  CtrlCmd,
  CtrlDevInfo,
  encodedCtrlCommand,
  Params,
  UBLK_CMD_ADD_DEV,
  UBLK_CMD_DEL_DEV,
  UBLK_CMD_GET_DEV_INFO,
  UBLK_CMD_GET_DEV_INFO2,
  UBLK_CMD_GET_FEATURES,
  UBLK_CMD_SET_PARAMS,
  UBLK_CMD_START_DEV,
  UBLK_CMD_STOP_DEV,
} from "./uapi.ts";

export type DevInfo = ValuesOf<typeof CtrlDevInfo>;
export type DevParams = ValuesOf<typeof Params>;

const CONTROL_PATH = "/dev/ublk-control";
/** queue_id of a command that is for the whole device. */
const NO_QUEUE = 0xffff;
/** dev_id with which ADD_DEV picks a free number. */
const ANY_DEVICE = 0xffff_ffff;
const ARGUMENT_BYTES = 4096;
const DEFAULT_DEADLINE_MS = 10_000;
const POLL_MAX_MS = 10;
/** user_data of cancellations; commands count up from 1. */
const CANCEL_ID = 0;

interface Command {
  readonly nr: number;
  readonly name: string;
  readonly deviceId: number;
  readonly queueId?: number;
  readonly data?: bigint;
  readonly pathBytes?: number;
  /** Argument in and out: `write` fills it before, `read` takes the answer from it after. */
  readonly argumentBytes?: number;
  readonly deadlineMs?: number;
}

export interface UblkControlOptions {
  readonly clock?: Clock;
  /** Deadline of every command that is not given its own. */
  readonly deadlineMs?: number;
}

export class UblkControl implements CqeSink {
  readonly #fd: number;
  readonly #ring: Ring;
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #results = new Map<number, number>();
  #nextId = 1;
  #lateCommands = 0;
  #ioctlEncoded = true;
  #features = 0n;
  #open = true;

  private constructor(fd: number, ring: Ring, options: UblkControlOptions) {
    this.#fd = fd;
    this.#ring = ring;
    this.#clock = options.clock ?? systemClock;
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  }

  /** Opens the control device and learns which commands the driver understands. */
  static async open(options: UblkControlOptions = {}): Promise<UblkControl> {
    const fd = openControlDevice();
    let control: UblkControl | undefined;
    try {
      const ring = Ring.open({ entries: 16, completionEntries: 64, wideSqes: true });
      control = new UblkControl(fd, ring, options);
      await control.#readFeatures();
      return control;
    } catch (error) {
      if (control) control.close();
      else openLibc().close(fd);
      throw error;
    }
  }

  /** UBLK_F_* bits that the driver offers; 0 for drivers that cannot tell (before Linux 6.5). */
  get features(): bigint {
    return this.#features;
  }

  /** Whether commands are sent ioctl-encoded; drivers before Linux 6.4 know plain numbers only. */
  get ioctlEncoded(): boolean {
    return this.#ioctlEncoded;
  }

  async #readFeatures(): Promise<void> {
    const argument = SharedArea.allocate(ARGUMENT_BYTES);
    const command: Command = {
      nr: UBLK_CMD_GET_FEATURES,
      name: "GET_FEATURES",
      deviceId: ANY_DEVICE,
      argumentBytes: 8,
    };
    const res = await this.#run(command, argument);
    if (res >= 0) {
      this.#features = viewOf(argument.bytes).getBigUint64(0, true);
    } else if ([-EOPNOTSUPP, -EINVAL, -ENOTTY, -ENODEV].includes(res)) {
      this.#ioctlEncoded = false;
    } else {
      throw errnoError(-res, "read the features of the ublk driver");
    }
    argument.release();
  }

  /** ADD_DEV: makes /dev/ublkcN. Give `devId` 0xffffffff to have a number picked. */
  async addDevice(info: DevInfo, deadlineMs?: number): Promise<DevInfo> {
    const argument = CtrlDevInfo.toBytes(info);
    const answer = await this.#call(
      { nr: UBLK_CMD_ADD_DEV, name: "ADD_DEV", deviceId: info.devId, deadlineMs },
      argument,
    );
    return CtrlDevInfo.decode(viewOf(answer));
  }

  /** SET_PARAMS: geometry and limits, before START_DEV. */
  async setParams(deviceId: number, params: DevParams): Promise<void> {
    await this.#call(
      { nr: UBLK_CMD_SET_PARAMS, name: "SET_PARAMS", deviceId },
      Params.toBytes({ ...params, len: Params.size }),
    );
  }

  /** START_DEV: makes /dev/ublkbN. Waits in the driver until every tag of every queue is fetched. */
  async startDevice(deviceId: number, pid: number, deadlineMs?: number): Promise<void> {
    const command = { nr: UBLK_CMD_START_DEV, name: "START_DEV", deviceId, deadlineMs };
    await this.#call({ ...command, data: BigInt(pid) });
  }

  /**
   * STOP_DEV: removes /dev/ublkbN after its requests are done, then aborts every fetched tag.
   * The queues must go on serving while it runs.
   */
  async stopDevice(deviceId: number, deadlineMs?: number): Promise<void> {
    await this.#call({ nr: UBLK_CMD_STOP_DEV, name: "STOP_DEV", deviceId, deadlineMs });
  }

  /** DEL_DEV: removes /dev/ublkcN; waits until everybody has closed and unmapped it. */
  async deleteDevice(deviceId: number, deadlineMs?: number): Promise<void> {
    await this.#call({ nr: UBLK_CMD_DEL_DEV, name: "DEL_DEV", deviceId, deadlineMs });
  }

  /** GET_DEV_INFO; undefined when there is no such device. */
  async getInfo(deviceId: number): Promise<DevInfo | undefined> {
    try {
      const command = { nr: UBLK_CMD_GET_DEV_INFO, name: "GET_DEV_INFO", deviceId };
      return CtrlDevInfo.decode(
        viewOf(await this.#call(command, new Uint8Array(CtrlDevInfo.size))),
      );
    } catch (error) {
      const name = errnoOf(error);
      if (name === "ENODEV") return undefined;
      // An unprivileged device wants to be asked with the path of its char device in front.
      if (name !== "EINVAL" && name !== "EPERM" && name !== "EACCES") throw error;
      return await this.#getUnprivilegedInfo(deviceId, name);
    }
  }

  async #getUnprivilegedInfo(deviceId: number, first: string): Promise<DevInfo | undefined> {
    const path = cString(charDevicePath(deviceId));
    const argument = new Uint8Array(path.length + CtrlDevInfo.size);
    argument.set(path);
    const command = { nr: UBLK_CMD_GET_DEV_INFO2, name: "GET_DEV_INFO2", deviceId };
    try {
      const answer = await this.#call({ ...command, pathBytes: path.length }, argument);
      return CtrlDevInfo.decode(viewOf(answer), path.length);
    } catch (error) {
      // Drivers from before ENODEV answer EINVAL when there is no device.
      if (errnoOf(error) === "ENODEV" || first === "EINVAL") return undefined;
      throw error;
    }
  }

  /** Closes the control device. Commands that are late stay with the kernel until it is done. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#ring.close();
    openLibc().close(this.#fd);
  }

  onCqe(userData: number, res: number): void {
    if (userData !== CANCEL_ID) this.#results.set(userData, res);
  }

  async #call(command: Command, argumentIn = new Uint8Array(0)): Promise<Uint8Array> {
    const argument = SharedArea.allocate(ARGUMENT_BYTES);
    argument.bytes.set(argumentIn);
    const withLength = { ...command, argumentBytes: argumentIn.length };
    const res = await this.#run(withLength, argument);
    const answer = argument.bytes.slice(0, argumentIn.length);
    argument.release();
    if (res < 0) throw refusal(command, -res);
    return answer;
  }

  /** Submits a command and resolves with its result; rejects when its deadline passes. */
  async #run(command: Command, argument: SharedArea): Promise<number> {
    invariant(this.#open, "commands are sent while the control device is open");
    const id = this.#nextId++;
    this.#prepare(command, argument, id);
    this.#submit();
    const deadlineMs = command.deadlineMs ?? this.#deadlineMs;
    const started = this.#clock.nowMs();
    let pollMs = 0;
    for (;;) {
      const res = this.#take(id);
      if (res !== undefined) return res;
      const leftMs = started + deadlineMs - this.#clock.nowMs();
      if (leftMs <= 0) break;
      await this.#clock.sleep(Math.min(pollMs, leftMs));
      pollMs = Math.min(pollMs + 1, POLL_MAX_MS);
    }
    return await this.#cancel(command, id, deadlineMs);
  }

  #take(id: number): number | undefined {
    this.#ring.poll();
    this.#ring.forEachCqe(this);
    const res = this.#results.get(id);
    this.#results.delete(id);
    return res;
  }

  #submit(): void {
    const taken = this.#ring.submit();
    if (taken < 0) throw errnoError(-taken, "submit a ublk control command");
  }

  #prepare(command: Command, argument: SharedArea, id: number): void {
    const nr = this.#ioctlEncoded ? encodedCtrlCommand(command.nr) : command.nr;
    const opcode = IORING_OP_URING_CMD | (IOSQE_ASYNC << (8 * Sqe.offset.flags));
    const at = this.#ring.prepare(opcode, this.#fd, nr | 0, 0, 0, 0, 0, 0, id);
    const sqes = this.#ring.sqes;
    const byteOffset = sqes.byteOffset + (at + SQE_CMD_WORD) * 4;
    CtrlCmd.encode(new DataView(sqes.buffer, byteOffset, CtrlCmd.size), 0, {
      devId: command.deviceId,
      queueId: command.queueId ?? NO_QUEUE,
      len: command.argumentBytes ?? 0,
      addr: command.argumentBytes ? argument.address : 0n,
      data0: command.data ?? 0n,
      devPathLen: command.pathBytes ?? 0,
      pad: 0,
      reserved: 0,
    });
  }

  async #cancel(command: Command, id: number, deadlineMs: number): Promise<number> {
    this.#ring.prepare(IORING_OP_ASYNC_CANCEL, -1, 0, 0, id, 0, 0, 0, CANCEL_ID);
    this.#submit();
    for (let round = 0; round < 20; round++) {
      await this.#clock.sleep(POLL_MAX_MS);
      const res = this.#take(id);
      if (res === undefined) continue;
      if (res >= 0) return res; // it completed in the last moment
      break;
    }
    this.#lateCommands++;
    throw new ReplicaError(
      "kernel",
      `Cannot carry out ${command.name} on ${deviceName(command.deviceId)}: ` +
        `the ublk driver did not answer in ${deadlineMs} ms`,
      {
        hint: command.nr === UBLK_CMD_ADD_DEV
          ? "Some kernels never complete it (Linux 6.18.4 and 6.18.5, Ubuntu's 6.17.0-10xx): " +
            "use another kernel."
          : "See the kernel's log (dmesg) and whether another process holds the device.",
        context: { command: command.name, device: command.deviceId, deadlineMs },
      },
    );
  }
}

function refusal({ name, deviceId }: Command, errno: number): ReplicaError {
  const context = deviceId === ANY_DEVICE ? {} : { device: deviceId };
  const error = errnoError(errno, `carry out ${name} on ${deviceName(deviceId)}`, context);
  if (errno !== EPERM && errno !== EACCES) return error;
  return new ReplicaError("kernel", error.message, {
    hint: "Run as root, with CAP_SYS_ADMIN.",
    context: error.context,
  });
}

function deviceName(deviceId: number): string {
  return deviceId === ANY_DEVICE ? "a new ublk device" : `ublk device ${deviceId}`;
}

export function charDevicePath(deviceId: number): string {
  return `/dev/ublkc${deviceId}`;
}

export function blockDevicePath(deviceId: number): string {
  return `/dev/ublkb${deviceId}`;
}

/** `-1` and undefined become "pick a number". */
export function deviceNumber(requested: number | undefined): number {
  return requested === undefined || requested < 0 ? ANY_DEVICE : requested;
}

function openControlDevice(): number {
  const libc = openLibc();
  try {
    return check(
      libc.open(cString(CONTROL_PATH), O_RDWR | O_CLOEXEC, 0),
      `open ${CONTROL_PATH}`,
    );
  } catch (error) {
    throw new ReplicaError("kernel", `Cannot open ${CONTROL_PATH}: ${errnoOf(error)}`, {
      hint: errnoOf(error) === "ENOENT"
        ? "Load the driver with: modprobe ublk_drv (Linux 6.1 or newer, CONFIG_BLK_DEV_UBLK)"
        : "Run as root.",
      context: { errno: errnoOf(error) },
      cause: error,
    });
  }
}
