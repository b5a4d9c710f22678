// Where a replica lives, as the operator writes it. Text to a checked location and back; opening one
// is src/replica/open.ts.
//
//   s3://bucket/key…     objects below that key of an S3 bucket
//   file:///dir…         the same objects in a local directory
//   /dev/vdc, disk.img   an in-place mirror on a device or an image file, without history

import { usageError } from "../base/errors.ts";

export type ReplicaLocation =
  | { readonly type: "s3"; readonly uri: string; readonly bucket: string; readonly key: string }
  | { readonly type: "file"; readonly uri: string; readonly path: string }
  | { readonly type: "raw"; readonly uri: string; readonly path: string };

const FORMS_HINT =
  "Write s3://bucket/key, file:///absolute/directory, or a path to a device or image file.";

/** Reads a replica's URI; `name` is the option it belongs to. Trailing slashes are dropped. */
export function parseReplicaUri(text: string, name: string): ReplicaLocation {
  // deno-lint-ignore no-control-regex -- control characters are what is looked for
  if (text === "" || /[\x00-\x1f\x7f]/.test(text)) {
    throw uriError(
      text === "" ? "" : "(unprintable)",
      name,
      "it is empty or holds control characters",
    );
  }
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1].toLowerCase();
  if (scheme === "s3") return parseS3(text, name);
  if (scheme === "file") return parseFile(text, name);
  if (scheme !== undefined) throw uriError(text, name, `"${scheme}:" is not a known scheme`);
  const path = dropSlashes(text);
  return { type: "raw", uri: path, path };
}

/** The location of `component` directly below `root`: where the replica of a new device is made. */
export function childLocation(root: ReplicaLocation, component: string): ReplicaLocation {
  return parseReplicaUri(`${root.uri.replace(/\/$/, "")}/${component}`, "the replica");
}

/** Last component of a location's path: the UUID of the device for replicas that we made. */
export function lastComponent(location: ReplicaLocation): string {
  const path = location.type === "s3" ? location.key : location.path;
  return path.slice(path.lastIndexOf("/") + 1);
}

function parseS3(text: string, name: string): ReplicaLocation {
  const match = /^s3:\/\/([^/]*)(?:\/(.*))?$/i.exec(text);
  if (match === null) throw uriError(text, name, 'it does not begin with "s3://"');
  const [, bucket, rawKey = ""] = match;
  // A name with "@" would be somebody's credentials: they belong in the environment, not in a URI
  // that logs and status show.
  if (bucket.includes("@")) {
    throw uriError("s3://…", name, "it holds credentials", {
      hint: "Give credentials by the AWS environment variables or profile, not in the URI.",
    });
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw uriError(text, name, `"${bucket}" is not a bucket name`, {
      hint: "A bucket name has 3 to 63 lower-case letters, digits, dots and hyphens.",
    });
  }
  const key = dropSlashes(rawKey);
  if (key.split("/").some((part) => part === "." || part === ".." || (part === "" && key !== ""))) {
    throw uriError(text, name, 'its key has an empty, "." or ".." component');
  }
  if (new TextEncoder().encode(key).length > 900) throw uriError(text, name, "its key is too long");
  return { type: "s3", uri: key === "" ? `s3://${bucket}` : `s3://${bucket}/${key}`, bucket, key };
}

function parseFile(text: string, name: string): ReplicaLocation {
  const match = /^file:\/\/(\/.*)$/i.exec(text);
  if (match === null) {
    throw uriError(text, name, "it has no absolute path", {
      hint: "Write three slashes: file:///absolute/directory.",
    });
  }
  const path = dropSlashes(match[1]);
  const parts = path.split("/").slice(1);
  if (path === "" || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw uriError(text, name, 'its path is the root or has an empty, "." or ".." component');
  }
  return { type: "file", uri: `file://${path}`, path };
}

function dropSlashes(path: string): string {
  return path.replace(/(?<=.)\/+$/, "");
}

function uriError(text: string, name: string, reason: string, options: { hint?: string } = {}) {
  return usageError(`Cannot use ${name} "${text}": ${reason}`, {
    hint: options.hint ?? FORMS_HINT,
  });
}
