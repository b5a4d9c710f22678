// One world: a drive, a store, a guest and the daemon's lives, one after the other, each ended by an
// orderly stop, a killed process or a power cut. At the end everything heals, the daemon runs once more,
// and primary and replica must be equal.

import { SECTOR } from "../../src/base/units.ts";
import { Prng } from "../support/prng.ts";
import { Bugs } from "./bugs.ts";
import { Arena, SimDaemon } from "./daemon.ts";
import { Conditions } from "./conditions.ts";
import { deviceConfig, targetConfig } from "./device.ts";
import { Excuses } from "./excuses.ts";
import { Footprint } from "./footprint.ts";
import type { WorldFigures } from "./figures.ts";
import { formatDrive, SIM_UUID } from "./format_drive.ts";
import { Guest } from "./guest.ts";
import { Operator } from "./operator.ts";
import { Oracle } from "./oracle.ts";
import { type Crash, drawPlan, type End, UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { Rival } from "./rival.ts";
import { Process, Scheduler, settle } from "./scheduler.ts";
import { SimDrive } from "./sim_drive.ts";
import { LATE_MS, SimService } from "./sim_store.ts";
import { Trap } from "./trap.ts";
import { takeViolation, Trace, violated } from "./trace.ts";

/** Metadata of the primary: maps, flush log and superblocks of a small device. */
const METADATA_BYTES = 32 * 4096;
/** No world has more events: it would be one that never ends. */
const WORLD_EVENTS = 400_000;
const START_TRIES = 20;
/** So long an operator waits for a comparison before he goes on. */
const COMPARE_MS = 20_000;

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
  readonly #conditions = new Conditions();
  #daemon: SimDaemon | null = null;
  #process = this.#outside;
  #crashed = Promise.withResolvers<"crashed">();
  readonly #trap: Trap;
  #crashes = 0;
  #lastPid = 1;
  /** Daemons that lost guest and drive and go on. */
  #ghosts: { readonly process: Process; readonly daemon: SimDaemon }[] = [];
  readonly #rivalDrives = new Map<Process, SimDrive>();
  /** In the present life another primary has come for the replica. */
  #isContested = false;
  /** The replica was taken: until the next start succeeds the operator takes it back by force. */
  #isTaken = false;
  #broken: Error | null = null;
  readonly #excuses: Excuses;
  readonly #operator: Operator;

  constructor(seed: number, { bugs = new Bugs(), arena = new Arena(), print }: WorldOptions) {
    this.#random = new Prng(seed);
    this.#plan = bugs.plan(drawPlan(this.#random));
    this.#trace = new Trace(() => this.#scheduler.nowMs, print ?? null);
    const [scheduler, trace] = [this.#scheduler, this.#trace];
    const [random, plan] = [this.#random, this.#plan];
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
    const driveOf = (process: Process) => this.#rivalDrives.get(process) ?? this.#drive;
    this.#oracle = new Oracle({ deviceSizeBytes, trace, driveOf });
    this.#service = new SimService({
      scheduler,
      random,
      trace,
      latencyMs: plan.storeLatencyMs,
      failOneIn: plan.storeFailOneIn,
      garbageOneIn: plan.storeGarbageOneIn,
      conflictOneIn: plan.storeConflictOneIn,
      outages: plan.outages,
      timeline: (process) => process.past ?? driveOf(process).timeline,
      onPut: (key, object) => this.#oracle.onPut(key, object),
    });
    this.#excuses = new Excuses(this.#drive, this.#service);
    const [drive, service, excuses] = [this.#drive, this.#service, this.#excuses];
    const parts = { plan, scheduler, random, trace, drive, service, excuses };
    this.#operator = new Operator({ ...parts, isContested: () => this.#isContested });
    this.#trap = new Trap(scheduler, trace);
    const guest = { scheduler, random, trace, drive: this.#drive, habits: plan.habits };
    this.#guest = new Guest(guest, this.#outside, deviceSizeBytes / SECTOR);
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
      rivals: this.#rivalDrives.size,
      compared: this.#operator.compared,
      found: this.#operator.found,
      diedAt: this.#trap.diedAt,
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
    await formatDrive({
      ...this.#parts(),
      drive: this.#drive,
      process: this.#outside,
      clock: this.#scheduler.clock(this.#outside),
    });
    this.#trace.add("formatted");
  }

  /** One life of the daemon; `sound`: nothing may go wrong. */
  async #life(end: End, sound: boolean): Promise<void> {
    this.#trace.add("life", end.kind);
    this.#trace.note(JSON.stringify(end));
    this.#crashed = Promise.withResolvers();
    this.#trap.set(end);
    this.#isContested = false;
    this.#drive.defects.life++;
    const daemon = await this.#start(sound);
    if (daemon === null) return;
    this.#oracle.attached(this.#process);
    // Before the guest sends anything: it would take its time.
    if (sound) await this.#operator.findEqual(daemon, this.#process);
    this.#guest.work(daemon.queues);
    if (!sound && await this.#interfere(daemon) === "crashed") return;
    const workMs = end.kind === "stop" ? end.afterMs : end.stopAfterMs;
    if (await this.#orCrash(this.#sleep(workMs)) === "crashed") return;
    if (end.kind === "rival") await this.#contest(end);
    this.#trace.add("stopping");
    this.#guest.pause();
    daemon.stopping();
    if (await this.#orCrash(this.#until(() => !this.#guest.busy)) === "crashed") return;
    const finished = daemon.finish().then(() => "finished" as const, failureOf);
    const outcome = await this.#orCrash(finished);
    if (outcome === "crashed") return;
    this.#trap.clear();
    const isClean = outcome === "finished";
    const isExcused = !sound && this.#excuses.has(outcome);
    if (!isClean && !isExcused) violated(`a stop failed: ${outcome}`);
    this.#trace.add("stopped");
    this.#end(this.#process);
    if (!isClean) await this.#judgeDivergence();
    else await this.#oracle.judgeEqual(this.#service, this.#drive, "after a clean stop");
  }

  /** Another primary takes the replica over; ours serves its guest locally, and its map stays true. */
  async #contest(
    { rivalMs, rivalStops, isForced }: Extract<End, { kind: "rival" }>,
  ): Promise<void> {
    this.#isContested = this.#isTaken = true;
    this.#oracle.contested(this.#drive);
    const rival = new Rival({
      ...this.#parts(),
      oracle: this.#oracle,
      drive: this.#drive,
      pid: ++this.#lastPid,
      before: this.#rivalDrives.size,
      outside: this.#outside,
      isForced,
    });
    this.#rivalDrives.set(rival.process, rival.drive);
    this.#ghosts.push(rival);
    if (!await rival.start()) return;
    // However little there is to publish: it looks at the claim now and then.
    await this.#until(() => this.#daemon?.state === "detached");
    await this.#sleep(rivalMs);
    if (!rivalStops) return rival.end();
    rival.pause();
    await this.#until(() => !rival.busy);
    await rival.stop();
  }

  /** An operator does this and that, and perhaps waits for what he hears. */
  async #interfere(daemon: SimDaemon): Promise<unknown> {
    const { orderOneIn, compareOneIn } = this.#plan;
    const wants = (oneIn: number) => oneIn > 0 && this.#random.oneIn(oneIn);
    if (wants(orderOneIn)) this.#operator.orderAround(daemon, this.#process);
    if (!wants(compareOneIn)) return;
    const compared = this.#operator.compareAround(daemon, this.#process)
      .catch((error) => this.broke(error));
    if (!wants(2)) return;
    return await this.#orCrash(Promise.race([compared, this.#sleep(COMPARE_MS)]));
  }

  /** Starts a daemon, however often it takes; null: it crashed meanwhile. */
  async #start(sound: boolean): Promise<SimDaemon | null> {
    for (let tries = 1;; tries++) {
      const process = this.#process = new Process("daemon", ++this.#lastPid);
      this.#excuses.begin();
      process.footprint = new Footprint(this.#plan);
      const daemon = this.#daemon = this.#newDaemon(process);
      this.#bugs.starts(this.#drive, this.#crashes > 0);
      const started = daemon.start().then(() => "started" as const, failureOf);
      const outcome = await this.#orCrash(started);
      if (outcome === "crashed") return null;
      this.#oracle.judgePrimary(this.#drive);
      if (outcome === "started") {
        this.#isTaken = false;
        return daemon;
      }
      this.#trace.add("start failed");
      this.#trace.note(outcome.message);
      if (sound || !this.#excuses.has(outcome) || tries === START_TRIES) {
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
      ...this.#parts(),
      drive: this.#drive,
      process,
      config: deviceConfig(this.#plan),
      target: {
        ...targetConfig(this.#plan, SIM_UUID),
        takeOver: this.#isTaken,
        force: this.#isTaken,
      },
      arena: this.#arena,
      bugs: this.#bugs,
      crash: () => this.#trap.springNow(),
    });
  }

  /** What all daemons of the world share. */
  #parts() {
    return {
      plan: this.#plan,
      scheduler: this.#scheduler,
      random: this.#random,
      trace: this.#trace,
      service: this.#service,
    };
  }

  // ---- crashes ----

  #die(how: Crash): void {
    this.#trace.add(`crash: ${how}`);
    this.#crashes++;
    this.#trap.clear();
    this.#guest.pause();
    const process = this.#process;
    if (how === "lost") {
      process.past = this.#drive.timeline;
      this.#haunt(process);
      this.#drive.abandon(process);
      // The drive is in another machine now, without the cache of the first.
      this.#drive.forgetLost();
    } else {
      this.#end(process);
    }
    if (how === "cut") this.#drive.cutPower();
  }

  /** The process is gone: what it had sent to the drive takes effect now or never. */
  #end(process: Process): void {
    process.kill();
    this.#drive.abandon(process);
    this.#drive.forgetLost();
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

  #afterEvent(): Promise<void> | void {
    this.#daemon?.listen();
    for (const { daemon } of this.#ghosts) daemon.listen();
    const failure = takeViolation();
    if (failure !== null) throw failure;
    if (this.#broken !== null) throw this.#broken;
    const state = this.#daemon?.state;
    const mayDetach = this.#isContested || this.#service.garbled > 0;
    if (state === "failed" || state === "detached" && !mayDetach) {
      violated(`replication ended: ${this.#daemon?.lastError}`);
    }
    const dying = this.#trap.sprung;
    if (dying !== null && this.#process.alive && this.#process !== this.#outside) {
      this.#die(dying);
      return this.#judgeCrash();
    }
    const moved = this.#conditions.look();
    if (this.#oracle.pending) return this.#oracle.judge(this.#service).then(settle);
    if (moved) return settle();
  }

  async #judgeCrash(): Promise<void> {
    await this.#oracle.judge(this.#service);
    await this.#judgeDivergence();
    this.#crashed.resolve("crashed");
    await settle();
  }

  #judgeDivergence(): Promise<void> {
    return this.#oracle.judgeDivergence(this.#service, this.#drive);
  }

  // ---- waiting ----

  #orCrash<T>(step: Promise<T>): Promise<T | "crashed"> {
    return Promise.race([this.#crashed.promise, step]);
  }

  #sleep(ms: number): Promise<void> {
    return this.#scheduler.clock(this.#outside).sleep(ms);
  }

  #until(holds: () => boolean): Promise<void> {
    return this.#conditions.until(holds);
  }
}

function failureOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
