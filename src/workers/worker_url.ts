// Where a worker's program lies. In the sources it is a neighbour of the file that starts it. In a
// bundle (tools/setup/bundle.ts) that file is part of some chunk at the top, and the workers'
// programs, which are JavaScript then, keep their place below it.

/** The program's address, from the one that its source has beside the caller. */
export function workerUrl(source: string): string {
  if (import.meta.url.endsWith(".ts")) return source;
  return source.replace(/(\w+)\.ts$/, "src/workers/$1.js");
}
