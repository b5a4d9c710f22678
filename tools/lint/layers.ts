// Who may import whom. Imports only ever point down; docs/architecture.md draws the picture.

/** Layer → the layers that it may import besides itself. A layer is ffi/, src/NAME/ or src/NAME.ts. */
export const LAYERS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  ffi: ["base"],
  // Bytes and decisions: no I/O, so no ffi.
  format: ["base"],
  replication: ["base", "format"],
  // The kernel's block protocol knows nothing about replication.
  ublk: ["base", "ffi"],
  primary: ["base", "ffi", "format"],
  replica: ["base", "format", "replication"],
  shared: ["base", "ffi", "format"],
  config: ["base", "format", "replica"],
  // The I/O path knows nothing about the replica's stores.
  queue: ["base", "ffi", "format", "ublk", "shared"],
  replicator: ["base", "ffi", "format", "replication", "shared", "primary", "replica"],
  // Replica to image file or device, without a device of ours.
  exporter: ["base", "ffi", "primary", "replica"],
  control: ["base", "config", "shared", "replication"],
  workers: ["base", "ffi", "config", "replication", "queue", "replicator"],
  // What stands behind a device.
  target: [
    ...["base", "ffi", "format", "config", "primary", "replication", "shared"],
    ...["workers", "queue", "replicator"],
  ],
  device: [
    ...["base", "ffi", "config", "ublk", "replication", "shared"],
    ...["control", "target", "workers"],
  ],
  cli: [
    ...["base", "ffi", "format", "config", "ublk", "primary", "replica", "replication", "shared"],
    ...["control", "device", "exporter"],
  ],
  main: ["cli"],
};

/** The layer of a path inside the repository; undefined for tests, tools and the like. */
export function layerOf(path: string): string | undefined {
  const match = /^(?:src\/([a-z_]+)(?:\/|\.ts$)|(ffi)\/|(main)\.ts$)/.exec(
    path,
  );
  return match?.slice(1).find((layer) => layer !== undefined);
}

/** Why `from` may not import `to`, both paths inside the repository; undefined if it may. */
export function importProblem(from: string, to: string): string | undefined {
  const layer = layerOf(from);
  if (layer === undefined || to === "deno.json") return undefined;
  const target = layerOf(to);
  if (target === undefined) return `${from} is part of the program and cannot import ${to}`;
  const allowed = LAYERS[layer];
  if (!allowed) return `src/${layer} is not in tools/lint/layers.ts: say there what it may import`;
  if (target === layer || allowed.includes(target)) return undefined;
  return `${layer} may not import ${target}, only ${allowed.join(", ") || "nothing"}`;
}
