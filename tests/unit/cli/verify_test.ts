// verify against a daemon's socket with a fake device behind it.

import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { FakeDaemon } from "../../support/fake_daemon.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { MiB } from "../../../src/base/units.ts";
import { EQUAL } from "../../support/report_examples.ts";

Deno.test("verify says that primary and replica are equal", async () => {
  using world = new CliWorld();
  await using daemon = await FakeDaemon.start(world, { verifyReport: EQUAL });
  const result = await world.run("verify", "--unix-socket", daemon.socket);
  assertEquals(result, {
    code: 0,
    stdout: "primary and replica are equal: 64MiB compared up to checkpoint 12 in 1.5s\n",
    stderr: "",
  });
  const json = await world.run("verify", "--json", "--unix-socket", daemon.socket);
  assertEquals(JSON.parse(json.stdout), EQUAL);
});

Deno.test("verify names what differs, and ends with exit code 3", async () => {
  using world = new CliWorld();
  const verifyReport = {
    ...EQUAL,
    differing: [{ offsetBytes: 4096, lengthBytes: 8192 }],
    damaged: [{ offsetBytes: MiB, lengthBytes: MiB, message: "Cannot read data: missing" }],
    busyBytes: 4096,
    isComplete: false,
  };
  await using daemon = await FakeDaemon.start(world, { verifyReport });
  const { code, stdout } = await world.run("verify", "--repair", "--unix-socket", daemon.socket);
  assertEquals(code, 3);
  assertEquals(stdout.split("\n"), [
    "differs  8KiB at offset 4096",
    "damaged  1MiB at offset 1048576: Cannot read data: missing",
    "8KiB differ, 1 places are damaged: 64MiB compared up to checkpoint 12 in 1.5s",
    "4KiB were written all the time and could not be compared",
    'too much differs, the rest was not looked at: "mode set forward-full"',
    "what differs is copied again; verify once more when that is done",
    "",
  ]);
});

Deno.test("verify names what the primary cannot read, and ends with exit code 4", async () => {
  using world = new CliWorld();
  const verifyReport = {
    ...EQUAL,
    unreadable: [{ offsetBytes: 4096, lengthBytes: 8192 }, { offsetBytes: MiB, lengthBytes: 4096 }],
  };
  await using daemon = await FakeDaemon.start(world, { verifyReport });
  const { code, stdout } = await world.run("verify", "--unix-socket", daemon.socket);
  assertEquals(code, 4);
  assertEquals(stdout.split("\n"), [
    "unreadable  8KiB at offset 4096",
    "unreadable  4KiB at offset 1048576",
    "primary and replica are equal as far as the primary can be read: 64MiB compared up to checkpoint 12 " +
    "in 1.5s",
    "12KiB of the primary can't be read and could not be compared",
    "",
  ]);
  const json = await world.run("verify", "--json", "--unix-socket", daemon.socket);
  assertEquals([json.code, JSON.parse(json.stdout)], [4, verifyReport]);
});

Deno.test("verify that differs and cannot read everything ends with exit code 3", async () => {
  using world = new CliWorld();
  const place = { offsetBytes: 4096, lengthBytes: 8192 };
  const verifyReport = {
    ...EQUAL,
    differing: [place],
    unreadable: [{ ...place, offsetBytes: MiB }],
  };
  await using daemon = await FakeDaemon.start(world, { verifyReport });
  const { code, stdout } = await world.run("verify", "--unix-socket", daemon.socket);
  assertEquals(code, 3);
  assert(
    stdout.startsWith("differs  8KiB at offset 4096\nunreadable  8KiB at offset 1048576\n"),
    stdout,
  );
});

Deno.test("verify that gave up on an unreadable primary does not blame the replica", async () => {
  using world = new CliWorld();
  const unreadable = [{ offsetBytes: 0, lengthBytes: MiB }];
  await using daemon = await FakeDaemon.start(world, {
    verifyReport: { ...EQUAL, unreadable, comparedBytes: MiB, isComplete: false },
  });
  const { code, stdout } = await world.run("verify", "--unix-socket", daemon.socket);
  assertEquals(code, 4);
  assert(stdout.includes("too much can't be read, the rest was not looked at"), stdout);
  assert(!stdout.includes("forward-full"), stdout);
});

Deno.test("verify never says equal when the daemon stopped it", async () => {
  using world = new CliWorld();
  const verifyError = new ReplicaError("closed", "Cannot read segment 3: aborted");
  await using daemon = await FakeDaemon.start(world, { verifyError });
  const { code, stderr } = await world.run("verify", "--unix-socket", daemon.socket);
  assertEquals(code, 4, stderr);
});

Deno.test("SIGINT ends verify, and the comparison in the daemon", async () => {
  using world = new CliWorld();
  await using daemon = await FakeDaemon.start(world);
  const running = world.run("verify", "--unix-socket", daemon.socket);
  await systemClock.sleep(100);
  world.interrupt();
  const { code, stderr } = await running;
  assertEquals(code, 130, stderr);
  for (let i = 0; i < 200 && daemon.device.verifyStops === 0; i++) await systemClock.sleep(10);
  assert(daemon.device.verifyStops === 1, "the daemon does not go on for nobody");
});
