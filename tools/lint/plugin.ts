/// <reference lib="deno.unstable" />

// The repository's own lint rules: `deno lint` runs them with the standard ones, so that editors show
// them too. What needs a look at more than one file is in tests/tidy_test.ts.

import { importProblem } from "./layers.ts";

const FILE_LINES_MAX = 400;
const FUNCTION_LINES_MAX = 70;
const ROOT = new URL("../../", import.meta.url).pathname;

type Node = Deno.lint.Node;
type Context = Deno.lint.RuleContext;
type Visitor = Deno.lint.LintVisitor;

/** Path of the linted file inside the repository. */
function pathOf(context: Context): string {
  return context.filename.startsWith(ROOT) ? context.filename.slice(ROOT.length) : context.filename;
}

function inProgram(context: Context): boolean {
  return /^(src\/|ffi\/|main\.ts)/.test(pathOf(context));
}

/** `path` relative to the repository, as `specifier` in file `from` means it. */
function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

function lineCount(text: string): number {
  return text.split("\n").length;
}

const fileLength: Deno.lint.Rule = {
  create(context): Visitor {
    return {
      Program(node) {
        const lines = lineCount(context.sourceCode.text.trimEnd());
        if (lines <= FILE_LINES_MAX) return;
        context.report({
          range: [node.range[0], node.range[0] + 1],
          message: `The file has ${lines} lines, more than ${FILE_LINES_MAX}`,
          hint: "Split it by responsibility",
        });
      },
    };
  },
};

const functionLength: Deno.lint.Rule = {
  create(context): Visitor {
    function check(node: Node): void {
      const lines = lineCount(context.sourceCode.getText(node));
      if (lines <= FUNCTION_LINES_MAX) return;
      context.report({
        range: [node.range[0], node.range[0] + 1],
        message: `The function has ${lines} lines, more than ${FUNCTION_LINES_MAX}`,
      });
    }
    return {
      FunctionDeclaration: check,
      FunctionExpression: check,
      ArrowFunctionExpression: check,
    };
  },
};

const layers: Deno.lint.Rule = {
  create(context): Visitor {
    function check(source: { value: unknown } | null, node: Node): void {
      const specifier = source?.value;
      if (typeof specifier !== "string" || !specifier.startsWith(".")) return;
      const from = pathOf(context);
      const message = importProblem(from, resolve(from, specifier));
      if (message !== undefined) context.report({ node, message });
    }
    return {
      ImportDeclaration: (node) => check(node.source, node),
      ExportNamedDeclaration: (node) => check(node.source, node),
      ExportAllDeclaration: (node) => check(node.source, node),
      ImportExpression: (node) => check(node.source as { value?: unknown } as never, node),
    };
  },
};

/** Only ffi/ opens libraries and turns pointers into memory. */
const ffiOnly: Deno.lint.Rule = {
  create(context): Visitor {
    if (!inProgram(context) || pathOf(context).startsWith("ffi/")) return {};
    return {
      'MemberExpression[object.name="Deno"]'(node: Deno.lint.MemberExpression) {
        const name = node.property.type === "Identifier" ? node.property.name : "";
        if (name !== "dlopen" && !name.startsWith("UnsafePointer") && name !== "UnsafeCallback") {
          return;
        }
        context.report({ node, message: `Deno.${name} belongs in ffi/` });
      },
    };
  },
};

const HOT_CALLS = new Set(["setTimeout", "setInterval", "queueMicrotask", "fetch"]);

/** Outside src/queue, what the queues call for each request. */
const HOT_FILES = new Set([
  "src/shared/capture_mode.ts",
  "src/shared/counters.ts",
  "src/shared/history.ts",
  "src/shared/intent_map.ts",
  "src/shared/interval_lock.ts",
  "src/shared/pool.ts",
  "src/shared/region_grid.ts",
  "src/shared/stale_map.ts",
  "src/ublk/queue.ts",
  "src/ublk/ring.ts",
]);

function isHot(path: string): boolean {
  return path.startsWith("src/queue/") || HOT_FILES.has(path);
}

