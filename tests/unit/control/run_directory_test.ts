import { assertEquals, assertRejects } from "../../support/assert.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { deviceConfig } from "../../../src/config.ts";
import type { DaemonState } from "../../../src/control/daemon_state.ts";
import {
  findState,
  findStates,
  processStart,
  removeState,
  stateFilePath,
  withRunDirectoryLock,
  writeState,
} from "../../../src/control/run_directory.ts";

class Place {
  readonly directory = `${Deno.makeTempDirSync({ prefix: "io-replica-run-" })}/run`;
  [Symbol.dispose](): void {
    Deno.removeSync(this.directory.replace(/\/run$/, ""), { recursive: true });
  }
}

async function stateOf(number: number): Promise<DaemonState> {
  return {
    version: 1,
    number,
    device: `/dev/ublkb${number}`,
    pid: Deno.pid,
    pidStart: await processStart(Deno.pid) ?? 0,
    startedMs: 1,
    socket: "/tmp/.ioreplica",
    logFile: null,
    deviceSizeBytes: 4096,
    config: deviceConfig({
      number,
      queues: 1,
      depth: 1,
      bufferBytes: 4096,
      readOnly: false,
      unixSocket: ".ioreplica",
      log: { level: "info", format: "text", file: null },
      target: { type: "null" },
    }),
  };
}

Deno.test("findStates() gives what writeState() wrote, by number", async () => {
  using place = new Place();
  assertEquals(await findStates(place.directory), []);
  for (const number of [10, 9]) await writeState(place.directory, await stateOf(number));
  const found = await findStates(place.directory);
  assertEquals(found.map(({ number, alive }) => [number, alive]), [[9, true], [10, true]]);
  assertEquals(found[0].state, await stateOf(9));
  assertEquals((Deno.statSync(found[0].path).mode ?? 0) & 0o777, 0o600);
  await removeState(place.directory, 9);
  await removeState(place.directory, 9);
  assertEquals(await findState(place.directory, 9), null);
});

Deno.test("findStates() tells a dead daemon from another process with its pid", async () => {
  using place = new Place();
  const state = await stateOf(1);
  await writeState(place.directory, { ...state, pidStart: state.pidStart - 1 });
  await writeState(place.directory, { ...state, number: 2, pid: 2 ** 22 - 1 });
  const found = await findStates(place.directory);
  assertEquals(found.map(({ number, alive }) => [number, alive]), [[1, false], [2, false]]);
});

Deno.test("findStates() goes on past files that it cannot read", async () => {
  using place = new Place();
  await writeState(place.directory, await stateOf(3));
  const bad = ["", "{", "null", "[]", "7", '{"version":2}'];
  for (const [i, text] of bad.entries()) {
    Deno.writeTextFileSync(stateFilePath(place.directory, 10 + i), text);
  }
  Deno.writeTextFileSync(`${place.directory}/ublk-x.json`, "not ours");
  const found = await findStates(place.directory);
  assertEquals(found.map(({ state }) => state === null), [false, ...bad.map(() => true)]);
  assertEquals(found.some(({ number, alive }) => number >= 10 && alive), false);
});

Deno.test("findStates() forgets no daemon because another one ends meanwhile", async () => {
  using place = new Place();
  await writeState(place.directory, await stateOf(3));
  // A name that leads nowhere, as one that was listed and is gone.
  Deno.symlinkSync(`${place.directory}/gone`, stateFilePath(place.directory, 4));
  const found = await findStates(place.directory);
  assertEquals(found.map(({ number, alive }) => [number, alive]), [[3, true]]);
});

Deno.test("findStates() says what to do where it may not look", async () => {
  using place = new Place();
  Deno.mkdirSync(place.directory);
  Deno.writeTextFileSync(`${place.directory}/file`, "");
  await assertRejects(() => findStates(`${place.directory}/file`), ReplicaError, "Cannot read");
  const below = () => writeState(`${place.directory}/file/run`, {} as DaemonState);
  await assertRejects(below, ReplicaError, "Cannot make the run directory");
});

Deno.test("withRunDirectoryLock() lets one in at a time", async () => {
  using place = new Place();
  let inside = 0;
  let most = 0;
  async function enter(): Promise<void> {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 5));
    inside--;
  }
  await Promise.all(
    [1, 2, 3, 4].map(() => withRunDirectoryLock(place.directory, enter)),
  );
  assertEquals(most, 1);
});

Deno.test("processStart() is not put off by a process that ends while it is looked at", async () => {
  const child = new Deno.Command("sleep", { args: ["60"] }).spawn();
  let reads = 0;
  const start = await processStart(child.pid, async (path) => {
    if (reads++ > 0) return await Deno.readTextFile(path);
    using file = await Deno.open(path);
    child.kill("SIGKILL");
    await child.status;
    await file.read(new Uint8Array(512));
    throw new Error("the file of a process that is gone can be read");
  });
  assertEquals([start, reads], [null, 2]);
});

Deno.test("processStart() passes on what it cannot read", async () => {
  const read = () => Promise.reject(new Deno.errors.PermissionDenied("no (os error 13)"));
  await assertRejects(() => processStart(1, read), ReplicaError, "Cannot look at process 1: no");
});

Deno.test("processStart() knows processes that live", async () => {
  assertEquals(await processStart(Deno.pid), await processStart(Deno.pid));
  assertEquals(await processStart(2 ** 22 - 1), null);
});
