// Names of objects: relative paths below the replica root, the same for every store.
//
// Invariant: a key that passed checkKey() names one file strictly inside the root directory, and is
// never the private directory of the file store.

import { usageError } from "../base/errors.ts";

/** The file store's own directory under its root; no object lives in it. */
export const PRIVATE_DIRECTORY = ".store";

const KEY_BYTES_MAX = 1024;
const COMPONENT_BYTES_MAX = 255;
/** UTF-8 bytes of a UTF-16 code unit, at most. */
const UNIT_BYTES_MAX = 3;
const encoder = new TextEncoder();

/** Throws a usage error unless `key` is a relative path without empty, "." or ".." components. */
export function checkKey(key: string): void {
  const reason = whyBadKey(key);
  if (reason !== null) {
    throw usageError(`Cannot use object key ${JSON.stringify(key)}: ${reason}`);
  }
}

function whyBadKey(key: string): string | null {
  if (key === "") return "it is empty";
  if (!key.isWellFormed()) return "it is not valid Unicode";
  if (isLonger(key, KEY_BYTES_MAX)) return `it is longer than ${KEY_BYTES_MAX} bytes`;
  // deno-lint-ignore no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f]/.test(key)) return "it has a control character";
  const components = key.split("/");
  for (const component of components) {
    if (component === "") return "it has an empty path component";
    if (component === "." || component === "..") return `it has the path component "${component}"`;
    if (isLonger(component, COMPONENT_BYTES_MAX)) {
      return `a path component is longer than ${COMPONENT_BYTES_MAX} bytes`;
    }
  }
  if (components[0] === PRIVATE_DIRECTORY) return `"${PRIVATE_DIRECTORY}" is reserved`;
  return null;
}

/** Encodes only what is long enough for it to matter. */
function isLonger(text: string, bytesMax: number): boolean {
  return text.length * UNIT_BYTES_MAX > bytesMax && encoder.encode(text).length > bytesMax;
}

/**
 * Compares keys as their UTF-8 bytes, the order in which S3 lists. JavaScript's own order, by UTF-16
 * code unit, differs from it where surrogates meet U+E000 to U+FFFF.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA !== unitB) return rank(unitA) - rank(unitB);
  }
  return a.length - b.length;
}

/** Moves the surrogates above every other code unit, as their code points are. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
