// The demo itself, on the machine that has ublk. Everything that it makes lies in the job's folder or
// is a device, a daemon or a mount, and those end with it, however it ends.

import { formatSize } from "../../src/base/units.ts";
import { formatDuration } from "../../src/cli/duration.ts";
import { type DemoJob, NAMES } from "./job.ts";
import { watched } from "./live.ts";
import { DemoError, Stage } from "./stage.ts";

const PROGRAM = "hyper-io-replica";
/** Enough for the demo; the default of 1 GiB would be half of a guest. */
const POOL = "256MiB";

/** Runs all steps; rejects with a DemoError that names the step when one fails. */
export async function runSteps(job: DemoJob, signal?: AbortSignal): Promise<void> {
  await new Demo(job, signal).run();
}

class Demo {
  readonly #job: DemoJob;
  readonly #stage: Stage;
  /** "/dev/ublkb0", from add to stop. */
  #device: string | undefined;
  #deviceSizeBytes = 0;
  #uuid = "";
  #replicaUri = "";

  constructor(job: DemoJob, signal: AbortSignal | undefined) {
    this.#job = job;
    this.#stage = this.#newStage(signal);
  }

  #newStage(signal: AbortSignal | undefined): Stage {
    const { directory, program, env, isTerminal } = this.#job;
    const path = `${program.slice(0, program.lastIndexOf("/"))}:${Deno.env.get("PATH")}`;
    return new Stage({
      isTerminal,
      signal,
      cwd: directory,
      env: { ...env, PATH: path, HYPER_IO_REPLICA_RUN_DIR: `${directory}/${NAMES.run}` },
    });
  }

  async run(): Promise<void> {
    const { directory, env } = this.#job;
    await Deno.mkdir(`${directory}/${NAMES.mounted}`);
    await Deno.mkdir(`${directory}/${NAMES.restored}`);
    this.#stage.say("");
    this.#stage.define("DEMO", directory);
    this.#stage.say("   $ cd $DEMO");
    for (const [name, value] of Object.entries(env)) {
      this.#stage.say(`   $ export ${name}=${value}`);
    }
    try {
      await this.#write();
      await this.#readBack();
    } finally {
      await this.#cleanUp();
    }
  }

  async #write(): Promise<void> {
    const stage = this.#stage;
    const { files, primary } = this.#job;
    await stage.step("Format: metadata at the end of the drive, and an empty replica", async () => {
      const { replicaRoot } = this.#job;
      const text = await stage.run([PROGRAM, "format", "-f", primary, "--replica", replicaRoot]);
      const line = /device uuid: (\S+), replica_uri: (\S+)$/m.exec(text);
      if (!line) throw new DemoError("format did not print its line");
      [, this.#uuid, this.#replicaUri] = line;
      stage.define("UUID", this.#uuid);
      stage.define("REPLICA", this.#replicaUri);
      return "the drive and its replica know each other by the UUID";
    });
    await stage.step("Add: a block device in front of the drive", () => this.#add());
    await stage.step("A file system on it, as on any disk", async () => {
      await stage.run(["mkfs.ext4", "-q", this.#device!]);
      await stage.run(["mount", this.#device!, NAMES.mounted]);
      return "mounted";
    });
    const size = formatSize(files.totalBytes);
    await stage.step(`Copy ${files.count} files, ${size}, while the replica follows`, () => {
      return this.#copy();
    });
    await stage.step("Unmount, and ask how the replica is doing", async () => {
      await stage.run(["umount", NAMES.mounted]);
      const text = await stage.run([PROGRAM, "status"]);
      return /^IO lag +none/m.test(text) ? "it has every write" : "some writes are on their way";
    });
    await stage.step("Stop: drain, cut the last checkpoint, mark the drive clean", async () => {
      await stage.run([PROGRAM, "stop"]);
      this.#device = undefined;
      return `the replica has everything${this.#replicaSize()}`;
    });
  }

  async #add(): Promise<string> {
    const { primary } = this.#job;
    const identity = ["--uuid", this.#uuid, "--replica", this.#replicaUri];
    const text = await this.#stage.run(
      [PROGRAM, "add", "io-replica", "-f", primary, ...identity, "--pool-size", POOL],
    );
    const device = /^\/dev\/ublkb\d+$/m.exec(text)?.[0];
    if (device === undefined) throw new DemoError("add did not print the device");
    this.#device = device;
    this.#deviceSizeBytes = sectors(device) * 512;
    return `${device} is there, and a daemon behind it`;
  }

  async #copy(): Promise<string> {
    const { files, directory, isTerminal } = this.#job;
    const startedMs = performance.now();
    const options = { socket: `${directory}/${NAMES.socket}`, isTerminal };
    const seen = await watched(this.#stage, options, async () => {
      const copy = ["cp", "--parents", "-t", `${directory}/${NAMES.mounted}`];
      await this.#stage.run(["xargs", "-a", files.listPath, "-d", "\\n", ...copy], "/");
      await this.#stage.run(["sync", "-f", NAMES.mounted]);
    });
    const elapsedSeconds = (performance.now() - startedMs) / 1000;
    const rate = formatSize(Math.round(files.totalBytes / elapsedSeconds));
    const [bytes, time] = [formatSize(seen.lagBytesMax), formatDuration(1000 * seen.lagSecondsMax)];
    return `${rate}/s; the replica was never more than ${bytes} or ${time} behind, ` +
      `${seen.checkpoints} checkpoint${seen.checkpoints === 1 ? "" : "s"}`;
  }

  async #readBack(): Promise<void> {
    const stage = this.#stage;
    const { files, primary } = this.#job;
    await stage.step("Export: a disk image, from the replica alone", async () => {
      const from = ["--replica", this.#replicaUri];
      await stage.run([PROGRAM, "export", ...from, "-o", NAMES.image]);
      const { size, blocks } = await Deno.stat(`${this.#job.directory}/${NAMES.image}`);
      return `${formatSize(size)}, of which ${formatSize((blocks ?? 0) * 512)} are not holes`;
    });
    await stage.step("Compare: the drive and the image, byte for byte", async () => {
      const { size } = await Deno.stat(`${this.#job.directory}/${NAMES.image}`);
      if (size !== this.#deviceSizeBytes) {
        throw new DemoError(`the image has ${size} bytes, the device ${this.#deviceSizeBytes}`);
      }
      await stage.run(["cmp", `--bytes=${this.#deviceSizeBytes}`, primary, NAMES.image]);
      return `${formatSize(this.#deviceSizeBytes)}, all the same`;
    });
    await stage.step("Check the image's file system", async () => {
      await stage.run(["fsck.ext4", "-fn", NAMES.image]);
      return "clean";
    });
    await stage.step("Mount the image, compare the files with this machine's own", async () => {
      await stage.run(["mount", "-o", "ro,loop", NAMES.image, NAMES.restored]);
      await stage.run(["sha256sum", "--check", "--quiet", files.sumsPath], NAMES.restored);
      await stage.run(["umount", NAMES.restored]);
      return `${files.count} files, every SHA-256 is the original's`;
    });
  }

  /** ": 12 objects, 34MiB" for a replica in a folder. */
  #replicaSize(): string {
    if (!this.#replicaUri.startsWith("file://")) return "";
    const folder = this.#replicaUri.slice("file://".length);
    const sizes = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
      .map(({ name }) => Deno.statSync(`${folder}/${name}`).size);
    const total = formatSize(sizes.reduce((sum, size) => sum + size, 0));
    return `: ${sizes.length} objects, ${total}`;
  }

  /** Ends what a failed or interrupted run has left; after a good one there is nothing to do. */
  async #cleanUp(): Promise<void> {
    if (this.#job.isDisposable) return;
    const { directory } = this.#job;
    const mounts = await Deno.readTextFile("/proc/self/mounts");
    const left = [NAMES.restored, NAMES.mounted].map((name) => `${directory}/${name}`)
      .filter((path) => mounts.includes(` ${path} `));
    if (left.length === 0 && this.#device === undefined) return;
    const stage = this.#newStage(undefined);
    stage.say("");
    stage.say("Cleaning up");
    for (const path of left) {
      // A file that is still open there must not keep the device.
      await stage.run(["umount", path]).catch(() => stage.run(["umount", "--lazy", path]));
    }
    if (this.#device === undefined) return;
    await stage.run([PROGRAM, "del", "-n", /\d+$/.exec(this.#device)![0]]);
  }
}

/** Size of a block device in sectors of 512 bytes. */
function sectors(device: string): number {
  return Number(Deno.readTextFileSync(`/sys/class/block/${device.slice("/dev/".length)}/size`));
}
