// list, del, features and status against a driver and reports that the test makes up.

import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { statusText } from "../../../src/cli/status.ts";
import type { Driver } from "../../../src/cli/platform.ts";
import type { DriverDevice } from "../../../src/ublk/driver.ts";
import type { StatusReport } from "../../../src/control/protocol.ts";
import { STATUS } from "../../support/report_examples.ts";

class FakeDriver implements Driver {
  devices: DriverDevice[];
  removed: number[] = [];

  constructor(numbers: number[]) {
    this.devices = numbers.map((number) => ({
      number,
      queues: 1,
      depth: 128,
      bufferBytes: 524288,
      pid: 4194303,
      state: "live",
    }));
  }
  features() {
    return Promise.resolve([
      { name: "USER_COPY", bit: 7, present: true, summary: "copies by pread and pwrite" },
      { name: "ZONED", bit: 8, present: false, summary: "zoned devices" },
    ]);
  }
  list() {
    return Promise.resolve(this.devices);
  }
  remove(number: number) {
    this.removed.push(number);
    this.devices = this.devices.filter((device) => device.number !== number);
    return Promise.resolve();
  }
}

function worldWith(driver: Driver): CliWorld {
  return new CliWorld({ platform: { openDriver: () => Promise.resolve(driver) } });
}

/** A state file as a daemon that was killed leaves it. */
function leaveState(world: CliWorld, number: number): void {
  Deno.mkdirSync(world.runDirectory, { recursive: true });
  const state = {
    version: 1,
    number,
    device: `/dev/ublkb${number}`,
    pid: 4194303,
    pidStart: 1,
    socket: `${world.directory}/socket-${number}`,
    deviceSizeBytes: 1 << 30,
    config: { target: { type: "loop", path: "/data/disk.img" } },
  };
  Deno.writeTextFileSync(`${world.runDirectory}/ublk-${number}.json`, JSON.stringify(state));
}

Deno.test("list shows dead daemons' devices and those of other programs", async () => {
  using world = worldWith(new FakeDriver([0, 5]));
  leaveState(world, 5);
  const { stdout, code } = await world.run("list");
  assertEquals(code, 0);
  assertEquals(stdout.split("\n").map((line) => line.split(/ {2,}/)).slice(0, 3), [
    ["DEVICE", "STATE", "TARGET", "SIZE", "PID", "PRIMARY", "REPLICA"],
    ["/dev/ublkb0", "foreign", "?", "-", "4194303", "-", "-"],
    ["/dev/ublkb5", "dead", "loop", "1GiB", "4194303", "/data/disk.img", "-"],
  ]);
});

Deno.test("list works without the driver and without devices", async () => {
  using world = new CliWorld();
  const { stdout, stderr, code } = await world.run("list", "--json");
  assertEquals([code, JSON.parse(stdout)], [0, []]);
  assert(stderr.startsWith("note: only state files are listed"), stderr);
});

Deno.test("del removes what a dead daemon left, and nothing else", async () => {
  const driver = new FakeDriver([0, 5, 6]);
  using world = worldWith(driver);
  leaveState(world, 5);
  leaveState(world, 9);
  const listener = Deno.listen({ transport: "unix", path: `${world.directory}/socket` });
  Deno.renameSync(`${world.directory}/socket`, `${world.directory}/socket-5`);
  listener.close();
  Deno.writeTextFileSync(`${world.directory}/socket-9`, "a file of somebody else");
  const { stdout, code, stderr } = await world.run("del", "--all", "--json");
  assertEquals([code, stderr, JSON.parse(stdout)], [0, "", { deleted: [5, 9], failed: [] }]);
  assertEquals(driver.removed, [5], "device 9 was gone from the kernel, 0 and 6 are foreign");
  assertEquals([...Deno.readDirSync(world.runDirectory)], []);
  const left = [...Deno.readDirSync(world.directory)].map(({ name }) => name).sort();
  assertEquals(left, ["run", "socket-9"]);
  assertEquals((await world.run("del", "-n", "6")).code, 0);
  assertEquals(driver.removed, [5, 6]);
});

Deno.test("del --all goes on behind a device that cannot be deleted", async () => {
  const driver = new FakeDriver([4, 5]);
  const remove = driver.remove.bind(driver);
  driver.remove = (number) =>
    number === 4
      ? Promise.reject(new ReplicaError("kernel", "Cannot carry out DEL_DEV"))
      : remove(number);
  using world = worldWith(driver);
  leaveState(world, 4);
  leaveState(world, 5);
  const { stdout, stderr, code } = await world.run("del", "--all", "--json");
  const error = { kind: "kernel", message: "Cannot carry out DEL_DEV" };
  assertEquals([code, JSON.parse(stdout)], [6, {
    deleted: [5],
    failed: [{ number: 4, error }],
  }]);
  assertEquals(JSON.parse(stderr), { error: { ...error, exitCode: 6 } });
});

