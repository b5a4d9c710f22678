// The life of one device whose power is cut again and again, seen from outside the guest: what each
// boot has to come through with, and what each cut may leave behind.
//
// Known after a cut, for the next one to be held against:
// - the primary, that nothing but a guest's write may change: the first MiBs are a file system, then
//   comes a stamped area for each boot that got as far as its load;
// - the newest checkpoint, that later ones may follow but nothing may change or take back.
//
// Callers: tests/e2e/power_cut_test.ts. In the guest: tests/e2e/programs/power_cut.sh.

import { FAILPOINTS_VARIABLE } from "../../src/base/failpoints.ts";
import { MiB } from "../../src/base/units.ts";
import { Guest, kernelTrouble } from "../../tools/guest/guest.ts";
import { run } from "../../tools/guest/process.ts";
import { assert, assertEquals } from "./assert.ts";
import {
  assertSameImage,
  type CheckpointImage,
  checkpointImage,
  firstDifference,
  imageOfFile,
} from "./checkpoint_image.ts";
import { PowerDisk } from "./power_disk.ts";
import type { Prng } from "./prng.ts";
import { onlyChild } from "./replica_guest.ts";
import { LiveStamps } from "./stamp_history.ts";
import type { StampChecker } from "./stamps.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FS_MIB = 96;
const AREA_MIB = 8;
export const CUTS_MAX = 5;
const DEVICE_BYTES = (FS_MIB + CUTS_MAX * AREA_MIB) * MiB;
/** Stamps in the areas: 2 threads. */
const SHAPE = { threads: 2, blocks: AREA_MIB * 256 };
const REPLICA_MIB = 4096;
const STEP_MS = 180_000;

export type FileSystem = "ext4" | "xfs";
/** What the guest is at when its power is cut. */
export type CutDuring = "attach" | "resync" | "load";

export interface PowerLifeOptions {
  readonly fs: FileSystem;
  readonly cpus: number;
  /** A commit dwells between its segment and its inode, so that many a cut falls there. */
  readonly dwells: boolean;
  readonly random: Prng;
}

/** A load whose power was cut, for later checkpoints to be held against. */
interface Load {
  readonly checker: StampChecker;
  /** Its stamped area, from byte to byte. */
  readonly start: number;
  readonly end: number;
}

export class PowerLife {
  readonly #fs: FileSystem;
  /** Of the guest, and so the queues of the device. */
  readonly #cpus: number;
  readonly #failpoints: string;
  readonly #random: Prng;
  readonly #directory: string;
  readonly #share: string;
  readonly #primary: PowerDisk;
  readonly #replica: PowerDisk;
  readonly #checkpoint: string;
  #boots = 0;
  #loads = 0;
  #lastLoad: Load | null = null;
  /** How long the last `add` took. */
  #addMs = 5_000;
  /** The device's bytes on the primary. */
  #device = new Uint8Array();
  /** The newest checkpoint; number 0: none. */
  #newest: CheckpointImage = { cno: 0, bytes: new Uint8Array() };
  /** One that is to stay what it is. */
  #first: CheckpointImage | null = null;

