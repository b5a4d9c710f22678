// The repository's files as the tidy test sees them: what there is, and who refers to whom.

const ROOT = new URL("../../", import.meta.url).pathname;
const SKIPPED = new Set([".git", ".deps", "build", "coverage", "node_modules", "fixtures"]);

/** All files with one of the endings, as sorted paths inside the repository. */
export function listFiles(endings: readonly string[], directory = ""): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync(ROOT + directory)) {
    const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
    if (entry.isDirectory && !SKIPPED.has(entry.name)) found.push(...listFiles(endings, path));
    if (entry.isFile && endings.some((ending) => entry.name.endsWith(ending))) found.push(path);
  }
  return found.sort();
}

export function readSource(path: string): string {
  return Deno.readTextFileSync(ROOT + path);
}

export function fileExists(path: string): boolean {
  try {
    Deno.statSync(ROOT + path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** `specifier` as seen from the file `from`, as a path inside the repository. */
export function resolvePath(from: string, specifier: string): string {
  return decodeURIComponent(new URL(specifier, `file:///${from}`).pathname).slice(1);
}

/** `import … from "./x.ts"`, `export … from "./x.ts"`; the first group is there for types only. */
const STATIC_IMPORT = /^(?:import|export)\s+(type\s)?[^"]*?from\s+"(\.{1,2}\/[^"]+)"/gm;
/** `import("./x.ts")`, `new URL("./x.ts", import.meta.url)`, `import.meta.resolve("./x.ts")`. */
const OTHER_REFERENCE = /(?:\bimport\s*\(?\s*|\bresolve\(\s*|new URL\(\s*)"(\.{0,2}[\w./]+\.ts)"/g;

/** `// @ts-types="./x.d.ts"`: the types of a library that brings none. */
const TYPES_REFERENCE = /^\/\/ @ts-types="(\.{0,2}[\w./]+\.ts)"/gm;

/** Modules that a source needs when it is loaded. */
function loadedModules(path: string): string[] {
  return [...readSource(path).matchAll(STATIC_IMPORT)]
    .filter(([, typesOnly]) => typesOnly === undefined)
    .map(([, , specifier]) => resolvePath(path, specifier));
}

/** Modules that a source names in any way: also for types, later, or as a worker. */
export function namedModules(path: string): string[] {
  const text = readSource(path);
  const specifiers = [
    ...[...text.matchAll(STATIC_IMPORT)].map((match) => match[2]),
    ...[...text.matchAll(OTHER_REFERENCE)].map((match) => match[1]),
    ...[...text.matchAll(TYPES_REFERENCE)].map((match) => match[1]),
  ];
  return specifiers.map((specifier) => resolvePath(path, specifier));
}

/** The first import cycle among the sources, as the path it takes. */
export function findCycle(paths: readonly string[]): string[] | undefined {
  const done = new Set<string>();
  function visit(path: string, trail: string[]): string[] | undefined {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path) || !paths.includes(path)) return undefined;
    for (const next of loadedModules(path)) {
      const cycle = visit(next, [...trail, path]);
      if (cycle) return cycle;
    }
    done.add(path);
    return undefined;
  }
  for (const path of paths) {
    const cycle = visit(path, []);
    if (cycle) return cycle;
  }
  return undefined;
}

/** Everything that can be reached from the roots. */
export function reachableFrom(roots: readonly string[]): Set<string> {
  const reached = new Set<string>();
  const queue = [...roots];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path) || !path.endsWith(".ts") || !fileExists(path)) continue;
    reached.add(path);
    queue.push(...namedModules(path));
  }
  return reached;
}
