// What is taken for a running daemon of a device: its claim decides whether a start is refused.

import { runsHere } from "../../../src/replicator/room_system.ts";
import { assertEquals } from "../../support/assert.ts";

const UUID = "5b2f0c55-0b7e-4f63-9d4e-2f1f5a3c9b11";

Deno.test("a process id means a daemon only in the boot in which it was noted", async () => {
  const boot = Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim();
  const child = new Deno.Command("sh", { args: ["-c", "read line", UUID], stdin: "piped" }).spawn();
  const holder = {
    id: crypto.randomUUID(),
    host: Deno.hostname(),
    pid: child.pid,
    boot,
    startedMs: 0,
  };
  // Until it is there: the name of the new process is that of the old one at first.
  while (!runsHere(holder, UUID)) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(
    [
      runsHere({ ...holder, boot: undefined }, UUID),
      runsHere({ ...holder, boot: crypto.randomUUID() }, UUID),
      runsHere({ ...holder, host: "elsewhere" }, UUID),
      runsHere({ ...holder, pid: Deno.pid }, UUID),
      runsHere({ ...holder, pid: Deno.ppid }, UUID),
      runsHere(holder, crypto.randomUUID()),
    ],
    [true, false, false, false, false, false],
  );
  await child.stdin.close();
  await child.status;
  assertEquals(runsHere(holder, UUID), false);
});
