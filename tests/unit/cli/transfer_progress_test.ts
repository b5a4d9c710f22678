import { TransferProgress } from "../../../src/cli/transfer_progress.ts";
import { MiB } from "../../../src/base/units.ts";
import { assert, assertEquals } from "../../support/assert.ts";

function world(isTerminal: boolean) {
  const written: string[] = [];
  const time = { ms: 0 };
  const output = { isTerminal, columns: 80, write: (text: string) => written.push(text) > 0 };
  const clock = { wallMs: () => time.ms, nowMs: () => time.ms, sleep: () => Promise.resolve() };
  return { written, time, output, clock };
}

Deno.test("TransferProgress prints a line every few seconds where there is no terminal", () => {
  const { written, time, output, clock } = world(false);
  const progress = new TransferProgress(output, { clock, totalBytes: 100 * MiB });
  for (time.ms = 1000; time.ms <= 10_000; time.ms += 1000) {
    progress.update({ positionBytes: time.ms * 5000, dataBytes: time.ms * 1024 });
  }
  progress.stop();
  assertEquals(written, [
    "23%, 4.88MiB of data, 1000KiB/s, 16s left\n",
    "47%, 9.77MiB of data, 1000KiB/s, 11s left\n",
  ]);
});

Deno.test("TransferProgress draws a bar on a terminal and takes it away", () => {
  const { written, time, output, clock } = world(true);
  const progress = new TransferProgress(output, { clock, totalBytes: 100 });
  time.ms = 2000;
  progress.update({ positionBytes: 50, dataBytes: 4 * MiB });
  progress.stop();
  const text = written.join("");
  assert(text.includes("50%  4MiB of data  2MiB/s  2s left"), JSON.stringify(text));
  assert(text.endsWith("\x1b[2K"), "the line is cleared");
  assert(text.includes("\x1b[?25h"), "the cursor is back");
});
