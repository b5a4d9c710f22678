// The guest runner itself: exit code, output, disks, shared folder, network, power cut, time limit,
// panic. One guest serves several checks where it can: a boot costs four seconds.

import { assert, assertEquals } from "../support/assert.ts";
import { Guest, type GuestResult, kernelTrouble, runGuest } from "../../tools/guest/guest.ts";
import { WriteLog, type WriteLogEntry } from "../../tools/guest/write_log.ts";
import { MiB } from "../../src/base/units.ts";

Deno.test("runGuest() passes the exit code, both outputs, files and variables through", async () => {
  const result = await runGuest({
    command: `
      echo "to stdout: $WORD"; echo "to stderr" >/dev/stderr
      ls /dev/ublk-control
      cat "$(dirname "$PROBE")/guest_test.ts" | head -n 1
      touch /usr/written /tmp/written && echo "root is writable"
      seq 100000 | tail -n 1
      (sleep 60; echo never) &
      exit 42`,
    env: { WORD: 'it\'s a "word" with $signs', PROBE: import.meta.filename! },
  });
  assertEquals([result.outcome, result.exitCode], ["exited", 42], explain(result));
  assertEquals(result.stdout.split("\n"), [
    'to stdout: it\'s a "word" with $signs',
    "/dev/ublk-control",
    "// The guest runner itself: exit code, output, disks, shared folder, network, power cut, time limit,",
    "root is writable",
    "100000",
    "",
  ]);
  assertEquals(result.stderr, "to stderr\n");
  assertEquals(kernelTrouble(result.kernelLog), []);
  assert(!await exists("/usr/written"), "the guest wrote to this machine's root");
});

Deno.test("Guest reaches its disks, its shared folder and a server on this machine", async () => {
  const share = await Deno.makeTempDir();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => undefined }, () => {
    return new Response("hello guest");
  });
  const result = await runGuest({
    command: [
      "bash",
      "-euc",
      `
      mkfs.xfs -q "$DISK0"; mkdir -p /data; mount "$DISK0" /data; cp /etc/passwd /data; umount /data
      test "$(blockdev --getss "$DISK1")" = 4096
      test "$(readlink /dev/disk/by-id/second)" = "$DISK1"; test -b "$DISK2"
      blockdev --getro "$DISK1"
      ! dd if="$DISK0" of="$DISK3" bs=4k count=4 oflag=direct 2>/dev/null
      dd if="$DISK0" of="$DISK3" bs=4k count=1 oflag=direct 2>/dev/null
      cp /proc/version "$GUEST_SHARE/version"
      exec 3<>/dev/tcp/10.0.2.2/${server.addr.port}
      printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3`,
    ],
    disks: [
      { sizeBytes: 320 * MiB, cache: "writeback" },
      { sizeBytes: 64 * MiB, name: "second", logicalBlockBytes: 4096, readOnly: true },
      { sizeBytes: 64 * MiB, bus: "nvme" },
      { sizeBytes: 64 * MiB, faults: [{ type: "write", sector: 16 }] },
    ],
    modules: ["xfs"],
    share,
    network: true,
  });
  await server.shutdown();
  assertEquals([result.outcome, result.exitCode], ["exited", 0], explain(result));
  assertEquals(result.stdout.trim().split("\n"), ["1", "hello guest"]);
  assert((await Deno.readTextFile(`${share}/version`)).startsWith("Linux version "));
  await Deno.remove(share, { recursive: true });
});

Deno.test("Guest.powerCut() keeps what the disk was given and loses the guest's memory", async () => {
  const directory = await Deno.makeTempDir();
  const disks = [{ path: `${directory}/disk.img`, sizeBytes: 64 * MiB }];
  const guest = await Guest.start({
    command: `
      exec 3<>"$DISK0" # the last close of a block device would write the cache back
      printf kept | dd of="$DISK0" conv=sync bs=4096 oflag=direct
      printf lost | dd of="$DISK0" conv=sync bs=4096 seek=1
      echo done >"$GUEST_EVENTS"; sleep 600`,
    disks,
  });
  await guest.events.waitFor(/^done$/m, 120_000);
  const result = await guest.powerCut();
  assertEquals([result.outcome, result.exitCode], ["power-cut", undefined]);
  const image = await Deno.readFile(disks[0].path);
  assertEquals(new TextDecoder().decode(image.subarray(0, 4)), "kept");
  assertEquals(image.subarray(4096, 4100), new Uint8Array(4));
  const again = await runGuest({ command: 'head -c 4 "$DISK0"', disks });
  assertEquals(again.stdout, "kept");
  await Deno.remove(directory, { recursive: true });
});

