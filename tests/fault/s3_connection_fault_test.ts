// Connections that can't be made, and set-ups that can't work: each is told apart, with advice.

import { ReplicaError } from "../../src/base/errors.ts";
import { MiB } from "../../src/base/units.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import type { S3Options } from "../../src/replica/s3_settings.ts";
import { needsOperator } from "../../src/replica/store_error.ts";
import { pattern, stored } from "../conformance/object_store_contract.ts";
import { assert, assertEquals } from "../support/assert.ts";
import { startFaultProxy } from "../support/fault_proxy.ts";
import { freePort, startS3Server } from "../support/s3_server.ts";

const server = await startS3Server();
const folder = await Deno.makeTempDir({ prefix: "hir-tls-" });
globalThis.addEventListener("unload", () => {
  server.stop();
  Deno.removeSync(folder, { recursive: true });
});

function noEnvironment(): undefined {}

async function failure(options: S3Options, key = "inode"): Promise<ReplicaError> {
  const store = new S3Store({ env: noEnvironment, connectTimeoutMs: 1_000, ...options });
  try {
    await store.put(key, [pattern(10, 1)], { condition: { absent: true } });
  } catch (error) {
    assert(error instanceof ReplicaError, `${error}`);
    return error;
  } finally {
    await store.close();
  }
  throw new Error("it did not fail");
}

function expect(
  error: ReplicaError,
  wanted: { kind: string; code?: string; text: string; hint: string; operator?: boolean },
): void {
  assertEquals(error.kind, wanted.kind, error.message);
  if (wanted.code !== undefined) assertEquals(error.context.code, wanted.code, error.message);
  assert(error.message.includes(wanted.text), error.message);
  assert(error.hint?.includes(wanted.hint), error.hint);
  assertEquals(error.context.effect, "none");
  assertEquals(needsOperator(error), wanted.operator ?? false);
}

Deno.test("S3Store: nobody listens on the port", async () => {
  const root = await server.createRoot({ endpoint: `http://127.0.0.1:${freePort()}` });
  const text = "no connection to http://127.0.0.1";
  const hint = "port";
  expect(await failure(root), { kind: "unavailable", code: "ECONNREFUSED", text, hint });
});

Deno.test("S3Store: the host has no address", async () => {
  const root = await server.createRoot({ endpoint: "http://no-such-host.invalid:9000" });
  const error = await failure(root);
  expect(error, { kind: "unavailable", text: "no connection to", hint: "DNS" });
});

Deno.test("S3Store: there is no such bucket", async () => {
  const root = await server.createRoot({ bucket: "no-such-bucket" });
  const wanted = {
    kind: "unavailable",
    code: "NoSuchBucket",
    text: 'no bucket "no-such-bucket"',
    hint: "Create the bucket",
    operator: true,
  };
  expect(await failure(root), wanted);
  const store = new S3Store({ ...root, env: noEnvironment });
  for (
    const call of [
      () => store.head("inode"),
      () => store.get("inode"),
      () => store.delete("inode"),
      () => Array.fromAsync(store.list()),
      () => store.put("large", [new Uint8Array(17 * MiB)]),
    ]
  ) {
    const error = await call().then(() => null, (error) => error);
    expect(error, wanted);
  }
  await store.close();
});

