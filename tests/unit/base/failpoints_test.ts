import {
  armFailpoints,
  FAILPOINTS,
  FAILPOINTS_VARIABLE,
  hit,
  hitNow,
  parseFailpoints,
} from "../../../src/base/failpoints.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { listFiles, readSource } from "../../../tools/lint/sources.ts";
import { assert, assertEquals, assertThrows } from "../../support/assert.ts";

Deno.test("Every failpoint is hit in the sources, and only those that have a name", () => {
  const hits = new Set<string>();
  for (const path of listFiles([".ts"])) {
    if (!path.startsWith("src/") || path === "src/base/failpoints.ts") continue;
    for (const [, name] of readSource(path).matchAll(/\bhit(?:Now)?\("([^"]+)"\)/g)) hits.add(name);
  }
  assertEquals([...hits].sort(), [...FAILPOINTS].sort());
});

Deno.test("A failpoint that is not armed does nothing", () => {
  assertEquals(hit("commit.after-segment"), undefined);
  hitNow("queue.after-primary");
});

Deno.test("A handler hears every point in its order", async () => {
  const heard: string[] = [];
  armFailpoints((name) => void heard.push(name));
  try {
    await hit("commit.before-segment");
    hitNow("queue.after-capture");
  } finally {
    armFailpoints(null);
  }
  assertEquals(heard, ["commit.before-segment", "queue.after-capture"]);
});

function kindOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ReplicaError) return error.kind;
    throw error;
  }
  return "none";
}

Deno.test("parseFailpoints() acts at the named point, at the hit that was asked for", () => {
  const handler = parseFailpoints("commit.after-inode=error:fenced@2, stop.before-clean=error");
  handler("commit.after-segment");
  handler("commit.after-inode");
  assertEquals(kindOf(() => handler("commit.after-inode")), "fenced");
  handler("commit.after-inode");
  assertEquals(kindOf(() => handler("stop.before-clean")), "unavailable");
});

Deno.test("parseFailpoints() refuses what it does not know", () => {
  const bad = ["nowhere=kill", "commit.after-inode=explode", "stop.before-clean=delay", "", "a,b"];
  for (const spec of [...bad, "stop.before-clean=error:odd", "stop.before-clean=kill:now"]) {
    assertThrows(() => parseFailpoints(spec), ReplicaError, "is no failpoint");
  }
});

Deno.test("A process is killed at the point that its environment names", async () => {
  const module = new URL("../../../src/base/failpoints.ts", import.meta.url);
  const program = `const { hit } = await import("${module}");` +
    `await hit("commit.before-segment"); await hit("commit.after-segment"); console.log("alive");`;
  const { signal, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", "--quiet", program],
    env: { [FAILPOINTS_VARIABLE]: "commit.before-segment=delay:1ms,commit.after-segment=kill" },
    stdout: "piped",
  }).output();
  assert(signal === "SIGKILL", `ended by ${signal}`);
  assertEquals(new TextDecoder().decode(stdout), "");
});
