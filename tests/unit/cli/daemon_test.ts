// add, status, stop, del and list with real processes and a fake device: what a person sees of a
// daemon from its start to its end, and what is left behind (nothing).

import { deviceConfig } from "../../../src/config.ts";
import { assert, assertEquals } from "../../support/assert.ts";

const MAIN = new URL("../../support/fake_main.ts", import.meta.url).pathname;
const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";
const REPLICA = ["io-replica", "-f", "p.img", "--uuid", UUID, "--replica", `file:///srv/r/${UUID}`];

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A working directory with its run directory; whatever daemons are left in it are killed. */
class Place {
  readonly directory = Deno.makeTempDirSync({ prefix: "io-replica-daemon-" });
  readonly runDirectory = `${this.directory}/run`;

  spawn(
    args: readonly string[],
    env: Record<string, string> = {},
    cwd = this.directory,
  ): Deno.ChildProcess {
    return new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", MAIN, ...args],
      cwd,
      env: { HYPER_IO_REPLICA_RUN_DIR: this.runDirectory, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  /** As {@link run}, with the output open a second time as file 9, as a shell may leave it. */
  async runWithFile9(args: readonly string[]): Promise<Result> {
    const command = [Deno.execPath(), "run", "-A", "--quiet", MAIN, ...args];
    const child = new Deno.Command("/bin/sh", {
      args: ["-c", '"$@" 9>&1', "sh", ...command],
      cwd: this.directory,
      env: { HYPER_IO_REPLICA_RUN_DIR: this.runDirectory },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return await outcome(child);
  }

  async run(
    args: readonly string[],
    env: Record<string, string> = {},
    cwd = this.directory,
  ): Promise<Result> {
    return await outcome(this.spawn(args, env, cwd));
  }

  /** The state files' daemons that live. */
  pids(): number[] {
    const pids: number[] = [];
    for (const name of this.files("run")) {
      if (!name.endsWith(".json")) continue;
      pids.push(JSON.parse(Deno.readTextFileSync(`${this.runDirectory}/${name}`)).pid);
    }
    return pids;
  }

  files(below = "."): string[] {
    const directory = `${this.directory}/${below}`;
    try {
      return [...Deno.readDirSync(directory)].map((entry) => entry.name).sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const pid of this.pids()) {
      if (isAlive(pid)) Deno.kill(pid, "SIGKILL");
    }
    Deno.removeSync(this.directory, { recursive: true });
  }
}

async function outcome(child: Deno.ChildProcess): Promise<Result> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function isAlive(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return !/\) [ZX] /.test(stat);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`it never happened: ${what}`);
}

Deno.test("add returns when the device is usable, and its daemon lives on", async () => {
  using place = new Place();
  // Reading its output to the end shows that the daemon does not hold the pipes open.
  const added = await place.run(["add", ...REPLICA, "-n", "3"], { FAKE_STOP_MS: "100" });
  assertEquals([added.code, added.stderr], [0, ""]);
  assertEquals(added.stdout.split("\n")[0], "/dev/ublkb3");
  assert(added.stdout.includes(`uuid      ${UUID}`), added.stdout);
  const [pid] = place.pids();
  assert(isAlive(pid), "the daemon lives");
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1].split(" ");
  assertEquals(Number(stat[3]), pid, "the daemon leads a session of its own");
  assertEquals(Deno.readLinkSync(`/proc/${pid}/fd/0`), "/dev/null");
  const log = `${place.runDirectory}/${UUID}.log`;
  assertEquals(Deno.readLinkSync(`/proc/${pid}/fd/2`), log);
  assert(Deno.readTextFileSync(log).includes("Device started"), "the log says so");
  assertEquals((Deno.statSync(`${place.directory}/.ioreplica`).mode ?? 0) & 0o777, 0o600);

  const listed = await place.run(["list", "--json"]);
  const [device] = JSON.parse(listed.stdout);
  assertEquals([device.number, device.state, device.pid], [3, "running", pid]);
  const status = await place.run(["status", "--json"]);
  assertEquals(JSON.parse(status.stdout).replicaUri, `file:///srv/r/${UUID}`);
  const text = await place.run(["status", "-n", "3"]);
  assert(text.stdout.includes("up 5"), text.stdout);
  const stats = await place.run(["stats", "--json"]);
  assertEquals(JSON.parse(stats.stdout).counters, { reads: 12, writes: 34 });

  const stopped = await place.run(["stop"]);
  assertEquals([stopped.code, stopped.stdout], [0, ""], stopped.stderr);
  assert(stopped.stderr.includes("draining the pool, 8MiB to go"), stopped.stderr);
  assertEquals(isAlive(pid), false, "stop returns when the daemon has ended");
  assertEquals(place.files(), ["run"]);
  assertEquals(place.files("run"), [`${UUID}.log`, "lock"]);
});

Deno.test("add passes on the error that stopped its daemon, with its exit code", async () => {
  using place = new Place();
  const added = await place.run(["add", ...REPLICA], { FAKE_START: "fail" });
  assertEquals([added.code, added.stdout], [5, ""]);
  assertEquals(
    added.stderr,
    "hyper-io-replica: error: Cannot attach the replica: another writer is ahead\n" +
      "  with epoch=7\nhint: Stop the other one.\n",
  );
  assertEquals(place.files(), ["run"]);
  const foreground = await place.run(["add", ...REPLICA, "--foreground"], { FAKE_START: "fail" });
  assertEquals([foreground.code, foreground.stderr], [5, added.stderr]);
});

Deno.test("add shows how far a long start is, unless it is to be quiet", async () => {
  using place = new Place();
  const added = await place.run(["add", ...REPLICA], { FAKE_START: "copy" });
  assertEquals([added.code, added.stderr], [0, "starting: copying, 4KiB to go, about 1.5s\n"]);
  assertEquals((await place.run(["stop"])).code, 0);
  const quiet = await place.run(["add", ...REPLICA, "--quiet"], { FAKE_START: "copy" });
  assertEquals(quiet, { code: 0, stdout: "", stderr: "" });
  assertEquals((await place.run(["stop"])).code, 0);
});

Deno.test("a stop that fails ends the daemon and tells whoever asked", async () => {
  using place = new Place();
  const child = place.spawn(["add", "null", "-n", "5", "--foreground", "--unix-socket", "s"], {
    FAKE_STOP_ERROR: "1",
  });
  await until("the device is usable", () => place.files("run").includes("ublk-5.json"));
  const stopped = await place.run(["stop", "-n", "5"]);
  assertEquals(stopped.code, 4);
  assert(
    stopped.stderr.includes("error: Cannot bring the replica up to date: 503"),
    stopped.stderr,
  );
  const daemon = await outcome(child);
  assertEquals(daemon.code, 4);
  assertEquals([place.files(), place.files("run")], [["run"], ["lock"]]);
});

Deno.test("add leaves no file of its caller open in the daemon", async () => {
  using place = new Place();
  const added = await place.runWithFile9(["add", "null", "-n", "6"]);
  assertEquals(added.code, 0, added.stderr);
  const [pid] = place.pids();
  assert(isAlive(pid), "output ends although the daemon lives");
  assertEquals((await place.run(["stop", "-n", "6"])).code, 0);
});

Deno.test("list, status and stop find a daemon whose socket has a long path", async () => {
  using place = new Place();
  const deep = `${place.directory}/${"d".repeat(120)}`;
  Deno.mkdirSync(deep);
  assertEquals((await place.run(["add", ...REPLICA, "-n", "2"], {}, deep)).code, 0);
  assertEquals((await place.run(["status", "-n", "2"])).code, 0);
  const [device] = JSON.parse((await place.run(["list", "--json"])).stdout);
  assertEquals([device.state, device.primary], ["running", `${deep}/p.img`]);
  assertEquals((await place.run(["stop", "-n", "2"])).code, 0);
  assertEquals([...Deno.readDirSync(deep)].length, 0);
});

Deno.test("add says so when its daemon dies without a word", async () => {
  using place = new Place();
  const added = await place.run(["add", ...REPLICA], { FAKE_START: "crash" });
  assertEquals(added.code, 6);
  assert(added.stderr.includes("its daemon was killed by SIGKILL"), added.stderr);
  assert(added.stderr.includes(`${UUID}.log`), added.stderr);
  const again = await place.run(["add", ...REPLICA, "--quiet"]);
  assertEquals([again.code, again.stdout], [0, ""], "the stale socket is replaced");
  assertEquals((await place.run(["stop"])).code, 0);
});

Deno.test("add stops its daemon when it is interrupted before the device is usable", async () => {
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    using place = new Place();
    const child = place.spawn(["add", ...REPLICA], { FAKE_START: "slow" });
    await until("the daemon listens", () => place.files().includes(".ioreplica"));
    child.kill(signal);
    const result = await outcome(child);
    assertEquals([result.code, result.stdout], [code, ""], result.stderr);
    assertEquals(place.files(), ["run"], "the daemon is gone");
  }
});

