// The repository checks itself: the lint rules catch what they should, and what takes a look at more
// than one file holds (no orphans, no cycles, no vague names, no dead links in the documents).

import { assertEquals } from "./support/assert.ts";
import { importProblem, layerOf, LAYERS } from "../tools/lint/layers.ts";
import plugin from "../tools/lint/plugin.ts";
import {
  fileExists,
  findCycle,
  listFiles,
  namedModules,
  reachableFrom,
  readSource,
  resolvePath,
} from "../tools/lint/sources.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Ids of the rules that `source` breaks as the file `path`. */
function brokenRules(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, ROOT + path, source).map(({ id }) => id.split("/")[1]);
}

const EXAMPLES: readonly (readonly [path: string, source: string, rules: string[]])[] = [
  ["src/base/a.ts", "\n".repeat(399) + "export const a = 1;\n", []],
  ["src/base/a.ts", "\n".repeat(400) + "export const a = 1;\n", ["file-length"]],
  ["src/base/a.ts", `function a() {${"\n".repeat(69)}}`, []],
  ["src/base/a.ts", `function a() {${"\n".repeat(70)}}`, ["function-length"]],
  ["src/base/a.ts", `class A { a() {${"\n".repeat(70)}} }`, ["function-length"]],
  ["tests/a_test.ts", `Deno.test("a", () => {${"\n".repeat(70)}});`, ["function-length"]],
  ["src/queue/a.ts", 'import { a } from "../replica/s3_store.ts";', ["layers"]],
  ["src/queue/a.ts", 'import type { A } from "../replica/s3_store.ts";', ["layers"]],
  ["src/queue/a.ts", 'export * from "../cli/mod.ts";', ["layers"]],
  ["src/queue/a.ts", 'import { a } from "../../tests/support/prng.ts";', ["layers"]],
  ["src/queue/a.ts", 'import { a } from "../ublk/ring.ts";', []],
  ["src/nowhere/a.ts", 'import { a } from "../base/units.ts";', ["layers"]],
  ["tests/a_test.ts", 'import { a } from "../src/queue/loop.ts";', []],
  ["src/ublk/a.ts", "Deno.dlopen('x', {});", ["ffi-only"]],
  ["src/ublk/a.ts", "new Deno.UnsafePointerView(p);", ["ffi-only"]],
  ["ffi/a.ts", "new Deno.UnsafePointerView(p);", []],
  ["src/queue/a.ts", "export async function a() { await 1; }", ["hot-path"]],
  ["src/queue/a.ts", "setTimeout(run, 1);", ["hot-path"]],
  ["src/queue/a.ts", "console.log(1);", ["hot-path"]],
  ["src/queue/a.ts", "Promise.resolve();", ["hot-path"]],
  ["src/queue/a.ts", "class A { a() { throw new Error(); } }", ["hot-path"]],
  ["src/queue/a.ts", "class A { constructor() { throw new Error(); } }", []],
  ["src/queue/a.ts", "function openQueue() { throw new Error(); }", []],
  ["src/queue/a.ts", "class A { static open() { throw new Error(); } }", []],
  ["src/shared/pool.ts", "export async function a() { await 1; }", ["hot-path"]],
  ["src/ublk/ring.ts", "class A { a() { throw new Error(); } }", ["hot-path"]],
  ["src/shared/bell.ts", "export async function a() { await 1; }", []],
  ["src/replicator/a.ts", "export async function a() { await 1; }", []],
  ["src/format/a.ts", "view.getUint32(8, true);", ["literal-offset"]],
  ["src/format/a.ts", "view.setBigUint64(base + 8, 1n);", ["literal-offset"]],
  ["src/format/a.ts", "view.getUint32(base + A.offset.magic, true); view.getUint8(0);", []],
  ["src/base/a.ts", "const a = () => 1;", ["top-level-arrow"]],
  ["src/base/a.ts", "export const a = () => 1;", ["top-level-arrow"]],
  ["src/base/a.ts", "export default 1;", ["default-export"]],
];

Deno.test("The lint rules tell good code from bad", () => {
  for (const [path, source, rules] of EXAMPLES) {
    assertEquals(brokenRules(path, source), rules, `${path}: ${source.trim().slice(0, 80)}`);
  }
});

Deno.test("The layers point down: no layer can reach itself through others", () => {
  function reach(layer: string, seen: string[]): void {
    for (const below of LAYERS[layer]) {
      if (seen.includes(below)) throw new Error(`${[...seen, below].join(" → ")} is a cycle`);
      reach(below, [...seen, below]);
    }
  }
  for (const layer of Object.keys(LAYERS)) reach(layer, [layer]);
  assertEquals(
    importProblem("src/base/a.ts", "ffi/libc.ts"),
    "base may not import ffi, only nothing",
  );
});

