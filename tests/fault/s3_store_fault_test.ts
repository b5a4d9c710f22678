// Every fault at every request of the S3 store: the documented kind of error, a true word about the
// effect, and never a hang.

import { ReplicaError } from "../../src/base/errors.ts";
import { MiB } from "../../src/base/units.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import { mayHaveTakenEffect, needsOperator } from "../../src/replica/store_error.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { type Fault, startFaultProxy } from "../support/fault_proxy.ts";
import { startS3Server } from "../support/s3_server.ts";
import { equal, pattern, stored } from "../conformance/object_store_contract.ts";

const SETTLE_LIMIT_MS = 20_000;
/** Long enough that a busy machine does not look like a hung server. */
const IDLE_TIMEOUT_MS = 2_500;

const server = await startS3Server();
const proxy = startFaultProxy({ targetPort: server.port });
globalThis.addEventListener("unload", () => {
  proxy.stop();
  server.stop();
});

/** "ok", "refused" (an answer: stored false, or null), or the error's kind and code. */
type Outcome = string;

const VERBS = ["head", "get", "range", "put", "create", "replace", "delete", "list"] as const;
type Verb = typeof VERBS[number];

interface Case {
  readonly name: string;
  readonly fault: Fault;
  /** Per verb, or for all. */
  readonly expected: Outcome | Partial<Record<Verb, Outcome>> & { readonly rest: Outcome };
  readonly operator?: boolean;
}

function status(code: number, s3Code?: string): Fault {
  return { type: "status", status: code, code: s3Code };
}

const CASES: readonly Case[] = [
  { name: "nothing", fault: { type: "delay", ms: 20 }, expected: "ok" },
  { name: "500", fault: status(500, "InternalError"), expected: "unavailable 500" },
  { name: "500 without a body", fault: status(500), expected: "unavailable 500" },
  { name: "502 with a web page", fault: webPage(502), expected: "unavailable 502" },
  { name: "503", fault: status(503, "SlowDown"), expected: "unavailable 503" },
  {
    name: "503 before the body",
    fault: { type: "early-status", status: 503, code: "SlowDown" },
    // The answer may get lost in the broken connection.
    expected: "unavailable *",
  },
  { name: "429", fault: status(429, "TooManyRequests"), expected: "unavailable 429" },
  {
    name: "403",
    fault: status(403, "AccessDenied"),
    expected: "unavailable 403",
    operator: true,
  },
  {
    name: "no bucket",
    fault: status(404, "NoSuchBucket"),
    // HEAD has no body to tell the code: the bucket is asked about, and is there.
    expected: { head: "refused", rest: "unavailable 404" },
    operator: true,
  },
  {
    name: "a gateway's 404",
    fault: webPage(404),
    // HEAD has no body to tell whose it is.
    expected: { head: "refused", delete: "ok", rest: "unavailable 404" },
  },
  { name: "303", fault: status(303), expected: "unavailable 303", operator: true },
  { name: "301", fault: status(301, "PermanentRedirect"), expected: "usage 301" },
  { name: "501", fault: status(501, "NotImplemented"), expected: "usage 501" },
  {
    name: "412",
    fault: status(412, "PreconditionFailed"),
    expected: { create: "refused", replace: "refused", rest: "unavailable 412" },
  },
  {
    name: "409",
    fault: status(409, "ConditionalRequestConflict"),
    expected: { create: "refused", replace: "refused", rest: "unavailable 409" },
  },
  {
    name: "404",
    fault: status(404, "NoSuchKey"),
    expected: {
      head: "refused",
      get: "refused",
      range: "refused",
      replace: "refused",
      delete: "ok",
      rest: "unavailable 404",
    },
  },
  { name: "reset before", fault: { type: "reset-before" }, expected: "unavailable *" },
  { name: "reset after", fault: { type: "reset-after" }, expected: "unavailable *" },
  { name: "request cut", fault: { type: "cut-request" }, expected: "unavailable *" },
  {
    name: "answer cut",
    fault: { type: "cut-response" },
    expected: { get: "unavailable *", range: "unavailable *", list: "unavailable *", rest: "ok" },
  },
  {
    name: "answer stalls",
    fault: { type: "stall-response" },
    expected: { get: "unavailable *", range: "unavailable *", list: "unavailable *", rest: "ok" },
  },
  { name: "hang", fault: { type: "hang" }, expected: "unavailable Timeout" },
  { name: "hang after", fault: { type: "hang-after" }, expected: "unavailable Timeout" },
  {
    name: "web page",
    fault: webPage(200),
    expected: "unavailable NotS3",
    operator: true,
  },
];

