// A daemon's whole life on S3 - first copy, logging, an overflow of its pool with the resync after it, a
// crash between segment and inode, the start that adopts, orderly stops - with a fault at every single
// request: it always ends in order, with primary and replica equal, and nobody has to help.
//
// One fault strikes once, and not even a start fails. Where trouble lasts, a start is refused, and all that an
// operator has to do, once it is gone, is to start again.

import { crc32 } from "node:zlib";
import type { Clock } from "../../src/base/clock.ts";
import { configureLog } from "../../src/base/log.ts";
import { ReplicaError } from "../../src/base/errors.ts";
import { KiB, SECTOR } from "../../src/base/units.ts";
import type { DeviceConfig, ReplicaTargetConfig } from "../../src/config.ts";
import { PrimaryMetadata } from "../../src/primary/metadata.ts";
import { listCheckpoints } from "../../src/replica/inode_reader.ts";
import { readDeviceCard } from "../../src/replica/read_device_card.ts";
import type { S3Options } from "../../src/replica/s3_settings.ts";
import { S3Store } from "../../src/replica/s3_store.ts";
import {
  UBLK_IO_F_FUA,
  UBLK_IO_OP_DISCARD,
  UBLK_IO_OP_FLUSH,
  UBLK_IO_OP_WRITE,
  UBLK_IO_OP_WRITE_ZEROES,
} from "../../src/ublk/uapi.ts";
import { assert, assertEquals } from "../support/assert.ts";
import {
  type Fault,
  type FaultProxy,
  nameOfFault,
  type ProxiedRequest,
  startFaultProxy,
  USUAL_FAULTS,
} from "../support/fault_proxy.ts";
import { readImage } from "../support/image.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { MemoryPrimary } from "../support/memory_primary.ts";
import { NativeDaemon } from "../support/native_daemon.ts";
import { Prng, seedOf } from "../support/prng.ts";
import { startS3Server } from "../support/s3_server.ts";
import { scaled } from "../support/soak.ts";

const BLOCK = 4 * KiB;
const DEVICE_BLOCKS = 128;
const IO_BLOCKS = 4;
const POOL_BLOCKS = 48;
/** A hanging request costs 30 s / HURRY. */
const HURRY = 10;
const SETTLED_WITHIN_MS = 20_000;

const FAULTS: readonly Fault[] = [
  ...USUAL_FAULTS,
  { type: "status", status: 503, code: "SlowDown" },
  { type: "status", status: 307, code: "TemporaryRedirect" },
  { type: "status", status: 501, code: "NotImplemented" },
];
/** What may be wrong until somebody puts it right. */
const LASTING = FAULTS.filter((fault) =>
  "status" in fault && [403, 404, 412, 501].includes(fault.status)
);
/** Of the first look: card, the probe's first put, inode, the probe's last put, its removal. */
const LASTING_FROM = [1, 5, 2, 8, 9].slice(0, scaled(2, 5));
/** In each of them one request in STRIDE gets a fault, which one of both the seed says; in all of them all. */
const TURNS = scaled(1, FAULTS.length);
const STRIDE = scaled(3, 1);
/** Checkpoints are cut by age, so one life in a hurry has a request more or less than another. */
const MISSED_OF = 10;

const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());
// Its death is an error that a daemon logs.
configureLog({ level: "error", format: "text", file: "/dev/null" });

