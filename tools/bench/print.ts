// Output of the benchmark: lines and tables.

import Table from "cli-table3";

export function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** First column to the left, figures to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const made = new Table({
    head: [...head],
    colAligns: head.map((_, column) => column === 0 ? "left" : "right"),
    style: { head: [], border: [] },
  });
  for (const row of rows) made.push([...row]);
  return made.toString();
}