Deno.test("stop ends a start, and both are told", async () => {
  using place = new Place();
  const child = place.spawn(["add", ...REPLICA], { FAKE_START: "slow" });
  await until("the daemon listens", () => place.files().includes(".ioreplica"));
  const stopped = await place.run(["stop", "--json"]);
  assertEquals([stopped.code, JSON.parse(stopped.stdout)], [0, { stopped: "./.ioreplica" }]);
  const result = await outcome(child);
  assertEquals([result.code, result.stdout], [4, ""], result.stderr);
  assertEquals(place.files(), ["run"], "the daemon is gone");
});

Deno.test("a second add on the same socket is refused and harms nothing", async () => {
  using place = new Place();
  assertEquals((await place.run(["add", ...REPLICA])).code, 0);
  const [pid] = place.pids();
  const second = await place.run(["add", ...REPLICA]);
  assertEquals(second.code, 2);
  assert(second.stderr.includes(`the daemon with pid ${pid} (/dev/ublkb7)`), second.stderr);
  assertEquals((await place.run(["status"])).code, 0);
  assertEquals((await place.run(["del", "--all"])).code, 0);
  assertEquals(isAlive(pid), false);
});

Deno.test("add --foreground ends cleanly by a signal, and says so while it drains", async () => {
  using place = new Place();
  const child = place.spawn(["add", "null", "-n", "5", "--foreground"], { FAKE_STOP_MS: "700" });
  await until("the device is usable", () => place.files("run").includes("ublk-5.json"));
  child.kill("SIGINT");
  await new Promise((resolve) => setTimeout(resolve, 300));
  child.kill("SIGINT");
  const { code, stdout, stderr } = await outcome(child);
  assertEquals([code, stdout.split("\n")[0]], [0, "/dev/ublkb5"], stderr);
  assert(stderr.includes("Still stopping: draining the pool, 8MiB to go"), stderr);
  assertEquals(place.files("run"), ["lock"]);
});