Deno.test("S3Store: no credentials anywhere", async () => {
  const root = await server.createRoot();
  const program = `
    import { S3Store } from ${
    JSON.stringify(new URL("../../src/replica/s3_store.ts", import.meta.url).href)
  };
    const store = new S3Store(${JSON.stringify({ ...root, credentials: undefined })});
    try { await store.head("inode"); } catch (error) {
      console.log(JSON.stringify({ ...error, message: error.message }));
    }
    await store.close();
  `;
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", program],
    cwd: new URL("../..", import.meta.url).pathname,
    clearEnv: true,
    env: {
      HOME: folder,
      PATH: Deno.env.get("PATH")!,
      DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`,
      AWS_EC2_METADATA_DISABLED: "true",
    },
    stderr: "inherit",
  }).output();
  const error = JSON.parse(new TextDecoder().decode(output.stdout));
  assertEquals([error.kind, error.context.operator], ["unavailable", true]);
  assert(error.message.includes("no credentials"), error.message);
  assert(error.hint.includes("AWS_ACCESS_KEY_ID"), error.hint);
});

Deno.test("S3Store: refused keys, the wrong region, a clock that is off", async () => {
  const proxy = startFaultProxy({ targetPort: server.port });
  const root = await server.createRoot({ endpoint: proxy.endpoint });
  const cases = [
    { status: 403, code: "InvalidAccessKeyId", hint: "AWS_ACCESS_KEY_ID" },
    { status: 403, code: "SignatureDoesNotMatch", hint: "secret" },
    { status: 403, code: "AccessDenied", hint: root.bucket },
    { status: 403, code: "RequestTimeTooSkewed", hint: "clock" },
    { status: 400, code: "ExpiredToken", hint: "credentials have ended" },
  ];
  for (const { status, code, hint } of cases) {
    proxy.plan = () => ({ type: "status", status, code });
    const text = "access denied";
    expect(await failure(root), { kind: "unavailable", code, text, hint, operator: true });
  }
  const headers = { "x-amz-bucket-region": "eu-central-1" };
  proxy.plan = () => ({ type: "status", status: 301, code: "PermanentRedirect", headers });
  const text = "the bucket is in region eu-central-1, not in us-east-1";
  // A daemon that is attached waits for somebody to put the bucket back.
  expect(await failure(root), {
    kind: "usage",
    text,
    hint: "AWS_REGION=eu-central-1",
    operator: true,
  });
  proxy.stop();
});

Deno.test("S3Store: TLS with a private authority, without it, and with plain http behind it", async () => {
  const tls = await selfSigned();
  const proxy = startFaultProxy({ targetPort: server.port, tls });
  const root = await server.createRoot({ endpoint: proxy.endpoint });
  const wanted = { kind: "unavailable", code: "TLS", operator: true, text: "no trusted TLS" };
  expect(await failure(root), { ...wanted, hint: "AWS_CA_BUNDLE" });
  const store = new S3Store({ ...root, env: noEnvironment, caFile: `${folder}/cert.pem` });
  stored(await store.put("inode", [pattern(3_000_000, 1)]));
  assertEquals((await store.get("inode"))?.bytes, pattern(3_000_000, 1));
  assertEquals(proxy.requests[0].headers.get("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  await store.close();
  proxy.stop();
  const mistaken = { ...root, endpoint: server.endpoint.replace("http:", "https:") };
  expect(await failure(mistaken), { ...wanted, hint: "https" });
});

async function selfSigned(): Promise<{ cert: string; key: string }> {
  const output = await new Deno.Command("openssl", {
    args: [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
      ..."-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -out cert.pem".split(" "),
      "-keyout",
      "key.pem",
    ],
    cwd: folder,
    stderr: "piped",
  }).output();
  assert(output.success, new TextDecoder().decode(output.stderr));
  return {
    cert: await Deno.readTextFile(`${folder}/cert.pem`),
    key: await Deno.readTextFile(`${folder}/key.pem`),
  };
}

Deno.test("S3Store: the server verifies the CRC32 of what it gets", async () => {
  const proxy = startFaultProxy({ targetPort: server.port });
  const root = await server.createRoot({ endpoint: proxy.endpoint });
  const store = new S3Store({ ...root, env: noEnvironment });
  stored(await store.put("inode", [pattern(100_000, 1)]));
  const [{ headers }] = proxy.requests;
  assertEquals(headers.get("x-amz-sdk-checksum-algorithm"), "CRC32");
  assertEquals(headers.get("x-amz-checksum-crc32")?.length, 8);
  assertEquals(headers.get("expect"), undefined);
  assertEquals(headers.get("content-length"), "100000");
  proxy.plan = () => ({ type: "status", status: 400, code: "BadDigest" });
  const error = await store.put("inode", [pattern(10, 1)]).then(() => null, (error) => error);
  assertEquals([error?.kind, error?.context.effect], ["unavailable", "none"]);
  await store.close();
  proxy.stop();
});
