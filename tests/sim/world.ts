// One world: a drive, a store, a guest and the daemon's lives, one after the other, each ended by an
// orderly stop, a killed process or a power cut. At the end everything heals, the daemon runs once more,
// and primary and replica must be equal.

import { armFailpoints } from "../../src/base/failpoints.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { SECTOR } from "../../src/base/units.ts";
import { primaryLayout } from "../../src/format/primary_layout.ts";
import type { Superblock } from "../../src/format/superblock.ts";
import { UnfinishedFormat } from "../../src/primary/format_metadata.ts";
import { NewReplica } from "../../src/replica/new_replica.ts";
import { Prng } from "../support/prng.ts";
import { Bugs } from "./bugs.ts";
import { Arena, SimDaemon } from "./daemon.ts";
import { deviceConfig, targetConfig } from "./device.ts";
import { Guest } from "./guest.ts";
import { Oracle } from "./oracle.ts";
import { drawPlan, type End, UNIT_BYTES, type WorldPlan } from "./plan.ts";
import { CrashHere, Process, Scheduler, settle } from "./scheduler.ts";
import { SimDrive } from "./sim_drive.ts";
import { SimService } from "./sim_store.ts";
import { takeViolation, Trace, violated } from "./trace.ts";

/** Metadata of the primary: maps, flush log and superblocks of a small device. */
const METADATA_BYTES = 32 * 4096;
/** No world has more events: it would be one that never ends. */
const WORLD_EVENTS = 400_000;
const START_TRIES = 20;

export interface WorldResult {
  readonly seed: number;
  readonly digest: string;
  readonly events: number;
  readonly checkpoints: number;
  readonly crashes: number;
  /** What went wrong; null: nothing. */
  readonly failure: string | null;
}

export interface WorldOptions {
  readonly bugs?: Bugs;
  readonly arena?: Arena;
  /** Gets a line per event. */
  readonly print?: (line: string) => void;
}

