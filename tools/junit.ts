// What is wanted of the report that `deno test --junit-path` writes.

/** Lines of a failure that are worth repeating; the whole of it stands where the test ran. */
const FAILURE_LINES = 12;

const ENTITIES: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
  "&amp;": "&",
};

export interface Count {
  readonly passed: number;
  readonly failed: number;
}

/** A test, or a step of one, that failed. */
export interface Failure {
  readonly file: string;
  readonly name: string;
  /** The error and the first lines of its stack. */
  readonly text: string;
}

export function countTests(junit: string): Count {
  const total = /<testsuites\b[^>]*?>/.exec(junit)?.[0] ?? "";
  const failed = Number(attribute(total, "failures")) + Number(attribute(total, "errors"));
  const skipped = junit.match(/<skipped/g)?.length ?? 0;
  return { passed: Number(attribute(total, "tests")) - failed - skipped, failed };
}

export function failuresIn(junit: string): Failure[] {
  const failures: Failure[] = [];
  for (const [, head, body] of junit.matchAll(/<testcase\b([^>]*)>([^]*?)<\/testcase>/g)) {
    const failure = /<(failure|error)\b[^>]*>([^]*?)<\/\1>/.exec(body);
    if (failure === null) continue;
    const lines = plain(failure[2]).split("\n").filter((line) => line.trim() !== "");
    failures.push({
      file: attribute(head, "classname"),
      name: attribute(head, "name"),
      text: lines.slice(0, FAILURE_LINES).join("\n"),
    });
  }
  return failures;
}

/** "" where there is none. */
function attribute(tag: string, name: string): string {
  return plain(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
}

function plain(text: string): string {
  return text.replace(/&(?:lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity]);
}