/** One primary and its replica, from format to the last stop. */
class Story {
  /** Starts that were refused, and why. */
  readonly refusals: string[] = [];
  readonly #primary = new MemoryPrimary({
    deviceSizeBytes: DEVICE_BLOCKS * BLOCK,
    regionBytes: 8 * BLOCK,
    blockBytes: BLOCK,
  });
  readonly #random = new Prng(7);
  readonly #root: S3Options;
  readonly #proxy: FaultProxy;
  readonly #direct: S3Store;
  /** A digest of the device after each request. */
  readonly #history: number[] = [];

  constructor(root: S3Options, proxy: FaultProxy) {
    this.#root = root;
    this.#proxy = proxy;
    this.#direct = new S3Store(root);
  }

  async run(): Promise<void> {
    const { device } = this.#primary;
    this.#random.fill(device.subarray(8 * BLOCK, 12 * BLOCK));
    this.#random.fill(device.subarray(90 * BLOCK, 100 * BLOCK));
    await this.#primary.format(() => Promise.resolve(new S3Store(this.#root)));
    this.#note();
    await this.#firstLife();
    await this.#secondLife();
    await this.#thirdLife();
    await this.#judge();
    await this.#direct.close();
  }

  async #firstLife(): Promise<void> {
    const daemon = await this.#start();
    await settled(daemon);
    await this.#write(daemon, [[0, 8], [13, 20], [96, 8]]);
    await settled(daemon);
    await this.#zero(daemon);
    await settled(daemon);
    await this.#overflow(daemon);
    await settled(daemon);
    daemon.doom();
    await this.#write(daemon, [[40, 16], [700, 3]]);
    await within(daemon.dead(), () => `dies: ${daemon.state}`);
  }

  /** Adopts what the first one left, and ends with writes that are on their way. */
  async #secondLife(): Promise<void> {
    const daemon = await this.#start();
    await settled(daemon);
    await this.#write(daemon, [[48, 8], [56, 8]]);
    await settled(daemon);
    await this.#write(daemon, [[64, 32], [900, 16]]);
    await within(daemon.stop(), () => `stops: ${daemon.state}`);
  }

  async #thirdLife(): Promise<void> {
    const daemon = await this.#start();
    await settled(daemon);
    await this.#write(daemon, [[500, 24]]);
    await settled(daemon);
    await within(daemon.stop(), () => `stops: ${daemon.state}`);
  }

  /** Starts, and once more where that was refused. */
  async #start(): Promise<NativeDaemon> {
    const options = {
      config: CONFIG,
      target: targetConfig(this.#primary.uuid),
      primary: this.#primary,
      openStore: (clock: Clock) =>
        new S3Store({ ...this.#root, endpoint: this.#proxy.endpoint, clock }),
      hurry: HURRY,
    };
    try {
      return await within(NativeDaemon.start(options), () => "starts");
    } catch (error) {
      assert(error instanceof ReplicaError, `a start fails with a clear error: ${error}`);
      this.refusals.push(`${error.kind}: ${error.message}`);
    }
    return await within(NativeDaemon.start(options), () => "starts again");
  }

  /** Sectors from each first one on get fresh bytes; some of the writes are FUA. */
  async #write(daemon: NativeDaemon, ranges: readonly (readonly [number, number])[]) {
    for (const [startSector, sectors] of ranges) {
      const data = new Uint8Array(sectors * SECTOR);
      this.#random.fill(data);
      const flags = this.#random.oneIn(3) ? UBLK_IO_F_FUA : 0;
      await this.#serve(daemon, { op: UBLK_IO_OP_WRITE, flags, startSector, sectors }, data);
    }
  }

  async #zero(daemon: NativeDaemon): Promise<void> {
    const flags = 0;
    await this.#serve(daemon, { op: UBLK_IO_OP_DISCARD, flags, startSector: 64, sectors: 32 });
    await this.#serve(daemon, { op: UBLK_IO_OP_WRITE_ZEROES, flags, startSector: 93, sectors: 30 });
    await this.#serve(daemon, { op: UBLK_IO_OP_FLUSH, flags, startSector: 0, sectors: 0 });
  }

  /** More than the pool holds, at once. */
  async #overflow(daemon: NativeDaemon): Promise<void> {
    const sectors = IO_BLOCKS * BLOCK / SECTOR;
    for (let block = 0; block < 1.5 * POOL_BLOCKS; block += IO_BLOCKS) {
      await this.#write(daemon, [[block * BLOCK / SECTOR, sectors]]);
    }
  }

  /** While the guest has a request, nothing comes from the store. */
  async #serve(daemon: NativeDaemon, ...request: Parameters<NativeDaemon["serve"]>) {
    const answered = Promise.withResolvers<void>();
    this.#proxy.held = answered.promise;
    try {
      assert(await daemon.serve(...request) >= 0, "local I/O never fails");
    } finally {
      this.#proxy.held = null;
      answered.resolve();
    }
    this.#note();
  }

  #note(): void {
    this.#history.push(crc32(this.#primary.device));
  }

  /** Every checkpoint is a prefix of what was written, none earlier than the one before; the last is all. */
  async #judge(): Promise<void> {
    const replica = await copied(this.#direct);
    let at = 0;
    for await (const { cno } of listCheckpoints(replica)) {
      const found = this.#history.indexOf(crc32(await readImage(replica, cno)), at);
      assert(found >= 0, `checkpoint ${cno} is a state of the device`);
      at = found;
    }
    assertEquals(crc32(await readImage(replica)), this.#history.at(-1), "primary and replica");
    assertEquals((await readDeviceCard(replica))?.writer, null, "the replica is free");
    const { superblock } = await PrimaryMetadata.load(this.#primary.disk);
    assertEquals(superblock.state, "clean");
  }
}

const CONFIG: DeviceConfig = {
  number: -1,
  queues: 1,
  depth: 4,
  bufferBytes: IO_BLOCKS * BLOCK,
  readOnly: false,
  logicalBlockBytes: null,
  physicalBlockBytes: null,
  deviceSizeBytes: null,
  unixSocket: "./.ioreplica",
  log: { level: "error", format: "text", file: null },
  target: { type: "null" },
};

function targetConfig(uuid: string): ReplicaTargetConfig {
  return {
    type: "io-replica",
    path: "memory-primary",
    bufferedIo: false,
    replica: { type: "s3", uri: "s3://tests/replica", bucket: "tests", key: "replica" },
    s3: {},
    uuid,
    regionBytes: null,
    poolBytes: POOL_BLOCKS * BLOCK,
    skipInitialSync: false,
    writeIntent: true,
    takeOver: false,
    force: false,
    congestion: "resync",
    resyncConcurrency: 1,
    resyncBytesPerSecond: null,
    acceptUnsafeStore: false,
  };
}

/** All objects of a store, in memory. */
async function copied(store: S3Store): Promise<MemoryStore> {
  const copy = new MemoryStore();
  for await (const { key } of store.list()) {
    const body = await store.get(key);
    assert(body !== null, `${key} is there`);
    await copy.put(key, [body.bytes]);
  }
  return copy;
}

async function settled(daemon: NativeDaemon): Promise<void> {
  const sinceMs = performance.now();
  while (!daemon.settled) {
    const tookMs = performance.now() - sinceMs;
    assert(tookMs < SETTLED_WITHIN_MS, `everything gets to the replica: ${daemon.state}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function within<T>(step: Promise<T>, what: () => string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`never: ${what()}`)), SETTLED_WITHIN_MS);
  try {
    return await Promise.race([step, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a start, or any request, may be refused for this on a machine that is busy otherwise. */
function isSlowness(refusal: string): boolean {
  return /no sign of life/.test(refusal);
}

interface Life {
  readonly refusals: readonly string[];
  readonly requests: readonly ProxiedRequest[];
}

async function live(plan: (request: ProxiedRequest, story: Story) => Fault | null): Promise<Life> {
  const proxy = startFaultProxy({ targetPort: server.port });
  try {
    const story = new Story(await server.createRoot(), proxy);
    proxy.plan = (request) => plan(request, story);
    await story.run();
    return { refusals: story.refusals, requests: proxy.requests };
  } finally {
    proxy.stop();
  }
}

/** One life with a fault at one request. False: it had no such request. */
async function survive(fault: Fault, { number, kind, target }: ProxiedRequest): Promise<boolean> {
  let struck = false;
  try {
    const { refusals } = await live((request) => {
      if (request.number !== number) return null;
      struck = true;
      return fault;
    });
    assertEquals(refusals.filter((refusal) => !isSlowness(refusal)), []);
    return struck;
  } catch (error) {
    const what = `${nameOfFault(fault)} at request ${number}, ${kind} ${target}`;
    throw new Error(what, { cause: error });
  }
}

const { requests } = await live(() => null);
const seed = seedOf("daemon fault");

for (let turn = 0; turn < TURNS; turn++) {
  Deno.test(`a daemon survives a fault at any request of its life, turn ${turn + 1}`, async () => {
    const chosen = requests.filter(({ number }) => (seed + number) % STRIDE === 0);
    let missed = 0;
    // One life at a time: several would take the time from each other that runs out in a hurry.
    for (const request of chosen) {
      const fault = FAULTS[(seed + turn + request.number) % FAULTS.length];
      if (!await survive(fault, request)) missed++;
    }
    assert(missed <= chosen.length / MISSED_OF, `${missed} of ${chosen.length} lives had no fault`);
  });
}

Deno.test("a replica is free after a stop whose last request got no answer", async () => {
  const release = requests.findLast(({ kind, target }) =>
    kind === "put" && target.includes("device.json")
  );
  assert(release !== undefined);
  for (const type of ["hang", "hang-after"] as const) {
    assert(await survive({ type }, release), type);
  }
});

Deno.test("a start that the store refuses is a clear error, and starting again is all it takes", async () => {
  for (const fault of LASTING) {
    for (const first of LASTING_FROM) {
      const { refusals } = await live(({ number }, { refusals }) =>
        number >= first && refusals.length === 0 ? fault : null
      );
      assertEquals(refusals.length, 1, `${nameOfFault(fault)} from request ${first} on`);
    }
  }
});