/** Runs the world of `seed`. Worlds of one thread run one after the other. */
export async function runWorld(seed: number, options: WorldOptions = {}): Promise<WorldResult> {
  const world = new World(seed, options);
  const undo = options.bugs?.patch();
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    world.broke(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  takeViolation();
  let failure: string | null = null;
  try {
    await world.run();
  } catch (error) {
    failure = (takeViolation() ?? error as Error).message;
    if (!(error instanceof Error) || error.name !== "SimFailure") {
      failure += `\n${(error as Error).stack}`;
    }
  } finally {
    armFailpoints(null);
    globalThis.removeEventListener("unhandledrejection", onRejection);
    undo?.();
  }
  return { seed, failure, ...world.figures() };
}

class World {
  readonly #plan: WorldPlan;
  readonly #random: Prng;
  readonly #scheduler = new Scheduler();
  readonly #trace: Trace;
  readonly #drive: SimDrive;
  readonly #service: SimService;
  readonly #oracle: Oracle;
  readonly #guest: Guest;
  readonly #arena: Arena;
  readonly #bugs: Bugs;
  /** The world itself, and the guest: they never die. */
  readonly #outside = new Process("world");
  readonly #waiting: { until: () => boolean; resolve: () => void }[] = [];
  #daemon: SimDaemon | null = null;
  #process = this.#outside;
  /** How the daemon is to die once the present event is over. */
  #dying: "kill" | "cut" | null = null;
  #crashed = Promise.withResolvers<"crashed">();
  #trap: () => "kill" | "cut" | null = () => null;
  #crashes = 0;
  #lastPid = 1;
  #broken: Error | null = null;
  #uuid = "";

  constructor(seed: number, { bugs = new Bugs(), arena = new Arena(), print }: WorldOptions) {
    this.#random = new Prng(seed);
    this.#plan = drawPlan(this.#random);
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
    });
    this.#oracle = new Oracle(this.#drive, trace);
    this.#service = new SimService({
      scheduler,
      random,
      trace,
      latencyMs: plan.storeLatencyMs,
      failOneIn: plan.storeFailOneIn,
      outages: plan.outages,
      timeline: () => this.#drive.timeline,
      onPut: (key, object) => this.#oracle.onPut(key, object),
    });
    const sectors = deviceSizeBytes / SECTOR;
    const failures = plan.driveFailOneIn > 0;
    const { habits } = plan;
    this.#guest = new Guest(
      { scheduler, random, trace, drive: this.#drive, habits, failures },
      this.#outside,
      sectors,
    );
    trace.note(JSON.stringify(plan));
  }

  figures(): Pick<WorldResult, "digest" | "events" | "checkpoints" | "crashes"> {
    return {
      digest: this.#trace.digest,
      events: this.#scheduler.fired,
      checkpoints: this.#oracle.checkpoints,
      crashes: this.#crashes,
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
    this.#drive.faulty = true;
    for (const end of ends) await this.#life(end, false);
    this.#service.faulty = false;
    this.#drive.faulty = false;
    // Twice: what a stop left must be right for the next start.
    await this.#life({ kind: "stop", afterMs: 50 }, true);
    await this.#life({ kind: "stop", afterMs: 50 }, true);
    await this.#oracle.judgeAll(this.#service);
  }

  async #format(): Promise<void> {
    const { deviceBlocks, regionBlocks, preset } = this.#plan;
    if (preset) {
      const stamps = new Int32Array(deviceBlocks * UNIT_BYTES / SECTOR);
      this.#drive.preset(stamps.map((_, sector) => this.#random.oneIn(2) ? sector + 1 : 0));
    }
    const disk = this.#drive.disk(this.#outside);
    const clock = this.#scheduler.clock(this.#outside);
    const layout = primaryLayout({
      primarySizeBytes: this.#drive.sizeBytes,
      deviceSizeBytes: this.#drive.deviceSizeBytes,
      regionBytes: regionBlocks * UNIT_BYTES,
      dataBlockBytes: UNIT_BYTES,
    });
    const superblock: Superblock = {
      sequence: 1,
      uuid: this.#uuid = "00000000-0000-4000-8000-000000000001",
      primarySizeBytes: layout.primarySizeBytes,
      deviceSizeBytes: layout.deviceSizeBytes,
      regionBytes: layout.regionBytes,
      metaBlockBytes: 4096,
      dataBlockBytes: UNIT_BYTES,
      state: "formatting",
      createdMs: clock.wallMs(),
      writtenMs: clock.wallMs(),
      replicaRoot: "sim:///",
      claim: null,
    };
    const format = await UnfinishedFormat.begin(disk, layout, superblock);
    const openStore = () => Promise.resolve(this.#service.client(this.#outside));
    await new NewReplica({ card: superblock, openStore }).create();
    await format.finish(clock.wallMs());
    this.#trace.add("formatted");
  }

  /** One life of the daemon; `sound`: nothing may go wrong. */
  async #life(end: End, sound: boolean): Promise<void> {
    this.#trace.add("life", end.kind);
    this.#trace.note(JSON.stringify(end));
    this.#setTrap(end);
    const daemon = await this.#start(sound);
    if (daemon === null) return;
    this.#guest.work(daemon.queues);
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
    else if (sound || !isUnavailable(outcome)) violated(`a stop failed: ${outcome}`);
    this.#trace.add("stopped");
    this.#process.kill();
  }

  /** Starts a daemon, however often it takes; null: it crashed meanwhile. */
  async #start(sound: boolean): Promise<SimDaemon | null> {
    for (let tries = 1;; tries++) {
      const process = this.#process = new Process("daemon", ++this.#lastPid);
      const daemon = this.#daemon = this.#newDaemon(process);
      this.#bugs.starts(this.#drive, this.#crashes > 0);
      const started = daemon.start().then(() => "started" as const, failureOf);
      const outcome = await this.#orCrash(started);
      if (outcome === "crashed") return null;
      this.#oracle.judgePrimary();
      if (outcome === "started") return daemon;
      this.#trace.add("start failed");
      this.#trace.note(outcome.message);
      if (sound || !isUnavailable(outcome) || tries === START_TRIES) {
        violated(
          `a start failed: ${outcome.message} ${isUnavailable(outcome) ? "" : outcome.stack}`,
        );
      }
      await daemon.close();
      process.kill();
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
      target: targetConfig(this.#plan, this.#uuid),
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

  #die(how: "kill" | "cut"): void {
    this.#trace.add(how === "kill" ? "killed" : "power lost");
    this.#crashes++;
    this.#dying = null;
    this.#trapNothing();
    this.#guest.pause();
    this.#process.kill();
    if (how === "kill") this.#drive.abandon(this.#process);
    else this.#drive.cutPower();
  }

  #afterEvent(): Promise<void> | void {
    this.#daemon?.listen();
    const failure = takeViolation();
    if (failure !== null) throw failure;
    if (this.#broken !== null) throw this.#broken;
    if (this.#daemon?.state === "detached" || this.#daemon?.state === "failed") {
      violated(`replication ended: ${this.#daemon.lastError}`);
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

function isUnavailable(error: unknown): boolean {
  return error instanceof ReplicaError && error.kind === "unavailable";
}