Deno.test("Every permission to import is in use", () => {
  const used = new Set<string>();
  for (const path of listFiles([".ts"])) {
    const from = layerOf(path);
    if (from === undefined) continue;
    for (const module of namedModules(path)) used.add(`${from} → ${layerOf(module)}`);
  }
  const allowed = Object.entries(LAYERS).flatMap(([layer, below]) =>
    below.map((other) => `${layer} → ${other}`)
  );
  assertEquals(allowed.filter((permission) => !used.has(permission)), []);
});

Deno.test("No import cycles", () => {
  assertEquals(findCycle(listFiles([".ts"])), undefined);
});

Deno.test("The program reaches all of its sources from main.ts", () => {
  const reached = reachableFrom(["main.ts"]);
  const program = listFiles([".ts"]).filter((path) => /^(src|ffi)\//.test(path));
  assertEquals(program.filter((path) => !reached.has(path)), []);
});

Deno.test("Every other source is a program, or used by one or by a test", () => {
  const sources = listFiles([".ts"]);
  const programs =
    /(^main|_test|_worker|_probe|^tools\/(setup\/)?\w+|\/run|\/plugin|^tests\/(bench|e2e\/programs)\/.*)\.ts$/;
  const reached = reachableFrom(sources.filter((path) => programs.test(path)));
  assertEquals(sources.filter((path) => !reached.has(path)), []);
});

Deno.test("File names are snake_case and say what is inside", () => {
  const vague = /(^|_|\/)(utils?|helpers?|common|misc|shared_stuff)(_|\.|\/)/;
  const odd = listFiles([".ts", ".sh"]).filter((path) =>
    vague.test(path) || !/^[a-z0-9_./]+$/.test(path)
  );
  assertEquals(odd, []);
});

Deno.test("Every source starts with a comment that says what it is for", () => {
  // A unit test's name says it.
  const bare = listFiles([".ts"]).filter((path) =>
    !path.endsWith("_test.ts") && !/^(\/\/|\/\*\*|#!)/.test(readSource(path))
  );
  assertEquals(bare, []);
});

/** GitHub's anchor of a heading. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[`*]/g, "").replace(/[^\p{L}\p{N}_ -]/gu, "")
    .trim().replaceAll(" ", "-");
}

function hasAnchor(path: string, anchor: string): boolean {
  if (!path.endsWith(".md")) return true;
  const headings = [...readSource(path).matchAll(/^#+\s+(.*)$/gm)].map((match) => match[1]);
  return headings.some((heading) => anchorOf(heading) === anchor);
}

Deno.test("Links in the documents resolve", () => {
  const dead: string[] = [];
  for (const path of listFiles([".md"])) {
    for (const [, link] of readSource(path).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue;
      const [file, anchor] = link.split("#");
      const target = file === "" ? path : resolvePath(path, file);
      const alive = fileExists(target) && (anchor === undefined || hasAnchor(target, anchor));
      if (!alive) dead.push(`${path}: ${link}`);
    }
  }
  assertEquals(dead, []);
});

Deno.test("Rules and promises that are cited are in docs/requirements.md, with files that exist", () => {
  const requirements = readSource("docs/requirements.md");
  const defined = new Set(requirements.match(/\bR\d+\b/g));
  for (const [, first, last] of requirements.matchAll(/\bR(\d+)-R(\d+)\b/g)) {
    for (let n = Number(first); n <= Number(last); n++) defined.add(`R${n}`);
  }
  const unknown = listFiles([".ts"]).filter((path) => /^(src|ffi)\//.test(path)).flatMap((path) =>
    (readSource(path).match(/\b(?:R\d+(?=[,):;. ]|$))/gm) ?? [])
      .filter((rule) => !defined.has(rule))
      .map((rule) => `${path}: ${rule}`)
  );
  const named = [...requirements.matchAll(/`([a-z_]+\/[a-z_/]+\.ts)`/g)].map(([, path]) => path);
  const missing = named.filter((path) => !fileExists(`src/${path}`));
  assertEquals([unknown, missing], [[], []]);
});

Deno.test("Sources that comments and documents name by their path exist", () => {
  const wrong: string[] = [];
  for (const path of listFiles([".ts", ".md"])) {
    const text = path.endsWith(".md")
      ? readSource(path)
      : readSource(path).split("\n").filter((line) => /^\s*(\/\/|\*|\/\*\*)/.test(line)).join("\n");
    // NAME stands for any.
    for (const [name] of text.matchAll(/\b(?:src|tests|tools|ffi)\/[\w/]+\.(?:ts|sh|py)\b/g)) {
      if (!name.includes("NAME") && !fileExists(name)) wrong.push(`${path}: ${name}`);
    }
  }
  assertEquals(wrong, []);
});