  private constructor({ fs, cpus, dwells, random }: PowerLifeOptions, directory: string) {
    this.#fs = fs;
    this.#cpus = cpus;
    this.#failpoints = dwells ? "commit.after-segment=delay:2s" : "";
    this.#random = random;
    this.#directory = directory;
    this.#share = `${directory}/share`;
    Deno.mkdirSync(this.#share);
    this.#checkpoint = `${directory}/checkpoint.img`;
    this.#primary = new PowerDisk(`${directory}/primary.img`, {
      sizeBytes: DEVICE_BYTES + 8 * MiB,
      fsBytes: DEVICE_BYTES,
    });
    this.#replica = new PowerDisk(`${directory}/replica.img`, {
      sizeBytes: REPLICA_MIB * MiB,
      fsBytes: REPLICA_MIB * MiB,
    });
  }

  /** Lives through all of the cuts, and once more to the end; `report` gets a line for each. */
  static async live(
    options: PowerLifeOptions & { cuts: readonly CutDuring[] },
    report: (line: string) => void,
  ): Promise<void> {
    const directory = await Deno.makeTempDir({ prefix: "power-" });
    try {
      const life = new PowerLife(options, directory);
      await life.#makeFileSystems();
      for (const during of options.cuts) report(`${options.fs}: ${await life.#cut(during)}`);
      report(`${options.fs}: ${await life.#end()}`);
    } catch (error) {
      // At once: a long run tells its errors at its end, and may not get there.
      report(`${options.fs}: ${error}`);
      throw error;
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }

  async #makeFileSystems(): Promise<void> {
    await run("mkfs.ext4", ["-q", "-F", this.#replica.image]);
    const { image } = this.#primary;
    if (this.#fs === "ext4") await run("mkfs.ext4", ["-q", "-F", image, `${FS_MIB}M`]);
    else {
      // Unsupported: so small.
      const data = `file=1,name=${image},size=${FS_MIB}m`;
      const { size } = Deno.statSync(image);
      await run("mkfs.xfs", ["--unsupported", "-q", "-f", "-d", data]);
      Deno.truncateSync(image, size);
    }
    this.#device = imageOfFile(image, DEVICE_BYTES);
  }

  /** One boot up to its cut, and what that left. */
  async #cut(during: CutDuring): Promise<string> {
    const random = this.#random;
    const startup = await this.#boot({ resyncRate: during === "resync" }, async (guest) => {
      await this.#until(guest, "adding");
      await this.#fsckCheckpoint();
      const sinceMs = performance.now();
      if (during === "attach") return await this.#wait(random.below(this.#addMs));
      await this.#until(guest, "added");
      this.#addMs = performance.now() - sinceMs;
      if (during === "resync") return await this.#wait(random.below(4_000));
      const how = await this.#equal(guest);
      await this.#until(guest, "loading");
      return `${how}, ${await this.#wait(1_000 + random.below(8_000))}`;
    });
    const survival = [this.#primary, this.#replica].map((disk) => disk.powerOff(random));
    const left = await this.#judge(during === "load");
    return `cut ${this.#boots} during ${during}, ${startup}, ${survival.join("/")} of 4: ${left}`;
  }

  /** The last boot: what was lost is back, the device stops, and history is as it was. */
  async #end(): Promise<string> {
    const startup = await this.#boot({ last: true }, async (guest) => {
      await this.#until(guest, "adding");
      await this.#fsckCheckpoint();
      const how = await this.#equal(guest);
      const result = await guest.finished;
      assertEquals([result.outcome, result.exitCode], ["exited", 0]);
      return how;
    });
    const directory = await this.#extractReplica(this.#replica.work);
    const newest = await checkpointImage(directory);
    const device = imageOfFile(this.#primary.work, DEVICE_BYTES);
    assertSameImage(newest.bytes, device, "replica and primary after the stop");
    const { cno, bytes } = this.#first!;
    const again = await checkpointImage(directory, cno);
    assertSameImage(again.bytes, bytes, `checkpoint ${cno} at the end and at the beginning`);
    return `end, ${startup}`;
  }

  /** Runs `body` beside a guest and cuts its power in any case. */
  async #boot(
    options: { resyncRate?: boolean; last?: boolean },
    body: (guest: Guest) => Promise<string>,
  ): Promise<string> {
    const boot = ++this.#boots;
    Deno.mkdirSync(`${this.#share}/stamps-${boot}`);
    // Of a boot that was cut while it copied the replica.
    await Deno.remove(`${this.#share}/equal`, { recursive: true }).catch(() => undefined);
    const disks = [await this.#primary.powerOn(), await this.#replica.powerOn()];
    if (this.#newest.cno > 0) disks.push({ path: this.#checkpoint });
    const guest = await Guest.start({
      command: `. ${ROOT}tests/e2e/programs/power_cut.sh`,
      env: {
        ROOT,
        SHARE: this.#share,
        BOOT: String(boot),
        CHECKPOINT: this.#newest.cno > 0 ? "1" : "",
        DEVICE_BYTES: String(DEVICE_BYTES),
        ADD_OPTIONS: options.resyncRate ? "--resync-rate 8MiB" : "",
        QUEUES: String(this.#cpus),
        [FAILPOINTS_VARIABLE]: this.#failpoints,
        AREA_MIB: String(FS_MIB + this.#loads * AREA_MIB),
        SEED: String(this.#random.next()),
        LAST: options.last ? "1" : "",
      },
      share: this.#share,
      cpus: this.#cpus,
      disks,
      modules: this.#fs === "xfs" ? ["xfs"] : [],
      timeLimitMs: 4 * STEP_MS,
    });
    let said: string;
    try {
      said = await body(guest);
    } catch (error) {
      const { stdout, stderr, kernelLog } = await guest.powerCut();
      const text = [guest.events.text, stdout, stderr, kernelLog].join("\n");
      throw new Error(`boot ${boot}: ${error}\n${text}`, { cause: error });
    }
    const { kernelLog } = await guest.powerCut();
    assert(!guest.events.text.includes("FAILED"), guest.events.text);
    assertEquals(kernelTrouble(kernelLog), []);
    return said;
  }

  async #until(guest: Guest, word: string): Promise<string> {
    const match = await guest.events.waitFor(new RegExp(`^(FAILED|${word}).*$`, "m"), STEP_MS);
    assert(match[1] === word, `waiting for "${word}": ${match[0]}`);
    return match[0];
  }

  async #wait(ms: number): Promise<string> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return `${Math.round(ms)} ms`;
  }

  /** Nobody writes: replica and primary are equal, and the primary is what the cut left. */
  async #equal(guest: Guest): Promise<string> {
    const said = await this.#until(guest, "equal");
    const replica = await checkpointImage(`${this.#share}/equal`);
    await Deno.remove(`${this.#share}/equal`, { recursive: true });
    const device = imageOfFile(this.#primary.work, DEVICE_BYTES);
    assertSameImage(device, this.#device, "primary before and after start");
    assertSameImage(replica.bytes, device, "replica and primary after resync");
    this.#newest = replica;
    this.#first ??= replica;
    await Deno.writeTextFile(`${this.#share}/go-${this.#boots}`, "");
    return said;
  }

  /** Whether the newest checkpoint, which the guest has mounted, is whole. */
  async #fsckCheckpoint(): Promise<void> {
    if (this.#newest.cno === 0) return;
    if (this.#fs === "ext4") await run("e2fsck", ["-fn", this.#checkpoint]);
    else await run("xfs_repair", ["-n", this.#checkpoint]);
  }

  /** What a cut left on both disks. */
  async #judge(loaded: boolean): Promise<string> {
    const directory = await this.#extractReplica(this.#replica.image);
    const newest = await checkpointImage(directory);
    const before = this.#newest;
    assert(newest.cno >= before.cno, `checkpoint ${before.cno} is gone, ${newest.cno} the newest`);
    if (newest.cno > 0 && newest.cno === before.cno) {
      assertSameImage(
        newest.bytes,
        before.bytes,
        `checkpoint ${newest.cno} before and after the cut`,
      );
    }
    const device = imageOfFile(this.#primary.image, DEVICE_BYTES);
    let left = `checkpoint ${newest.cno}`;
    if (loaded) left += `, ${this.#judgeLoad(device, newest.bytes)}`;
    else {
      assertSameImage(device, this.#device, "primary before and after a start that was cut");
      if (newest.cno > before.cno) left += `, ${this.#judgeStart(device, newest.bytes)}`;
    }
    this.#device = device;
    this.#newest = newest;
    await Deno.writeFile(this.#checkpoint, newest.bytes);
    return left;
  }

  /**
   * What a start published before it was cut: all that the primary has, or the last commit of the last
   * load, which it has adopted.
   */
  #judgeStart(device: Uint8Array, checkpoint: Uint8Array): string {
    const at = firstDifference(checkpoint, device);
    if (at < 0) return "equal";
    assert(
      this.#lastLoad !== null,
      `replica and primary differ from byte ${at} on, before any load`,
    );
    return `adopted, ${this.#judgePrefix(this.#lastLoad, device, checkpoint)}`;
  }

  /** The stamped areas: this boot's by its history, the others as they were. */
  #judgeLoad(device: Uint8Array, checkpoint: Uint8Array): string {
    const stamps = new LiveStamps(`${this.#share}/stamps-${this.#boots}`, SHAPE);
    const start = (FS_MIB + this.#loads * AREA_MIB) * MiB;
    const load = { checker: stamps.checker(), start, end: start + AREA_MIB * MiB };
    stamps.checker().checkDurable(device.subarray(start, load.end), stamps.synced);
    for (const [from, to] of areasBeside(load)) {
      const expected = this.#device.subarray(from, to);
      assertSameImage(device.subarray(from, to), expected, "areas of the primary not written");
    }
    this.#loads++;
    this.#lastLoad = load;
    return `${this.#judgePrefix(load, device, checkpoint)}, ${stamps.synced.join("+")} synced`;
  }

  /** That a checkpoint is a prefix of a load's history, and nothing else was written. */
  #judgePrefix(load: Load, device: Uint8Array, checkpoint: Uint8Array): string {
    const held = load.checker.check(checkpoint.subarray(load.start, load.end));
    for (const [from, to] of areasBeside(load)) {
      const expected = device.subarray(from, to);
      assertSameImage(checkpoint.subarray(from, to), expected, "areas of the replica not written");
    }
    return `held ${held} of ${load.checker.writes} writes`;
  }

  /** The replica as a directory of this machine, from the image of its disk. */
  async #extractReplica(image: string): Promise<string> {
    const copy = `${this.#directory}/extracted.img`;
    const target = `${this.#directory}/extracted`;
    await Deno.remove(target, { recursive: true }).catch(() => undefined);
    await Deno.mkdir(target);
    await run("cp", ["--sparse=always", image, copy]);
    // 1: the journal was replayed.
    await run("sh", ["-c", 'e2fsck -y -E journal_only "$0" || [ $? = 1 ]', copy]);
    await run("e2fsck", ["-fn", copy]);
    await run("debugfs", ["-R", `rdump /replica ${target}`, copy]);
    await Deno.remove(copy);
    return await onlyChild(`${target}/replica`);
  }
}

/** The stamped areas before and after that of `load`. */
function areasBeside(load: Load): [number, number][] {
  return [[FS_MIB * MiB, load.start], [load.end, DEVICE_BYTES]];
}