Deno.test("del leaves a device alone whose process lives, whatever the run directory says", async () => {
  const driver = new FakeDriver([4, 5]);
  driver.devices = driver.devices.map((device) => ({ ...device, pid: Deno.pid }));
  using world = worldWith(driver);
  leaveState(world, 5);
  for (const number of ["4", "5"]) {
    const { code, stderr } = await world.run("del", "-n", number);
    assertEquals(code, 4, stderr);
    assert(stderr.includes(`process ${Deno.pid} serves it`), stderr);
  }
  assertEquals(driver.removed, []);
});

Deno.test("del refuses a device that is not there", async () => {
  using world = worldWith(new FakeDriver([1]));
  const { code, stderr } = await world.run("del", "-n", "2");
  assertEquals(code, 2);
  assert(stderr.includes("Cannot delete device 2: there is no such device"), stderr);
});

Deno.test("del passes on what the driver refuses", async () => {
  const driver = new FakeDriver([1]);
  driver.remove = () => Promise.reject(new ReplicaError("kernel", "Cannot carry out DEL_DEV"));
  using world = worldWith(driver);
  leaveState(world, 1);
  const { code } = await world.run("del", "-n", "1");
  assertEquals(code, 6);
  assert(Deno.statSync(`${world.runDirectory}/ublk-1.json`).isFile, "still known");
});

Deno.test("features shows the driver's flags", async () => {
  using world = worldWith(new FakeDriver([]));
  const { stdout } = await world.run("features");
  assert(/7 +USER_COPY +yes +copies by pread/.test(stdout), stdout);
  assert(/8 +ZONED +no +zoned devices/.test(stdout), stdout);
});

Deno.test("status reads like this", () => {
  assertEquals(
    statusText(STATUS, 1_000_000),
    `device          /dev/ublkb0, 10GiB, io-replica
mode            logging
daemon          pid 17, up 2h 13m
primary         /dev/nvme0n1
replica         s3://backups/hosts/6f1d
uuid            6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d
dirty           3 regions, 24MiB (< 1 % of the device)
checkpoint      42, 600ms ago
IO lag          5MiB in 1 operation, 350ms
pool            [###-------] 25 %, 256MiB of 1GiB, 3 requests waiting for room
reads           1MiB/s, 256/s; 100 reads of 400KiB
writes          2MiB/s, 512/s; 1 write of 4KiB
replicated      3MiB/s
other           2 flushes, 1 discard, 0 write-zeroes
IO errors       0
replica errors  7 repeated requests, 1 failed commit; 10s ago: 503 Slow Down

! The pool is full: writes wait for the replica
`,
  );
});

Deno.test("status of a device without news is short", () => {
  const quiet = statusText({
    ...STATUS,
    lag: { bytes: 0, operations: 0, seconds: 0 },
    checkpoint: { cno: null, committedMs: null, ageSeconds: null },
    messages: [],
  }, 1_000_000);
  assert(quiet.includes("IO lag          none: the replica has every write\n"), quiet);
  assert(quiet.includes("checkpoint      none yet\n"), quiet);
});

Deno.test("status shows how far a resync and a comparison are", () => {
  const MiB = 1024 ** 2;
  const busy: StatusReport = {
    ...STATUS,
    dirty: { regions: 0, bytes: 0 },
    resync: {
      doneBytes: 30 * MiB,
      pendingBytes: 70 * MiB,
      bytesPerSecond: 10 * MiB,
      remainingSeconds: 7,
    },
    verify: {
      stage: "comparing",
      comparedBytes: 9 * 1024 * MiB,
      pendingBytes: 1024 * MiB,
      differingBytes: 4096,
      bytesPerSecond: 128 * MiB,
      remainingSeconds: 8,
    },
  };
  const text = statusText(busy, 1_000_000);
  for (
    const line of [
      "resync          30 %, 70MiB left, 10MiB/s, about 7s to go\n",
      "verify          comparing, 90 %, 1GiB left, 128MiB/s, about 8s to go, 4KiB differ\n",
      "dirty           nothing\n",
    ]
  ) assert(text.includes(line), text);
  const paused = { doneBytes: 0, pendingBytes: MiB, bytesPerSecond: 0, remainingSeconds: null };
  const resting = statusText({ ...busy, resync: paused, verify: null }, 1_000_000);
  assert(resting.includes("resync          1MiB to copy\n"), resting);
});
