// Makes of main.ts and the workers' programs what build/hyper-io-replica runs: a few files of
// JavaScript, libraries included, in build/lib/. Started from its 150 sources and its libraries the
// program takes twice as long, and under emulation that is seconds for every command.
//   tools/setup/bundle.ts OUTPUT_DIRECTORY
//
// src/workers/worker_url.ts knows how the output is laid out.

const ROOT = new URL("../../", import.meta.url).pathname;
const ENTRIES = ["main.ts", "src/workers/queue_worker.ts", "src/workers/replicator_worker.ts"];

/** What the bundler puts in front of libraries written with require(): it loads all of node's module system. */
const EAGER_REQUIRE =
  /^import \{ createRequire as (\w+) \} from "node:module";\nvar __require = \1\(import\.meta\.url\);$/m;
/** The same for built-in modules, which are all that is left after bundling, at the first call. */
const LAZY_REQUIRE = "var __require = (name) => process.getBuiltinModule(name);";

/**
 * Imports of libraries for what this program does not have them do (commander starts programs, LogTape
 * prints objects) or does once in a while: what is imported is loaded when it is first used.
 */
const EAGER_MODULE = /^import (\w+) from "(node:(?:child_process|fs|path|process|util))";$/gm;
const EAGER_FUNCTION =
  /^import \{ (stripVTControlCharacters)(?: as (\w+))? \} from "(node:util)";$/gm;

function lazyModule(_: string, name: string, module: string): string {
  return `var ${name} = new Proxy({}, { get: (_, key) => ${builtin(module)}[key] });`;
}

function lazyFunction(_: string, name: string, alias: string | undefined, module: string): string {
  return `var ${alias ?? name} = (...args) => ${builtin(module)}.${name}(...args);`;
}

function builtin(module: string): string {
  return `globalThis.process.getBuiltinModule("${module}")`;
}

const [output] = Deno.args;
const fresh = `${output}.new`;
await Deno.remove(fresh, { recursive: true }).catch(() => undefined);
const { success, stderr } = await new Deno.Command(Deno.execPath(), {
  args: [
    "bundle",
    "--quiet",
    "--platform=deno",
    "--code-splitting",
    `--outdir=${fresh}`,
    ...ENTRIES,
  ],
  cwd: ROOT,
}).output();
if (!success) throw new Error(new TextDecoder().decode(stderr));

let requires = 0;
for await (const { name } of Deno.readDir(fresh)) {
  if (!name.endsWith(".js")) continue;
  const text = await Deno.readTextFile(`${fresh}/${name}`);
  requires += EAGER_REQUIRE.test(text) ? 1 : 0;
  const lazy = text.replace(EAGER_REQUIRE, LAZY_REQUIRE).replace(EAGER_MODULE, lazyModule)
    .replace(EAGER_FUNCTION, lazyFunction);
  if (lazy !== text) await Deno.writeTextFile(`${fresh}/${name}`, lazy);
}
if (requires !== 1) throw new Error(`${requires} files of the bundle load node:module, not 1`);

// Commands that start meanwhile find the old files or, but for a moment, the new ones.
await Deno.remove(output, { recursive: true }).catch(() => undefined);
await Deno.rename(fresh, output);
