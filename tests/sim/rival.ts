// A second primary on the same replica: a snapshot of the first one's drive, on another machine, whose daemon
// takes the replica over while the first one runs. It has a guest of its own, and history goes on twice.

import { ReplicaError } from "../../src/base/errors.ts";
import { Bugs } from "./bugs.ts";
import { Arena, SimDaemon } from "./daemon.ts";
import { SOUND_DRIVE } from "./defects.ts";
import { deviceConfig, targetConfig } from "./device.ts";
import { Excuses } from "./excuses.ts";
import { SIM_UUID } from "./format_drive.ts";
import { Guest } from "./guest.ts";
import type { Oracle } from "./oracle.ts";
import type { WorldPlan } from "./plan.ts";
import { Process, type Scheduler } from "./scheduler.ts";
import { SimDrive } from "./sim_drive.ts";
import type { SimService } from "./sim_store.ts";
import { type Trace, violated } from "./trace.ts";
import type { Prng } from "../support/prng.ts";

/** Its guest's requests have numbers from here on, which no other guest ever comes to. */
const FIRST_ID = 10_000_000;

export interface RivalOptions {
  readonly plan: WorldPlan;
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly trace: Trace;
  readonly service: SimService;
  readonly oracle: Oracle;
  /** Its drive is a copy of this one, as it is now. */
  readonly drive: SimDrive;
  readonly pid: number;
  /** How many rivals there were before. */
  readonly before: number;
  readonly outside: Process;
  readonly isForced: boolean;
}

export class Rival {
  readonly process: Process;
  readonly drive: SimDrive;
  readonly daemon: SimDaemon;
  readonly #options: RivalOptions;
  readonly #guest: Guest;
  readonly #excuses: Excuses;

  constructor(options: RivalOptions) {
    const { plan, scheduler, random, trace, service, outside, isForced } = options;
    this.#options = options;
    this.process = new Process("rival", options.pid);
    this.drive = options.drive.snapshot({ temper: SOUND_DRIVE, failOneIn: 0 });
    this.#excuses = new Excuses(this.drive, service);
    const { process, drive } = this;
    this.daemon = new SimDaemon({
      plan,
      scheduler,
      random,
      trace,
      drive,
      service,
      process,
      config: deviceConfig(plan),
      target: {
        ...targetConfig(plan, SIM_UUID),
        takeOver: true,
        force: isForced,
      },
      arena: new Arena(),
      bugs: new Bugs(),
      crash: () => violated("nobody arms failpoints beside a rival"),
    });
    const firstId = FIRST_ID * (1 + options.before);
    const { habits } = plan;
    this.#guest = new Guest({ scheduler, random, trace, drive, habits }, outside, firstId);
  }

  /** False: it was refused, and is gone. */
  async start(): Promise<boolean> {
    const { oracle, trace, isForced } = this.#options;
    this.#excuses.begin();
    try {
      await this.daemon.start();
    } catch (error) {
      trace.add("rival refused");
      trace.note(String(error));
      const isOlder = !isForced && error instanceof ReplicaError && error.kind === "data";
      if (!isOlder && !this.#excuses.has(error)) violated(`a rival's start failed: ${error}`);
      await this.daemon.close();
      this.end();
      return false;
    }
    trace.add("rival attached");
    oracle.attached(this.process);
    this.#guest.work(this.daemon.queues);
    return true;
  }

  /** Its guest sends nothing more. */
  pause(): void {
    this.#guest.pause();
    this.daemon.stopping();
  }

  get busy(): boolean {
    return this.#guest.busy;
  }

  /** An orderly stop: with it the replica is free, and equal to the rival's primary. */
  async stop(): Promise<void> {
    const { oracle, service, trace } = this.#options;
    if (this.daemon.state === "detached") violated("a rival's replication ended");
    try {
      await this.daemon.finish();
    } catch (error) {
      if (!this.#excuses.has(error)) violated(`a rival's stop failed: ${error}`);
      this.end();
      return;
    }
    await oracle.judgeEqual(service, this.drive, "after a rival's clean stop");
    trace.add("rival stopped");
    this.end();
  }

  /** Gone, whatever it does. */
  end(): void {
    this.#guest.pause();
    this.process.kill();
    this.drive.abandon(this.process);
  }
}
