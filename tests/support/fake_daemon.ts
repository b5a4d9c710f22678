// A daemon's socket in this process with a fake device behind it: for tests of the commands that speak
// to a running device.

import { KiB, MiB } from "../../src/base/units.ts";
import { type DeviceConfig, deviceConfig } from "../../src/config.ts";
import { ControlServer } from "../../src/control/server.ts";
import type { CliWorld } from "./cli_context.ts";
import { type FakeBehaviour, FakeDevice } from "./fake_device.ts";

const UUID = "6f1d2c1e-8a0b-4c55-9d0e-2f7f4a1b3c4d";

export class FakeDaemon {
  readonly socket: string;
  readonly device: FakeDevice;
  readonly #server: ControlServer;

  private constructor(server: ControlServer, device: FakeDevice) {
    this.socket = server.path;
    this.device = device;
    this.#server = server;
  }

  static async start(
    { directory, runDirectory }: CliWorld,
    { target = "io-replica", ...behaviour }: FakeBehaviour & { target?: "io-replica" | "null" } =
      {},
  ): Promise<FakeDaemon> {
    const config = configOf(target, `${directory}/socket`);
    const device = new FakeDevice(config, behaviour);
    const server = await ControlServer.listen({
      path: config.unixSocket,
      runDirectory,
      handler: {
        ping: () => ({ pid: Deno.pid, version: "0.1.0", device: "/dev/ublkb7", uuid: UUID }),
        status: () => device.status(),
        stats: () => device.stats(),
        setMode: (wanted) => device.setMode(wanted),
        verify: (order) => device.verify(order),
        stop: (onProgress) => device.stop(onProgress),
      },
    });
    return new FakeDaemon(server, device);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
  }
}

function configOf(target: "io-replica" | "null", unixSocket: string): DeviceConfig {
  return deviceConfig({
    number: -1,
    queues: 1,
    depth: 128,
    bufferBytes: 512 * KiB,
    readOnly: false,
    unixSocket,
    log: { level: "info", format: "text", file: null },
    target: target === "null" ? { type: "null" } : {
      type: "io-replica",
      path: "/dev/nvme0n1",
      bufferedIo: false,
      replicaUri: `file:///srv/${UUID}`,
      s3: {},
      uuid: UUID,
      poolBytes: 64 * MiB,
    },
  });
}