Deno.test("WriteLog builds what a drive that loses its volatile cache is left with", async () => {
  const directory = await Deno.makeTempDir();
  const [path, writeLogPath] = [`${directory}/disk.img`, `${directory}/writes.log`];
  const guest = await Guest.start({
    command: `
      put() { printf "$1" | dd of="$DISK0" conv=sync,$3 bs=4096 seek=$2 oflag=direct; }
      put first 0 fsync; put second 1 notrunc; put third 2 notrunc
      echo done >"$GUEST_EVENTS"; sleep 600`,
    disks: [{ path, sizeBytes: 64 * MiB, writeLogPath }],
  });
  await guest.events.waitFor(/^done$/m, 120_000);
  await guest.powerCut();

  const log = WriteLog.open(writeLogPath);
  assertEquals(log.entries.filter((entry) => entry.sizeBytes > 0).map((e) => e.offsetBytes), [
    ...[0, 4096, 8192],
  ]);
  const keepThird = { survives: (entry: WriteLogEntry) => entry.offsetBytes === 8192 };
  for (
    const [options, expected] of [
      [{}, ["first", "", ""]],
      [keepThird, ["first", "", "third"]],
      [{ survives: () => true }, ["first", "second", "third"]],
    ] as const
  ) {
    await Deno.writeFile(path, new Uint8Array(64 * MiB));
    log.replayOnto(path, options);
    const image = await Deno.readFile(path);
    const words = [0, 4096, 8192].map((at) => {
      return new TextDecoder().decode(image.subarray(at, at + 8)).replaceAll("\0", "");
    });
    assertEquals(words, [...expected]);
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("Guest ends at its time limit, even before it is up", async () => {
  const result = await runGuest({ command: "sleep 600", timeLimitMs: 2_000 });
  assertEquals([result.outcome, result.exitCode], ["time-limit", undefined]);
  assert(result.elapsedMs < 20_000, `it took ${result.elapsedMs} ms`);
});

Deno.test("runGuest() boots again when a boot stands still", async () => {
  const share = await Deno.makeTempDir();
  try {
    // No boot is done in a second, so the last one is taken as it comes.
    const result = await runGuest({
      command: `echo up >>${share}/boots`,
      share,
      bootLimitMs: 1000,
    });
    assertEquals([result.outcome, result.exitCode], ["exited", 0], explain(result));
    assertEquals(await Deno.readTextFile(`${share}/boots`), "up\n");
  } finally {
    await Deno.remove(share, { recursive: true });
  }
});

Deno.test("Guest reports a kernel panic with the kernel's words", async () => {
  const result = await runGuest({ command: "echo c >/proc/sysrq-trigger; sleep 60" });
  assertEquals(result.outcome, "panic");
  assert(kernelTrouble(result.kernelLog).some((line) => line.includes("sysrq triggered crash")));
});

Deno.test("runHere() runs the same command on a machine that has ublk itself", async () => {
  // The guest is such a machine.
  const program = new URL("../support/run_here_probe.ts", import.meta.url).pathname;
  const result = await runGuest({ command: ["deno", "run", "-A", program], modules: ["loop"] });
  assertEquals([result.outcome, result.exitCode], ["exited", 0], result.stderr);
  assertEquals(JSON.parse(result.stdout), {
    wrote: { outcome: "exited", exitCode: 3, stdout: "4096\n", stderr: "no\n" },
    late: { outcome: "time-limit", stdout: "", stderr: "" },
    refused: 'Cannot run here: "network" needs a guest',
    loops: "",
  });
});

function explain(result: GuestResult): string {
  return [result.stdout, result.stderr, result.kernelLog, result.qemuLog].join("\n");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
