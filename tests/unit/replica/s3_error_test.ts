// The words for what the SDK and node throw; the whole way is in tests/fault/.

import { s3Error } from "../../../src/replica/s3_error.ts";
import { mayHaveTakenEffect, needsOperator } from "../../../src/replica/store_error.ts";
import { assert, assertEquals } from "../../support/assert.ts";

const CALL = {
  verb: "write",
  object: "s3://bucket/key/inode",
  bucket: "bucket",
  endpoint: "https://s3.example",
  region: "us-east-1",
};

function thrown(facts: { name: string; message?: string; status?: number; code?: string }): Error {
  const { name, message = "x", status, code } = facts;
  const $metadata = status === undefined ? {} : { httpStatusCode: status };
  return Object.assign(new Error(message), { name, code, $metadata });
}

Deno.test("s3Error() knows what had no effect", () => {
  const before = [
    thrown({ name: "Error", code: "ECONNREFUSED" }),
    thrown({ name: "Error", code: "ENOTFOUND" }),
    thrown({ name: "TimeoutError", message: "did not establish a connection with the server" }),
    thrown({ name: "CredentialsProviderError", message: "Could not load credentials" }),
    thrown({ name: "SlowDown", status: 503 }),
    thrown({ name: "RequestTimeout", status: 400 }),
    thrown({ name: "AccessDenied", status: 403 }),
    thrown({ name: "NotImplemented", status: 501 }),
  ];
  for (const error of before) assert(!mayHaveTakenEffect(s3Error(error, CALL)), error.name);
  const unclear = [
    thrown({ name: "TimeoutError", code: "ECONNRESET" }),
    thrown({ name: "Error", code: "EPIPE" }),
    thrown({ name: "InternalError", status: 500 }),
    thrown({ name: "Unknown", status: 503 }),
    thrown({ name: "Unknown", status: 504 }),
    thrown({ name: "SyntaxError", status: 200 }),
    "not even an error",
  ];
  for (const error of unclear) assert(mayHaveTakenEffect(s3Error(error, CALL)), String(error));
});

Deno.test("s3Error() knows that a request that was not sent whole had no effect", () => {
  for (
    const error of [thrown({ name: "Error", code: "EPIPE" }), thrown({ name: "X", status: 500 })]
  ) {
    assert(!mayHaveTakenEffect(s3Error(error, CALL, { sent: false })));
  }
});

Deno.test("s3Error() passes the store's wish to wait on", () => {
  const $response = { statusCode: 503, headers: { "retry-after": "7" } };
  const error = Object.assign(thrown({ name: "SlowDown", status: 503 }), { $response });
  assertEquals(s3Error(error, CALL).context.retryAfterMs, 7_000);
});

Deno.test("s3Error() asks for a region or an endpoint where neither is known", () => {
  const error = s3Error(thrown({ name: "Error", message: "Region is missing" }), CALL);
  assertEquals(error.kind, "usage");
  assert(error.hint?.includes("AWS_REGION"));
});

Deno.test("s3Error() leaves a store that is the wrong one to the operator, who may change it", () => {
  for (const [name, status] of [["TemporaryRedirect", 307], ["NotImplemented", 501]] as const) {
    const error = s3Error(thrown({ name, status }), CALL);
    assertEquals([error.kind, needsOperator(error)], ["usage", true]);
  }
});
