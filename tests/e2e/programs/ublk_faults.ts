// Runs in a guest: starts that fail and devices that break must leave nothing behind, in bounded
// time. Prints one "ok: …" line per case.

import { check } from "../../../ffi/errno.ts";
import { O_CLOEXEC, openLibc } from "../../../ffi/libc.ts";
import type { BareTarget } from "../../../src/target/bare_target.ts";
import { openBareTarget } from "../../../src/target/bare_target.ts";
import { GiB, KiB } from "../../../src/base/units.ts";
import { UblkDevice } from "../../../src/device/device.ts";
import { DEFAULT_DEADLINES, type DeviceOptions } from "../../../src/device/kernel_device.ts";
import type { QueueTarget } from "../../../src/queue/room.ts";
import { COUNTER_ROW } from "../../../src/shared/layout.ts";
import type { Target } from "../../../src/target/target.ts";
import { UblkControl } from "../../../src/ublk/control.ts";
import { driverDevices, removeDevice } from "../../../src/ublk/driver.ts";
import { assert, assertEquals, assertRejects } from "../../support/assert.ts";

const OPTIONS: DeviceOptions = {
  number: 0,
  queues: 2,
  depth: 16,
  bufferBytes: 128 * KiB,
  readOnly: false,
  logicalBlockBytes: null,
  physicalBlockBytes: null,
};

const encoder = new TextEncoder();

function nullTarget(): Promise<BareTarget> {
  const target = { type: "null" } as const;
  return openBareTarget({ target, deviceSizeBytes: null, nullSizeBytes: GiB, readOnly: false });
}

async function assertNothingLeft(): Promise<void> {
  assertEquals(await driverDevices(), []);
  for (const path of ["/dev/ublkb0", "/dev/ublkc0", "/sys/block/ublkb0"]) {
    const exists = await Deno.stat(path).then(() => true, () => false);
    assert(!exists, `${path} is left`);
  }
}

async function runCase(name: string, body: () => Promise<void>): Promise<void> {
  const before = performance.now();
  await body();
  await assertNothingLeft();
  const tookMs = Math.round(performance.now() - before);
  Deno.stdout.writeSync(encoder.encode(`ok: ${name}\n`));
  Deno.stderr.writeSync(encoder.encode(`${name} took ${tookMs} ms\n`));
}

await runCase("a number that is taken", async () => {
  const first = await UblkDevice.start(OPTIONS, await nullTarget());
  const second = UblkDevice.start(OPTIONS, await nullTarget());
  await assertRejects(() => second, Error, "the number is taken");
  assertEquals((await driverDevices()).length, 1);
  await Promise.all([first.stop(), first.stop()]);
  await first.ended;
});

await runCase("a target that does not start", async () => {
  let closed = 0;
  let drained = 0;
  const target = await nullTarget();
  const failing = {
    ...target,
    start: () => Promise.reject(new Error("Cannot start the target")),
    drain() {
      drained++;
      return Promise.resolve();
    },
    close() {
      closed++;
      return target.close();
    },
  };
  await assertRejects(() => UblkDevice.start(OPTIONS, failing), Error, "Cannot start the target");
  assertEquals([drained, closed], [0, 1], "what did not start needs no drain");
});

await runCase("a primary that never answers", async () => {
  // The partition table is read from a pipe that nobody writes to.
  const pipe = new Int32Array(2);
  check(openLibc().pipe2(new Uint8Array(pipe.buffer), O_CLOEXEC), "make a pipe");
  const target = await nullTarget();
  const counters = new SharedArrayBuffer(COUNTER_ROW * 8);
  const hanging: Target = {
    ...target,
    queueTarget: () => ({ type: "loop", counters, primaryFd: pipe[0] }),
  };
  const deadlines = { ...DEFAULT_DEADLINES, startMs: 1_000, stopMs: 1_000, queuesEndMs: 2_000 };
  const device = await UblkDevice.start(OPTIONS, hanging, { deadlines }).catch((error) => error);
  // Newer drivers read the partition table after START_DEV: then it is the stop that hangs.
  if (device instanceof UblkDevice) await assertRejects(() => device.stop(), Error, "STOP_DEV");
  else assert(device instanceof Error && device.message.includes("START_DEV"), `${device}`);
  pipe.forEach((fd) => openLibc().close(fd));
});

await runCase("a start that is called off", async () => {
  const target = await nullTarget();
  const signal = new AbortController();
  const calling = { ...target, start: () => Promise.resolve(signal.abort()) };
  const start = UblkDevice.start(OPTIONS, calling, { signal: signal.signal });
  await assertRejects(() => start, Error, "Cannot start the device");
});

await runCase("a queue that breaks on its first request", async () => {
  const target = await nullTarget();
  const broken = { ...target, queueTarget: () => ({ type: "none" }) as unknown as QueueTarget };
  const device = await UblkDevice.start(OPTIONS, broken).catch((error) => error);
  if (device instanceof UblkDevice) await assertRejects(() => device.ended, Error, "");
  else assert(device instanceof Error);
});

await runCase("a device stopped by another program", async () => {
  const device = await UblkDevice.start(OPTIONS, await nullTarget());
  const control = await UblkControl.open();
  await control.stopDevice(0);
  control.close();
  await device.ended;
});

await runCase("a device deleted by another program", async () => {
  const device = await UblkDevice.start(OPTIONS, await nullTarget());
  await Promise.all([removeDevice(0), device.ended]);
});

await runCase("a device that is not there", async () => {
  await removeDevice(0);
  const control = await UblkControl.open();
  assertEquals(await control.getInfo(0), undefined);
  control.close();
});

await runCase("one device after the other", async () => {
  for (let round = 0; round < 3; round++) {
    const device = await UblkDevice.start(OPTIONS, await nullTarget());
    await device.stop();
  }
});
