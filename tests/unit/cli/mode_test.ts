// mode get and set against a daemon's socket with a fake device behind it.

import { assert, assertEquals } from "../../support/assert.ts";
import { CliWorld } from "../../support/cli_context.ts";
import { FakeDaemon } from "../../support/fake_daemon.ts";

Deno.test("mode set changes the mode, and mode get shows it", async () => {
  using world = new CliWorld();
  await using daemon = await FakeDaemon.start(world);
  const mode = (...argv: string[]) => world.run("mode", ...argv, "--unix-socket", daemon.socket);
  assertEquals(await mode("get"), { code: 0, stdout: "logging\n", stderr: "" });

  const paused = await mode("set", "pause");
  assertEquals([paused.code, paused.stderr], [0, ""]);
  assert(paused.stdout.startsWith("paused: writes only mark what they change"), paused.stdout);
  assertEquals((await mode("get")).stdout, "paused\n");

  const resumed = await mode("set", "logging", "--json");
  assertEquals(JSON.parse(resumed.stdout).mode, "forward-part");
  const again = await mode("set", "logging");
  assert(again.stdout.startsWith("forward-part: nothing to do: logging follows"), again.stdout);
  assertEquals(JSON.parse((await mode("get", "--json")).stdout), {
    device: "/dev/ublkb7",
    mode: "forward-part",
    resync: null,
  });
});

Deno.test("modes and comparisons of a bare device end with exit code 4, and say why", async () => {
  using world = new CliWorld();
  await using daemon = await FakeDaemon.start(world, { target: "null" });
  const attempts = [
    [["mode", "get"], "Cannot show the mode of /dev/ublkb7: the device has no replica"],
    [["mode", "set", "pause"], "Cannot set the mode: the device has no replica"],
    [["verify"], "Cannot compare: the device has no replica"],
  ] as const;
  for (const [command, message] of attempts) {
    const { code, stdout, stderr } = await world.run(...command, "--unix-socket", daemon.socket);
    assertEquals([code, stdout], [4, ""], stderr);
    assert(stderr.includes(message), stderr);
  }
});

Deno.test("a mode that there is none of is the command line's mistake", async () => {
  using world = new CliWorld();
  const { code, stderr } = await world.run("mode", "set", "detached");
  assertEquals(code, 2);
  assert(stderr.includes("there is no such mode to set"), stderr);
});