Deno.test("a daemon whose parent died before it was ready stops again", async () => {
  using place = new Place();
  const config = deviceConfig({
    number: 5,
    queues: 1,
    depth: 4,
    bufferBytes: 4096,
    readOnly: false,
    unixSocket: `${place.directory}/s`,
    log: { level: "info", format: "text", file: null },
    target: { type: "null" },
  });
  const child = place.spawn(["add", "null", "--report-ready"], {
    HYPER_IO_REPLICA_DAEMON_CONFIG: JSON.stringify(config),
  });
  await child.stdout.cancel();
  const status = await child.status;
  const stderr = await new Response(child.stderr).text();
  assertEquals(status.code, 4, stderr);
  assert(stderr.includes("the waiting add command is gone"), stderr);
  assertEquals(place.files("run"), ["lock"]);
});

Deno.test("what add tells its daemon can't be said by hand", async () => {
  using place = new Place();
  for (const line of [["--report-ready"], ["add", ...REPLICA, "--report-ready"]]) {
    const { code, stdout, stderr } = await place.run(line);
    assertEquals(code, 2, stderr);
    assert(stderr.includes("Cannot use --report-ready"), stderr);
    assertEquals(JSON.parse(stdout).error.kind, "usage");
  }
  assertEquals((await place.run(["add", "--report-ready", ...REPLICA])).code, 2);
  assertEquals(place.files(), []);
});

Deno.test("stop and status say what is wrong when the daemon is dead", async () => {
  using place = new Place();
  assertEquals((await place.run(["add", ...REPLICA, "-n", "4"])).code, 0);
  const [pid] = place.pids();
  Deno.kill(pid, "SIGKILL");
  await until("the daemon is dead", () => !isAlive(pid));

  const byNumber = await place.run(["stop", "-n", "4"]);
  assertEquals(byNumber.code, 4);
  assert(byNumber.stderr.includes("of device 4: it is dead"), byNumber.stderr);
  assert(byNumber.stderr.includes("del -n 4"), byNumber.stderr);
  const bySocket = await place.run(["status", "--unix-socket", ".ioreplica"]);
  assertEquals(bySocket.code, 4);
  assert(bySocket.stderr.includes("nobody listens on the socket"), bySocket.stderr);
  const listed = await place.run(["list"]);
  assert(/ublkb4 +dead +io-replica/.test(listed.stdout), listed.stdout);
});