/**
 * The I/O path never suspends: no await, promises, timers or console in src/queue and HOT_FILES. It
 * reports errors as numbers: throw only at its edges, in constructors and in functions named open…,
 * create…, prime…, run… or check….
 */
const hotPath: Deno.lint.Rule = {
  create(context): Visitor {
    if (!isHot(pathOf(context))) return {};
    function forbid(node: Node, what: string): void {
      context.report({ node, message: `No ${what} here: the I/O path never suspends` });
    }
    return {
      AwaitExpression: (node) => forbid(node, "await"),
      ForOfStatement(node) {
        if (node.await) forbid(node, "for await");
      },
      "CallExpression > Identifier"(node: Deno.lint.Identifier) {
        if (HOT_CALLS.has(node.name)) forbid(node, node.name);
      },
      "MemberExpression > Identifier"(node: Deno.lint.Identifier) {
        if (node.name === "console" || node.name === "Promise") forbid(node, node.name);
      },
      ThrowStatement(node) {
        if (isAtEdge(node)) return;
        const message =
          "No throw on the I/O path but at its edges: constructors, open…, create…, prime…, run…, check…";
        context.report({ node, message, hint: "Return a negative errno" });
      },
    };
  },
};

function isAtEdge(node: Node): boolean {
  for (let at: Node | undefined = node; at; at = "parent" in at ? at.parent as Node : undefined) {
    if (at.type === "MethodDefinition") {
      return at.kind === "constructor" || isEdgeName("name" in at.key ? at.key.name : "");
    }
    if (at.type === "FunctionDeclaration") return isEdgeName(at.id?.name ?? "");
  }
  return false;
}

function isEdgeName(name: unknown): boolean {
  return /^(open|create|prime|run|check)([A-Z]|$)/.test(String(name));
}

/** Offsets come from struct() layouts: DataView calls take no literal ones. */
const literalOffset: Deno.lint.Rule = {
  create(context): Visitor {
    if (!inProgram(context)) return {};
    return {
      CallExpression(node) {
        if (node.callee.type !== "MemberExpression" || node.callee.property.type !== "Identifier") {
          return;
        }
        const { name } = node.callee.property;
        if (!/^[gs]et(Big)?(Uint|Int|Float)\d+$/.test(name)) return;
        const offset = node.arguments[0];
        // The start of a view is no offset into a layout.
        if (!offset || !hasLiteral(offset)) return;
        context.report({ node, message: `${name} takes its offset from a layout, not a number` });
      },
    };
  },
};

function hasLiteral(node: Node): boolean {
  if (node.type === "Literal") return typeof node.value === "number" && node.value !== 0;
  if (node.type !== "BinaryExpression" || (node.operator !== "+" && node.operator !== "-")) {
    return false;
  }
  return hasLiteral(node.left as Node) || hasLiteral(node.right);
}

const topLevelArrow: Deno.lint.Rule = {
  create(context): Visitor {
    return {
      "Program > VariableDeclaration > VariableDeclarator > ArrowFunctionExpression"(node: Node) {
        context.report({ node, message: "Write a function declaration at the top level" });
      },
      "Program > ExportNamedDeclaration > VariableDeclaration > VariableDeclarator > ArrowFunctionExpression"(
        node: Node,
      ) {
        context.report({ node, message: "Write a function declaration at the top level" });
      },
    };
  },
};

const defaultExport: Deno.lint.Rule = {
  create(context): Visitor {
    // Lint plugins and configuration files must have one.
    if (!inProgram(context)) return {};
    return {
      ExportDefaultDeclaration(node) {
        context.report({ node, message: "Export by name" });
      },
    };
  },
};

const plugin: Deno.lint.Plugin = {
  name: "repository",
  rules: {
    "file-length": fileLength,
    "function-length": functionLength,
    "layers": layers,
    "ffi-only": ffiOnly,
    "hot-path": hotPath,
    "literal-offset": literalOffset,
    "top-level-arrow": topLevelArrow,
    "default-export": defaultExport,
  },
};

export default plugin;
