import { ReplicaError } from "../../../src/base/errors.ts";
import { resolveS3Settings } from "../../../src/replica/s3_settings.ts";
import { assertEquals, assertThrows } from "../../support/assert.ts";

const ROOT = { bucket: "bucket", key: "key" };

function resolve(env: Record<string, string>, options = {}) {
  return resolveS3Settings({ ...ROOT, ...options }, (name) => env[name]);
}

Deno.test("resolveS3Settings() leaves AWS to the SDK", () => {
  const settings = resolve({});
  assertEquals([settings.endpoint, settings.region], [undefined, undefined]);
  assertEquals([settings.pathStyle, settings.signPayload], [false, false]);
});

Deno.test("resolveS3Settings() reads the standard environment variables", () => {
  const env = {
    AWS_ENDPOINT_URL: "https://general.example",
    AWS_ENDPOINT_URL_S3: "https://s3.example",
    AWS_DEFAULT_REGION: "eu-west-1",
    AWS_CA_BUNDLE: "/etc/ca.pem",
  };
  const settings = resolve(env);
  assertEquals(settings.endpoint, "https://s3.example");
  assertEquals(settings.region, "eu-west-1");
  assertEquals(settings.caFile, "/etc/ca.pem");
  assertEquals(settings.pathStyle, true);
  assertEquals(resolve({ ...env, AWS_REGION: "eu-west-2" }).region, "eu-west-2");
  assertEquals(resolve({ AWS_ENDPOINT_URL: env.AWS_ENDPOINT_URL }).endpoint, env.AWS_ENDPOINT_URL);
  const ignored = { ...env, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: "true" };
  assertEquals(resolve(ignored).endpoint, undefined);
  assertEquals(resolve({ AWS_REGION: "", AWS_ENDPOINT_URL: "" }).region, undefined);
});

Deno.test("resolveS3Settings() lets options win", () => {
  const env = { AWS_ENDPOINT_URL: "https://general.example", AWS_REGION: "eu-west-1" };
  const endpoint = "http://127.0.0.1:9000";
  const settings = resolve(env, { endpoint, region: "x", pathStyle: false, idleTimeoutMs: 7 });
  assertEquals([settings.endpoint, settings.region], [endpoint, "x"]);
  assertEquals([settings.pathStyle, settings.idleTimeoutMs], [false, 7]);
});

Deno.test("resolveS3Settings() gives a region to servers that don't care", () => {
  assertEquals(resolve({}, { endpoint: "http://127.0.0.1:9000" }).region, "us-east-1");
});

Deno.test("resolveS3Settings() signs bodies where nothing else protects them on their way", () => {
  const signed = (endpoint: string, options = {}) =>
    resolve({}, { endpoint, ...options }).signPayload;
  assertEquals(signed("https://s3.example"), false);
  assertEquals(signed("http://127.0.0.1:9000"), false);
  assertEquals(signed("http://localhost:9000"), false);
  assertEquals(signed("http://[::1]:9000"), false);
  assertEquals(signed("http://s3.example"), true);
  assertEquals(signed("http://10.0.2.2:9000"), true);
  assertEquals(signed("http://localhost.example"), true);
  assertEquals(signed("http://s3.example", { signPayload: false }), false);
});

Deno.test("resolveS3Settings() refuses what is no endpoint, without repeating it", () => {
  for (const endpoint of ["localhost:9000", "ftp://x", "https://user:secret@host", "nonsense"]) {
    assertThrows(() => resolve({}, { endpoint }), ReplicaError, "not an http or https URL");
    assertThrows(() => resolve({ AWS_ENDPOINT_URL_S3: endpoint }), ReplicaError);
  }
});
