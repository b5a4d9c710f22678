// Uploads in parts on bad days: whole objects or none, true answers where the last step's answer is
// lost, and nothing left behind.

import { ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import { ReplicaError } from "../../src/base/errors.ts";
import { MiB } from "../../src/base/units.ts";
import type { PutCondition } from "../../src/replica/object_store.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import type { S3Options } from "../../src/replica/s3_settings.ts";
import { mayHaveTakenEffect } from "../../src/replica/store_error.ts";
import { equal, pattern, stored } from "../conformance/object_store_contract.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { type Fault, type RequestKind, startFaultProxy } from "../support/fault_proxy.ts";
import { startS3Server } from "../support/s3_server.ts";

const server = await startS3Server();
const proxy = startFaultProxy({ targetPort: server.port });
globalThis.addEventListener("unload", () => {
  proxy.stop();
  server.stop();
});

const BODY = pattern(12 * MiB, 7);
const OLD = pattern(1_000, 8);
const PART_BYTES = 5 * MiB;
const IDLE_TIMEOUT_MS = 3_000;

interface Result {
  readonly outcome: "stored" | "refused" | ReplicaError;
  readonly direct: S3Store;
  readonly root: S3Options;
}

/** Puts three parts through the proxy, with `fault` at the `nth` request of `kind` (0: at all). */
async function upload(
  kind: RequestKind,
  fault: Fault,
  options: { nth?: number; condition?: PutCondition; old?: boolean } = {},
): Promise<Result> {
  proxy.reset();
  const { nth = 1, condition, old = false } = options;
  const root = await server.createRoot();
  const direct = new S3Store(root);
  if (old) stored(await direct.put("0000000001", [OLD]));
  const limits = {
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    slowestBytesPerSecond: 100 * MiB,
    partBytes: PART_BYTES,
  };
  const store = new S3Store({ ...root, ...limits, endpoint: proxy.endpoint });
  proxy.plan = (request) => {
    return request.kind === kind && (nth === 0 || request.numberOfKind === nth) ? fault : null;
  };
  try {
    const result = await store.put("0000000001", [BODY], { condition });
    return { outcome: result.stored ? "stored" : "refused", direct, root };
  } catch (error) {
    assert(error instanceof ReplicaError, `${error}`);
    return { outcome: error, direct, root };
  } finally {
    await store.close();
  }
}

/** "whole", "old", "none" or "torn". */
async function found(direct: S3Store): Promise<string> {
  const got = await direct.get("0000000001");
  await direct.close();
  if (got === null) return "none";
  if (equal(got.bytes, BODY)) return "whole";
  return equal(got.bytes, OLD) ? "old" : "torn";
}

async function unfinishedUploads(root: S3Options): Promise<number> {
  const client = new S3Client({ ...root, forcePathStyle: true });
  const output = await client.send(new ListMultipartUploadsCommand({ Bucket: root.bucket }));
  client.destroy();
  return output.Uploads?.length ?? 0;
}

const PASSING: readonly Fault[] = [
  { type: "status", status: 503, code: "SlowDown" },
  { type: "status", status: 500, code: "InternalError" },
  { type: "reset-before" },
  { type: "reset-after" },
  { type: "cut-request" },
  { type: "hang" },
];

for (const fault of PASSING) {
  const name = fault.type === "status" ? `${fault.status}` : fault.type;
  Deno.test(`S3Store.put() in parts sends a part again after ${name}`, async () => {
    const { outcome, direct, root } = await upload("part", fault, { nth: 2 });
    assertEquals(outcome, "stored");
    assertEquals(proxy.count("part"), 4);
    assertEquals(await found(direct), "whole");
    assertEquals(await unfinishedUploads(root), 0);
  });
}

Deno.test("S3Store.put() in parts gives up on parts that never get through, without effect", async () => {
  const fault: Fault = { type: "status", status: 500, code: "InternalError" };
  const { outcome, direct, root } = await upload("part", fault, { nth: 0, old: true });
  assert(outcome instanceof ReplicaError);
  assertEquals([outcome.kind, outcome.context.effect], ["unavailable", "none"]);
  assertEquals(await found(direct), "old");
  assertEquals(await unfinishedUploads(root), 0, "the upload was abandoned");
});

Deno.test("S3Store.put() in parts has no effect when its upload can't begin", async () => {
  const page: Fault = { type: "status", status: 200, body: "<html>Welcome to the hotel</html>" };
  for (const fault of [...PASSING, page]) {
    const { outcome, direct } = await upload("begin", fault, { old: true });
    assert(outcome instanceof ReplicaError);
    assertEquals([outcome.kind, outcome.context.effect], ["unavailable", "none"]);
    assertEquals(await found(direct), "old");
  }
});

Deno.test("S3Store.put() in parts finds out what became of a last step without an answer", async () => {
  const absent = { absent: true } as const;
  for (const fault of [{ type: "reset-after" }, { type: "hang-after" }] as const) {
    const { outcome, direct, root } = await upload("complete", fault, { condition: absent });
    assertEquals(outcome, "stored");
    assertEquals(await found(direct), "whole");
    assertEquals(await unfinishedUploads(root), 0);
  }
});

Deno.test("S3Store.put() in parts knows that a last step that did not arrive has no effect", async () => {
  const faults: Fault[] = [
    { type: "reset-before" },
    { type: "hang" },
    { type: "status", status: 500, code: "InternalError" },
    { type: "status", status: 404, code: "NoSuchUpload" },
  ];
  for (const fault of faults) {
    const { outcome, direct, root } = await upload("complete", fault);
    assert(outcome instanceof ReplicaError, `${JSON.stringify(fault)} gave ${outcome}`);
    assertEquals([outcome.kind, outcome.context.effect], ["unavailable", "none"]);
    assertEquals(await found(direct), "none");
    assertEquals(await unfinishedUploads(root), 0);
  }
});

Deno.test("S3Store.put() in parts says so when it can't find out", async () => {
  proxy.reset();
  const root = await server.createRoot();
  const store = new S3Store({ ...root, partBytes: PART_BYTES, endpoint: proxy.endpoint });
  let broken = false;
  proxy.plan = ({ kind }) => {
    broken ||= kind === "complete";
    return kind === "complete" ? { type: "reset-after" } : broken ? { type: "reset-before" } : null;
  };
  const error = await store.put("0000000001", [BODY]).then(() => null, (error) => error);
  assertEquals(error?.kind, "unavailable");
  assert(mayHaveTakenEffect(error), "the outcome is unknown");
  await store.close();
});

Deno.test("S3Store.put() in parts is refused where the condition does not hold", async () => {
  const condition = { absent: true } as const;
  const none: Fault = { type: "delay", ms: 0 };
  const { outcome, direct, root } = await upload("complete", none, { condition, old: true });
  assertEquals(outcome, "refused");
  assertEquals(await found(direct), "old");
  assertEquals(await unfinishedUploads(root), 0);
  const conflict: Fault = { type: "status", status: 409, code: "ConditionalRequestConflict" };
  const second = await upload("complete", conflict, { condition });
  assertEquals(second.outcome, "refused");
  assertEquals(await found(second.direct), "none");
});

Deno.test("S3Store.put() in parts that is aborted leaves no unfinished upload", async () => {
  proxy.reset();
  const root = await server.createRoot();
  const store = new S3Store({ ...root, partBytes: PART_BYTES, endpoint: proxy.endpoint });
  for (const kind of ["part", "complete"] as const) {
    const abort = new AbortController();
    proxy.plan = (request) => {
      if (request.kind !== kind) return null;
      setTimeout(() => abort.abort(), 10);
      return { type: "hang" };
    };
    const error = await store.put("0000000001", [BODY], abort).then(() => null, (error) => error);
    assertEquals(error?.kind, "closed");
    assertEquals(await unfinishedUploads(root), 0);
  }
  await store.close();
});
