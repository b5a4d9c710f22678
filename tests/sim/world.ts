// One world: a drive, a store, a guest and the daemon's lives, one after the other, each ended by an
// orderly stop, a killed process or a power cut. At the end everything heals, the daemon runs once more,
// and primary and replica must be equal.

import { armFailpoints, type Failpoint } from "../../src/base/failpoints.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { SECTOR } from "../../src/base/units.ts";
import { Prng } from "../support/prng.ts";
import { Bugs } from "./bugs.ts";
import { Arena, SimDaemon } from "./daemon.ts";
import { deviceConfig, targetConfig } from "./device.ts";
import { formatDrive, SIM_UUID } from "./format_drive.ts";
import { Guest } from "./guest.ts";
import { Oracle } from "./oracle.ts";
import { type Crash, drawPlan, type End, ORDERS, UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { CrashHere, Process, Scheduler, settle } from "./scheduler.ts";
import { SimDrive } from "./sim_drive.ts";
import { LATE_MS, SimService } from "./sim_store.ts";
import { takeViolation, Trace, violated } from "./trace.ts";

/** Metadata of the primary: maps, flush log and superblocks of a small device. */
const METADATA_BYTES = 32 * 4096;
/** No world has more events: it would be one that never ends. */
const WORLD_EVENTS = 400_000;
const START_TRIES = 20;

/** What a world was like, for those who count. */
export interface WorldFigures {
  readonly digest: string;
  readonly events: number;
  readonly checkpoints: number;
  readonly crashes: number;
  /** Regions that crashes left staged. */
  readonly staged: number;
  /** Sectors that checkpoints lacked because the drive could not read them. */
  readonly lacking: number;
  /** The failpoints at which the daemon died. */
  readonly diedAt: readonly Failpoint[];
}

export interface WorldOptions {
  readonly bugs?: Bugs;
  readonly arena?: Arena;
  /** Gets a line per event. */
  readonly print?: (line: string) => void;
}

export class World {
  readonly #plan: WorldPlan;
  readonly #random: Prng;
  readonly #scheduler = new Scheduler();
  readonly #trace: Trace;
  readonly #drive: SimDrive;
  readonly #service: SimService;
  readonly #oracle: Oracle;
  readonly #guest: Guest;
  #arena: Arena;
  readonly #bugs: Bugs;
  /** The world itself, and the guest: they never die. */
  readonly #outside = new Process("world");
  readonly #waiting: { until: () => boolean; resolve: () => void }[] = [];
  #daemon: SimDaemon | null = null;
  #process = this.#outside;
  /** How the daemon is to die once the present event is over. */
  #dying: Crash | null = null;
  #crashed = Promise.withResolvers<"crashed">();
  #trap: () => Crash | null = () => null;
  #crashes = 0;
  readonly #diedAt: Failpoint[] = [];
  #lastPid = 1;
  /** Daemons that lost guest and drive and go on. */
  #ghosts: { readonly process: Process; readonly daemon: SimDaemon }[] = [];
  #broken: Error | null = null;
  /** Failures that the drive had reported before the present daemon started. */
  #reportedBefore = 0;

  constructor(seed: number, { bugs = new Bugs(), arena = new Arena(), print }: WorldOptions) {
    this.#random = new Prng(seed);
    this.#plan = bugs.plan(drawPlan(this.#random));
    const { scheduler, trace, random } = {
      scheduler: this.#scheduler,
      trace: this.#trace = new Trace(() => this.#scheduler.nowMs, print ?? null),
      random: this.#random,
    };
    const plan = this.#plan;
    const deviceSizeBytes = plan.deviceBlocks * UNIT_BYTES;
    this.#bugs = bugs;
    this.#arena = arena;
    this.#drive = new SimDrive({
      scheduler,
      random,
      trace,
      sizeBytes: deviceSizeBytes + METADATA_BYTES,
      deviceSizeBytes,
      latencyMs: plan.driveLatencyMs,
      failOneIn: plan.driveFailOneIn,
      temper: plan.driveTemper,
    });
    this.#oracle = new Oracle(this.#drive, trace);
    this.#service = new SimService({
      scheduler,
      random,
      trace,
      latencyMs: plan.storeLatencyMs,
      failOneIn: plan.storeFailOneIn,
      garbageOneIn: plan.storeGarbageOneIn,
      outages: plan.outages,
      timeline: (process) => process.past ?? this.#drive.timeline,
      onPut: (key, object) => this.#oracle.onPut(key, object),
    });
    const sectors = deviceSizeBytes / SECTOR;
    const { habits } = plan;
    this.#guest = new Guest(
      { scheduler, random, trace, drive: this.#drive, habits },
      this.#outside,
      sectors,
    );
    trace.note(JSON.stringify(plan));
  }

  figures(): WorldFigures {
    return {
      digest: this.#trace.digest,
      events: this.#scheduler.fired,
      checkpoints: this.#oracle.checkpoints,
      crashes: this.#crashes,
      staged: this.#oracle.stagedRegions,
      lacking: this.#oracle.lackingSectors,
      diedAt: this.#diedAt,
    };
  }

  /** Code under test let a rejection go unheard. */
  broke(reason: unknown): void {
    this.#broken ??= failureOf(reason);
  }

  async run(): Promise<void> {
    this.#scheduler.afterEvent = () => this.#afterEvent();
    let done = false;
    let failure: unknown = null;
    const script = this.#script().catch((error) => failure = error).finally(() => done = true);
    const ended = await this.#scheduler.run(() => done, WORLD_EVENTS);
    if (!ended) violated(`the world does not end: ${this.#daemon?.state ?? "no daemon"}`);
    await script;
    if (failure !== null) throw failure;
  }

  // ---- the story ----

  async #script(): Promise<void> {
    const { ends } = this.#plan;
    await this.#format();
    this.#service.faulty = true;
    this.#drive.defects.faulty = true;
    for (const end of ends) await this.#life(end, false);
    await this.#heal();
    // Twice: what a stop left must be right for the next start.
    await this.#life({ kind: "stop", afterMs: 50 }, true);
    await this.#life({ kind: "stop", afterMs: 50 }, true);
    await this.#oracle.judgeAll(this.#service);
  }

  /** From here on nothing fails, and nothing of the past is on its way. */
  async #heal(): Promise<void> {
    this.#service.faulty = false;
    this.#drive.defects.faulty = false;
    for (const ghost of this.#ghosts) ghost.process.kill();
    this.#ghosts = [];
    await this.#sleep(2 * LATE_MS);
  }

  async #format(): Promise<void> {
    const { deviceBlocks, regionBytes, preset } = this.#plan;
    if (preset) {
      const stamps = new Int32Array(deviceBlocks * UNIT_BYTES / SECTOR);
      this.#drive.preset(stamps.map((_, sector) => this.#random.oneIn(2) ? sector + 1 : 0));
    }
    await formatDrive({
      drive: this.#drive,
      service: this.#service,
      process: this.#outside,
      clock: this.#scheduler.clock(this.#outside),
      regionBytes,
    });
    this.#trace.add("formatted");
  }

  /** One life of the daemon; `sound`: nothing may go wrong. */
  async #life(end: End, sound: boolean): Promise<void> {
    this.#trace.add("life", end.kind);
    this.#trace.note(JSON.stringify(end));
    this.#setTrap(end);
    this.#drive.defects.life++;
    const daemon = await this.#start(sound);
    if (daemon === null) return;
    this.#oracle.attached(this.#process.pid);
    this.#guest.work(daemon.queues);
    const { orderOneIn } = this.#plan;
    if (!sound && orderOneIn > 0 && this.#random.oneIn(orderOneIn)) this.#orderAround(daemon);
    const workMs = end.kind === "stop" ? end.afterMs : end.stopAfterMs;
    if (await this.#orCrash(this.#sleep(workMs)) === "crashed") return;
    this.#trace.add("stopping");
    this.#guest.pause();
    daemon.stopping();
    if (await this.#orCrash(this.#until(() => !this.#guest.busy)) === "crashed") return;
    const finished = daemon.finish().then(() => "finished" as const, failureOf);
    const outcome = await this.#orCrash(finished);
    if (outcome === "crashed") return;
    this.#trapNothing();
    if (outcome === "finished") await this.#oracle.judgeEqual(this.#service, "after a clean stop");
    else if (sound || !this.#isExcused(outcome)) violated(`a stop failed: ${outcome}`);
    this.#trace.add("stopped");
    this.#end(this.#process);
    if (outcome !== "finished") await this.#oracle.judgeDivergence(this.#service);
  }

  /** The operator interferes, once or twice. */
  #orderAround(daemon: SimDaemon): void {
    let afterMs = 0;
    for (const order of this.#random.pick(ORDERS)) {
      afterMs += this.#random.below(this.#plan.orderWithinMs);
      this.#scheduler.after(afterMs, this.#process, () => {
        this.#trace.add("order", order);
        daemon.order(order);
      });
    }
  }

  /** Starts a daemon, however often it takes; null: it crashed meanwhile. */
  async #start(sound: boolean): Promise<SimDaemon | null> {
    for (let tries = 1;; tries++) {
      const process = this.#process = new Process("daemon", ++this.#lastPid);
      this.#reportedBefore = this.#drive.defects.reported;
      const daemon = this.#daemon = this.#newDaemon(process);
      this.#bugs.starts(this.#drive, this.#crashes > 0);
      const started = daemon.start().then(() => "started" as const, failureOf);
      const outcome = await this.#orCrash(started);
      if (outcome === "crashed") return null;
      this.#oracle.judgePrimary();
      if (outcome === "started") return daemon;
      this.#trace.add("start failed");
      this.#trace.note(outcome.message);
      if (sound || !this.#isExcused(outcome) || tries === START_TRIES) {
        violated(
          `a start failed: ${outcome.message} ${outcome.stack}`,
        );
      }
      await daemon.close();
      this.#end(process);
      if (await this.#orCrash(this.#sleep(2000)) === "crashed") return null;
    }
  }

  #newDaemon(process: Process): SimDaemon {
    return new SimDaemon({
      plan: this.#plan,
      scheduler: this.#scheduler,
      random: this.#random,
      trace: this.#trace,
      drive: this.#drive,
      service: this.#service,
      process,
      config: deviceConfig(this.#plan),
      target: targetConfig(this.#plan, SIM_UUID),
      arena: this.#arena,
      bugs: this.#bugs,
      crash: () => this.#dying ??= this.#trap() ?? "kill",
    });
  }

  // ---- crashes ----

  #setTrap(end: End): void {
    this.#crashed = Promise.withResolvers();
    this.#trapNothing();
    if (end.kind === "stop") return;
    const { kind } = end;
    if ("atEvent" in end) {
      const at = this.#scheduler.fired + end.atEvent;
      this.#trap = () => this.#scheduler.fired >= at ? kind : null;
      return;
    }
    let hits = 0;
    this.#trap = () => null;
    armFailpoints((name) => {
      if (name !== end.failpoint || ++hits !== end.hit) return;
      this.#trace.add("failpoint", name, hits);
      this.#diedAt.push(name);
      if (end.eventsLater > 0) {
        const at = this.#scheduler.fired + end.eventsLater;
        this.#trap = () => this.#scheduler.fired >= at ? kind : null;
        return;
      }
      this.#dying = kind;
      if (name.startsWith("queue.")) throw new CrashHere();
      return new Promise<void>(() => {});
    });
  }

  #trapNothing(): void {
    this.#trap = () => null;
    armFailpoints(null);
  }

  #die(how: Crash): void {
    this.#trace.add(`crash: ${how}`);
    this.#crashes++;
    this.#dying = null;
    this.#trapNothing();
    this.#guest.pause();
    const process = this.#process;
    if (how === "lost") {
      process.past = this.#drive.timeline;
      this.#haunt(process);
      this.#drive.abandon(process);
    } else {
      this.#end(process);
    }
    if (how === "cut") this.#drive.cutPower();
  }

  /** The process is gone: what it had sent to the drive takes effect now or never. */
  #end(process: Process): void {
    process.kill();
    this.#drive.abandon(process);
  }

  /** The process goes on for some time, with its own memory. */
  #haunt(process: Process): void {
    const daemon = this.#daemon;
    if (daemon === null) return;
    this.#ghosts.push({ process, daemon });
    this.#arena = new Arena();
    if (this.#random.oneIn(2)) {
      process.frozenUntilMs = this.#scheduler.nowMs + this.#random.below(8000);
    }
    this.#scheduler.after(this.#random.below(20_000), process, () => process.kill());
  }

  /** Whether the world is to blame for a failed start or stop. */
  #isExcused(error: unknown): boolean {
    if (!(error instanceof ReplicaError)) return false;
    if (error.kind === "kernel") return this.#drive.defects.reported > this.#reportedBefore;
    return error.kind === "unavailable" || this.#service.garbled > 0;
  }

  #afterEvent(): Promise<void> | void {
    this.#daemon?.listen();
    for (const { daemon } of this.#ghosts) daemon.listen();
    const failure = takeViolation();
    if (failure !== null) throw failure;
    if (this.#broken !== null) throw this.#broken;
    const state = this.#daemon?.state;
    if (state === "failed" || state === "detached" && this.#service.garbled === 0) {
      violated(`replication ended: ${this.#daemon?.lastError}`);
    }
    let moved = false;
    const dying = this.#dying ?? this.#trap();
    if (dying !== null && this.#process.alive && this.#process !== this.#outside) {
      this.#die(dying);
      return this.#judgeCrash();
    }
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      if (!this.#waiting[i].until()) continue;
      this.#waiting.splice(i, 1)[0].resolve();
      moved = true;
    }
    if (this.#oracle.pending) return this.#oracle.judge(this.#service).then(settle);
    if (moved) return settle();
  }

  async #judgeCrash(): Promise<void> {
    await this.#oracle.judge(this.#service);
    await this.#oracle.judgeDivergence(this.#service);
    this.#crashed.resolve("crashed");
    await settle();
  }

  // ---- waiting ----

  #orCrash<T>(step: Promise<T>): Promise<T | "crashed"> {
    return Promise.race([this.#crashed.promise, step]);
  }

  #sleep(ms: number): Promise<void> {
    return this.#scheduler.clock(this.#outside).sleep(ms);
  }

  #until(until: () => boolean): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ until, resolve }));
  }
}

function failureOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
