// The program with a fake device instead of ublk, for the tests that need real processes. The
// environment says how it behaves: FAKE_START=fail|crash|slow|ok, FAKE_STOP_MS.

import { run } from "../../src/cli/mod.ts";
import { processContext } from "../../src/cli/process_context.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { startFakeDevice } from "./fake_device.ts";

const context = processContext(import.meta.filename ?? "");
const platform = {
  ...context.platform,
  checkMachine: () => Promise.resolve(),
  openDriver: () => Promise.reject(new ReplicaError("kernel", "Cannot open the driver: a test")),
  startDevice(config: Parameters<typeof startFakeDevice>[0], signal: AbortSignal) {
    const how = Deno.env.get("FAKE_START");
    if (how === "crash") Deno.kill(Deno.pid, "SIGKILL");
    return startFakeDevice(config, signal, {
      startMs: how === "slow" ? 60_000 : 0,
      stopMs: Number(Deno.env.get("FAKE_STOP_MS") ?? "0"),
      startError: how !== "fail" ? undefined : new ReplicaError(
        "fenced",
        "Cannot attach the replica: another writer is ahead",
        { hint: "Stop the other one.", context: { epoch: 7 } },
      ),
    });
  },
};

Deno.exit(await run({ ...context, platform }));
