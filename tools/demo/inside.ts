// The demo's part in a guest: tools/demo/inside.ts JOB-FILE. Says in the job's folder why it failed.

import { type DemoJob, NAMES } from "./job.ts";
import { runSteps } from "./steps.ts";

const job = JSON.parse(await Deno.readTextFile(Deno.args[0])) as DemoJob;
try {
  await runSteps(job);
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  await Deno.writeTextFile(`${job.directory}/${NAMES.failure}`, reason);
  Deno.exit(1);
}