function webPage(status: number): Fault {
  return { type: "status", status, body: "<html><body>Welcome to the hotel</body></html>" };
}

for (const { name, fault, expected, operator } of CASES) {
  for (const verb of VERBS) {
    const wanted = typeof expected === "string" ? expected : expected[verb] ?? expected.rest;
    Deno.test(`S3Store.${verb}() with ${name}: ${wanted}`, () =>
      run(verb, fault, wanted, operator));
  }
}

async function run(verb: Verb, fault: Fault, wanted: Outcome, operator = false): Promise<void> {
  proxy.reset();
  const root = await server.createRoot();
  const direct = new S3Store(root);
  const store = new S3Store({
    ...root,
    endpoint: proxy.endpoint,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    connectTimeoutMs: IDLE_TIMEOUT_MS,
    slowestBytesPerSecond: 100 * MiB,
  });
  const old = pattern(100_000, 1);
  const fresh = pattern(3 * MiB, 2);
  const etag = stored(await direct.put("inode", [old]));
  // The fault meets a connection that was used before: the usual case, and where Deno's own re-sending
  // would come in.
  await store.head("other");
  proxy.requests.length = 0;
  proxy.plan = ({ number }) => number === 1 ? fault : null;
  const startMs = performance.now();
  let failure: unknown = null;
  let outcome: Outcome;
  try {
    outcome = await call(store, verb, { etag, fresh });
  } catch (error) {
    failure = error;
    outcome = describe(error);
  }
  const tookMs = performance.now() - startMs;
  assertEquals(proxy.requests.length, 1, "a call is one request");
  assert(tookMs < SETTLE_LIMIT_MS, `took ${tookMs} ms`);
  const matches = wanted.endsWith("*") ? outcome.startsWith(wanted.slice(0, -1)) : false;
  assert(matches || outcome === wanted, `${outcome}, not ${wanted}: ${failure}`);
  if (outcome.startsWith("unavailable")) assertEquals(needsOperator(failure), operator);
  // The next call of the same store goes well: no connection is left in a bad state.
  assert(await store.head("other") === null, "another call works");
  await checkEffect(direct, verb, { failure, old, fresh });
  await store.close();
  await direct.close();
}

async function call(
  store: S3Store,
  verb: Verb,
  { etag, fresh }: { etag: string; fresh: Uint8Array },
): Promise<Outcome> {
  switch (verb) {
    case "head":
      return await store.head("inode") === null ? "refused" : "ok";
    case "get":
      return await store.get("inode") === null ? "refused" : "ok";
    case "range": {
      const body = await store.get("inode", { range: { offset: 1000, length: 50_000 } });
      return body === null ? "refused" : "ok";
    }
    case "put":
      return (await store.put("inode", [fresh])).stored ? "ok" : "refused";
    case "create":
      return (await store.put("new", [fresh], { condition: { absent: true } })).stored
        ? "ok"
        : "refused";
    case "replace":
      return (await store.put("inode", [fresh], { condition: { etag } })).stored ? "ok" : "refused";
    case "delete":
      await store.delete("inode");
      return "ok";
    case "list":
      assertEquals((await Array.fromAsync(store.list())).map(({ key }) => key), ["inode"]);
      return "ok";
  }
}

function describe(error: unknown): Outcome {
  if (!(error instanceof ReplicaError)) return `no ReplicaError: ${error}`;
  const detail = error.context.status ?? error.context.code ?? "";
  return error.kind === "data" ? "data" : `${error.kind} ${detail}`;
}

