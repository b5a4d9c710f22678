// The program with a fake device instead of ublk, for the tests that need real processes. The
// environment says how it behaves: FAKE_START=fail|crash|copy|slow|ok, FAKE_STOP_MS, FAKE_STOP_ERROR.

import { run } from "../../src/cli/entry.ts";
import { processContext } from "../../src/cli/process_context.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import type { DeviceConfig } from "../../src/config.ts";
import type { DeviceStart } from "../../src/control/running_device.ts";
import { startFakeDevice } from "./fake_device.ts";

const context = processContext(import.meta.filename ?? "");
const platform = {
  ...context.platform,
  checkMachine: () => Promise.resolve(),
  openDriver: () => Promise.reject(new ReplicaError("kernel", "Cannot open the driver: a test")),
  startDevice(config: DeviceConfig, start: DeviceStart) {
    const how = Deno.env.get("FAKE_START");
    if (how === "crash") Deno.kill(Deno.pid, "SIGKILL");
    return startFakeDevice(config, start, {
      startMs: how === "slow" ? 60_000 : how === "copy" ? 300 : 0,
      stopMs: Number(Deno.env.get("FAKE_STOP_MS") ?? "0"),
      stopError: Deno.env.get("FAKE_STOP_ERROR") === undefined
        ? undefined
        : new ReplicaError("unavailable", "Cannot bring the replica up to date: 503"),
      startError: how !== "fail" ? undefined : new ReplicaError(
        "fenced",
        "Cannot attach the replica: another writer is ahead",
        { hint: "Stop the other one.", context: { epoch: 7 } },
      ),
    });
  },
};

Deno.exit(await run({ ...context, platform }));
