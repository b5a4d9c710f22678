// What the benches on a file have in common: one filled file, each workload some rounds long, so that
// what is compared is measured side by side, and a row of figures from the rounds of each.

import { withFilledFile } from "./filled_file.ts";

export interface Rounds<Workload, Taken, Row> {
  readonly fileBytes: number;
  readonly rounds: number;
  readonly workloads: readonly Workload[];
  readonly measure: (workload: Workload, path: string, round: number) => Promise<Taken>;
  readonly row: (workload: Workload, taken: readonly Taken[]) => Row;
}

export async function inRounds<Workload, Taken, Row>(
  { fileBytes, rounds, workloads, measure, row }: Rounds<Workload, Taken, Row>,
): Promise<Row[]> {
  return await withFilledFile(fileBytes, async (path) => {
    const rows: Row[] = [];
    for (const workload of workloads) {
      const taken: Taken[] = [];
      for (let round = 0; round < rounds; round++) taken.push(await measure(workload, path, round));
      rows.push(row(workload, taken));
    }
    return rows;
  });
}