/** Whole bodies only; and where the error says that nothing happened, nothing has. */
async function checkEffect(
  direct: S3Store,
  verb: Verb,
  { failure, old, fresh }: { failure: unknown; old: Uint8Array; fresh: Uint8Array },
): Promise<void> {
  const key = verb === "create" ? "new" : "inode";
  const got = await direct.get(key);
  const before = verb === "create" ? got === null : got !== null && equal(got.bytes, old);
  if (["head", "get", "range", "list"].includes(verb)) {
    assert(before, "reading changes nothing");
    return;
  }
  const after = verb === "delete" ? got === null : got !== null && equal(got.bytes, fresh);
  assert(before || after, "the object is the old one or the new one");
  if (failure !== null && !mayHaveTakenEffect(failure)) assert(before, "no effect was promised");
}

Deno.test("S3Store meets a black hole with a time-out", async () => {
  proxy.reset();
  const root = await server.createRoot({
    endpoint: proxy.endpoint,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    slowestBytesPerSecond: 100 * MiB,
  });
  const store = new S3Store(root);
  proxy.blackHole = true;
  const error = await failureOf(() => store.put("inode", [pattern(8 * MiB, 1)]));
  assertEquals([error.kind, error.context.code], ["unavailable", "Timeout"]);
  // The kernel's buffers took less than the body, so the server can't have all of it.
  assertEquals(error.context.effect, "none");
  proxy.blackHole = false;
  await store.close();
});

// Each answer that was refused unread kept its connection, and there are 32.
Deno.test("S3Store.get() lets go of the connection of an answer that it does not believe", async () => {
  proxy.reset();
  const root = await server.createRoot({
    endpoint: proxy.endpoint,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    slowestBytesPerSecond: 100 * MiB,
  });
  const store = new S3Store(root);
  const body = pattern(1000, 5);
  stored(await store.put("inode", [body]));
  proxy.plan = () => ({ type: "status", status: 200, body: "the whole object".repeat(256 * 1024) });
  const range = { offset: 0, length: 160 };
  for (let n = 0; n < 40; n++) {
    const error = await failureOf(() => store.get("inode", { range }));
    assertEquals(error.context.code, "NotS3");
  }
  proxy.reset();
  assert(equal((await store.get("inode", { range }))!.bytes, body.subarray(0, 160)), "the bytes");
  await store.close();
});

Deno.test("S3Store does not time out on a slow line", async () => {
  proxy.reset();
  const root = await server.createRoot({
    endpoint: proxy.endpoint,
    idleTimeoutMs: 4_000,
    slowestBytesPerSecond: 2 * MiB,
  });
  const store = new S3Store(root);
  proxy.bytesPerSecond = 3 * MiB;
  const body = pattern(9 * MiB, 3);
  const startMs = performance.now();
  stored(await store.put("inode", [body]));
  const got = await store.get("inode");
  assert(performance.now() - startMs > 2_000, "it was slow");
  assert(equal(got!.bytes, body), "the bytes");
  proxy.reset();
  await store.close();
});

Deno.test("S3Store.put() ends at once when its signal is aborted while the server hangs", async () => {
  proxy.reset();
  const store = new S3Store(await server.createRoot({ endpoint: proxy.endpoint }));
  proxy.plan = () => ({ type: "hang" });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  const startMs = performance.now();
  const error = await failureOf(() => store.put("inode", [pattern(10, 1)], abort));
  assertEquals(error.kind, "closed");
  assert(performance.now() - startMs < 1_000, "at once");
  setTimeout(() => store.close(), 50);
  assertEquals((await failureOf(() => store.head("inode"))).kind, "closed");
});

async function failureOf(run: () => Promise<unknown>): Promise<ReplicaError> {
  try {
    await run();
  } catch (error) {
    assert(error instanceof ReplicaError, `${error}`);
    return error;
  }
  throw new Error("it did not fail");
}
