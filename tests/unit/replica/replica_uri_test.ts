import { assertEquals, assertThrows } from "../../support/assert.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { childLocation, lastComponent, parseReplicaUri } from "../../../src/replica/replica_uri.ts";

Deno.test("parseReplicaUri() reads the three forms", () => {
  const rows: [string, string, string][] = [
    ["s3://bucket/a/b", "s3", "s3://bucket/a/b"],
    ["s3://my.bucket-1/a b/ü+%20/", "s3", "s3://my.bucket-1/a b/ü+%20"],
    ["S3://bucket", "s3", "s3://bucket"],
    ["s3://bucket/", "s3", "s3://bucket"],
    ["file:///srv/replicas/", "file", "file:///srv/replicas"],
    ["FILE:///a b#?%", "file", "file:///a b#?%"],
    ["/dev/vdc", "raw", "/dev/vdc"],
    ["disk.img", "raw", "disk.img"],
    ["./a:b", "raw", "./a:b"],
  ];
  for (const [text, type, uri] of rows) {
    const location = parseReplicaUri(text, "--replica");
    assertEquals([location.type, location.uri], [type, uri], text);
    assertEquals(parseReplicaUri(location.uri, "--replica"), location, `${text} again`);
  }
});

Deno.test("parseReplicaUri() never repeats credentials", () => {
  try {
    parseReplicaUri("s3://AKIA:secret@bucket/key", "--replica");
  } catch (error) {
    assertEquals(String(error).includes("secret"), false);
    assertEquals(error instanceof ReplicaError && !error.hint?.includes("secret"), true);
    return;
  }
  throw new Error("it was accepted");
});

Deno.test("parseReplicaUri() refuses what no store could hold", () => {
  for (
    const text of ["", "s3://b", "s3://bu_cket/x", "s3://bucket/a/./b", "file://host/x", "gs://b/x"]
  ) {
    assertThrows(() => parseReplicaUri(text, "--replica"), ReplicaError, "--replica", text);
  }
  const long = "s3://bucket/" + "ü".repeat(500);
  assertThrows(() => parseReplicaUri(long, "--replica"), ReplicaError, "its key is too long");
});

Deno.test("childLocation() and lastComponent() go down and name the end", () => {
  for (const root of ["s3://bucket", "s3://bucket/a/", "file:///srv"]) {
    const child = childLocation(parseReplicaUri(root, "--replica"), "xyz");
    assertEquals(child.uri, `${root.replace(/\/$/, "")}/xyz`);
    assertEquals(lastComponent(child), "xyz");
  }
});
