// The program: command line in, exit code out. Everything else begins at src/cli/entry.ts.

import { run } from "./src/cli/entry.ts";
import { processContext } from "./src/cli/process_context.ts";

if (import.meta.main) {
  const main = import.meta.filename ?? import.meta.url;
  Deno.exit(await run(processContext(main)));
}
