// The management socket against clients of every sort: right ones, malformed ones, slow ones, many.

import { assert, assertEquals, assertRejects } from "../../support/assert.ts";
import { EQUAL, STATUS } from "../../support/report_examples.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { ReplicaError } from "../../../src/base/errors.ts";
import { ping, setMode, status, stop, verify } from "../../../src/control/client.ts";
import { type ControlHandler, ControlServer } from "../../../src/control/server.ts";
import type { VerifyOrder } from "../../../src/control/running_device.ts";
import type { VerifyReport } from "../../../src/replication/verify_report.ts";
import type { StatsReport, StatusReport } from "../../../src/control/protocol.ts";

class Place {
  readonly directory = Deno.makeTempDirSync({ prefix: "io-replica-control-" });
  readonly socket = `${this.directory}/.ioreplica`;
  readonly #open: ControlServer[] = [];

  async listen(options: Partial<Parameters<typeof ControlServer.listen>[0]> = {}) {
    const server = await ControlServer.listen({
      path: this.socket,
      handler: new Handler(),
      runDirectory: `${this.directory}/run`,
      ...options,
    });
    this.#open.push(server);
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#open) await server.close();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

class Handler implements ControlHandler {
  stopped = 0;
  ping() {
    return { pid: Deno.pid, version: "0.1.0", device: "/dev/ublkb3", uuid: null };
  }
  status(): StatusReport {
    return { ...STATUS, device: "/dev/ublkb3" };
  }
  stats(): StatsReport {
    throw new Error("a bug in a handler");
  }
  setMode(wanted: string) {
    return Promise.resolve({ mode: wanted, note: "" });
  }
  verifyEnded = Promise.withResolvers<void>();
  async verify({ repair, onProgress, signal }: VerifyOrder): Promise<VerifyReport> {
    while (repair && !signal.aborted) {
      onProgress({ stage: "comparing" });
      await systemClock.sleep(5, signal);
    }
    this.verifyEnded.resolve();
    return { ...EQUAL, comparedBytes: 1 };
  }
  stop(onProgress: (progress: { stage: string }) => void): Promise<void> {
    onProgress({ stage: "draining" });
    this.stopped++;
    return Promise.resolve();
  }
}

/** Sends raw bytes; returns the lines that come back, until `lines` came or the server closes. */
async function talk(socket: string, bytes: Uint8Array | string, lines = 1): Promise<string[]> {
  const connection = await Deno.connect({ transport: "unix", path: socket });
  try {
    let raw = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    const decoder = new TextDecoder();
    let text = "";
    const writing = (async () => {
      while (raw.length > 0) raw = raw.subarray(await connection.write(raw));
    })().catch(() => "the server may close before it has read everything");
    const buffer = new Uint8Array(65536);
    while (text.split("\n").length <= lines) {
      const count = await connection.read(buffer).catch(() => null);
      if (count === null) break;
      text += decoder.decode(buffer.subarray(0, count));
    }
    await writing;
    return text.split("\n").filter((line) => line !== "");
  } finally {
    connection.close();
  }
}

/** Leaves a socket on which nobody listens, as a crash does. */
function leaveSocket(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.old` });
  Deno.renameSync(`${path}.old`, path);
  listener.close(); // removes the old name only
}

Deno.test("ControlServer answers requests, several on one connection", async () => {
  await using place = new Place();
  await place.listen();
  const answers = await talk(
    place.socket,
    '{"command":"ping"}\n{"command":"status"}\n{"command":"ping"}\n',
    3,
  );
  assertEquals(answers.map((line) => JSON.parse(line).ok), [true, true, true]);
  assertEquals((await ping(place.socket)).pid, Deno.pid);
  assertEquals((await status(place.socket)).device, "/dev/ublkb3");
  assertEquals((await setMode(place.socket, "pause")).mode, "pause");
});

Deno.test("ControlServer makes its socket with mode 0600 and removes it", async () => {
  await using place = new Place();
  const before = Deno.umask(0);
  try {
    const server = await place.listen();
    assertEquals((Deno.statSync(place.socket).mode ?? 0) & 0o777, 0o600);
    await server.close();
    await assertRejects(() => Deno.stat(place.socket), Deno.errors.NotFound);
  } finally {
    assertEquals(Deno.umask(before), 0, "the umask is left as it was");
  }
});

Deno.test("ControlServer answers malformed requests with an error and lives on", async () => {
  await using place = new Place();
  await place.listen();
  const rows: [Uint8Array | string, string][] = [
    ["\n", "it is not valid JSON"],
    ["status\n", "it is not valid JSON"],
    ['{"command":"status"\n', "it is not valid JSON"],
    ["[".repeat(60_000) + "\n", "it is not valid JSON"],
    ["[".repeat(30_000) + "]".repeat(30_000) + "\n", "it is not a JSON object"],
    ["null\n", "it is not a JSON object"],
    ['"status"\n', "it is not a JSON object"],
    ["{}\n", "no command"],
    ['{"command":"fly"}\n', 'unknown command "fly"'],
    ['{"command":5}\n', '"command" is not text'],
    ['{"command":["stop"]}\n', '"command" is not text'],
    ['{"command":"ping","x":1}\n', 'unknown field "x"'],
    ['{"command":"stop","mode":"pause"}\n', 'unknown field "mode"'],
    ['{"command":"set-mode"}\n', '"mode" is missing'],
    ['{"command":"set-mode","mode":"paused"}\n', '"mode" is "paused"'],
    ['{"command":"set-mode","mode":["pause"]}\n', '"mode" is ["pause"]'],
    ['{"command":"set-mode","mode":"pause","x":1}\n', 'unknown field "x"'],
    ['{"command":"verify","repair":1}\n', '"repair" is neither true nor false'],
    ['{"command":"verify","mode":"pause"}\n', 'unknown field "mode"'],
    ['{"__proto__":{"command":"stop"}}\n', 'unknown field "__proto__"'],
    [`{"${"k".repeat(5000)}":1}\n`, "unknown field"],
    [new Uint8Array([0xff, 0xfe, 0x0a]), "it is not valid UTF-8"],
    ["x".repeat(70_000), "longer than 65536 bytes"],
    ["x".repeat(70_000) + "\n", "longer than 65536 bytes"],
  ];
  for (const [bytes, part] of rows) {
    const [answer] = await talk(place.socket, bytes);
    const row = String(bytes).slice(0, 40);
    assert(answer !== undefined, `${row}: no answer`);
    const { ok, error } = JSON.parse(answer);
    assertEquals([ok, error.kind], [false, "usage"], row);
    assert(error.message.includes(part), `${row}: ${error.message}`);
    assert(answer.length < 600, `${row}: the answer does not repeat the request`);
  }
  assertEquals((await ping(place.socket)).device, "/dev/ublkb3");
});

Deno.test("ControlServer reports a bug of a handler and lives on", async () => {
  await using place = new Place();
  await place.listen();
  const [answer] = await talk(place.socket, '{"command":"stats"}\n');
  assertEquals(JSON.parse(answer).error.kind, "bug");
  assertEquals((await ping(place.socket)).pid, Deno.pid);
});

Deno.test("ControlServer gives up on clients that are slow or silent", async () => {
  await using place = new Place();
  await place.listen({ limits: { lineBytesMax: 1000, idleMs: 50, lineMs: 50 } });
  for (const bytes of ["", '{"comm']) {
    const [answer] = await talk(place.socket, bytes);
    assert(JSON.parse(answer).error.message.includes("took too long"), answer);
  }
});

Deno.test("ControlServer serves many clients and refuses too many", async () => {
  await using place = new Place();
  await place.listen({ clientsMax: 40 });
  const silent: Deno.UnixConn[] = [];
  for (let i = 0; i < 39; i++) {
    silent.push(await Deno.connect({ transport: "unix", path: place.socket }));
  }
  assertEquals((await ping(place.socket)).pid, Deno.pid);
  silent.push(await Deno.connect({ transport: "unix", path: place.socket }));
  await assertRejects(() => ping(place.socket), ReplicaError, "too many clients");
  silent.forEach((connection) => connection.close());
});

Deno.test("ControlServer.close() ends while clients are connected", async () => {
  await using place = new Place();
  const server = await place.listen();
  const silent = await Deno.connect({ transport: "unix", path: place.socket });
  await ping(place.socket);
  await server.close();
  const answer = await silent.read(new Uint8Array(1000));
  silent.close();
  assert(answer === null || answer > 0, "the connection was ended");
});

Deno.test("stop() shows progress and resolves when the handler is done", async () => {
  await using place = new Place();
  const handler = new Handler();
  await place.listen({ handler });
  const stages: string[] = [];
  await stop(place.socket, ({ stage }) => void stages.push(stage));
  assertEquals([stages, handler.stopped], [["draining"], 1]);
});

Deno.test("ControlServer.listen() replaces a socket that nobody answers on", async () => {
  await using place = new Place();
  leaveSocket(place.socket);
  assert(Deno.lstatSync(place.socket).isSocket);
  await place.listen();
  assertEquals((await ping(place.socket)).pid, Deno.pid);
});

Deno.test("ControlServer.listen() refuses paths in use and says by whom", async () => {
  await using place = new Place();
  await place.listen();
  await assertRejects(() => place.listen(), ReplicaError, `the daemon with pid ${Deno.pid}`);
  await ping(place.socket);

  const foreign = `${place.directory}/foreign`;
  using listener = Deno.listen({ transport: "unix", path: foreign });
  const closing = (async () => (await listener.accept()).close())();
  await assertRejects(() => place.listen({ path: foreign }), ReplicaError, "another program");
  await closing;

  const file = `${place.directory}/file`;
  Deno.writeTextFileSync(file, "keep me");
  await assertRejects(() => place.listen({ path: file }), ReplicaError, "a file of another type");
  assertEquals(Deno.readTextFileSync(file), "keep me");

  const nowhere = `${place.directory}/no/such/socket`;
  await assertRejects(() => place.listen({ path: nowhere }), ReplicaError, "Cannot listen");
});

Deno.test("the client says why a daemon cannot be reached", async () => {
  await using place = new Place();
  await assertRejects(() => ping(place.socket), ReplicaError, "there is no such socket");
  leaveSocket(place.socket);
  await assertRejects(() => ping(place.socket), ReplicaError, "nobody listens");
  Deno.removeSync(place.socket);

  using listener = Deno.listen({ transport: "unix", path: place.socket });
  const options = { timeoutMs: 50 };
  await assertRejects(() => ping(place.socket, options), ReplicaError, "does not answer in time");
  (await listener.accept()).close();
  const rows: [string, string, string][] = [
    ["", "unavailable", "it closed the connection without an answer"],
    ["HTTP/1.1 400 Bad Request\r\n\r\n", "data", "it is not valid JSON"],
    ['{"ok":tr', "data", "it ends without a newline"],
    ["{}\n", "data", "it has an unknown form"],
    ['{"ok":true,"result":{"pid":7}}\n', "data", "result.version is not text"],
    ['{"ok":false,"error":{"kind":"odd"}}\n', "data", "it has an unknown form"],
  ];
  for (const [text, kind, part] of rows) {
    const answering = (async () => {
      using connection = await listener.accept();
      await connection.read(new Uint8Array(100));
      await connection.write(new TextEncoder().encode(text));
    })();
    const asked = ping(place.socket).catch((error) => error);
    await answering;
    const error = await asked;
    assert(error instanceof ReplicaError && error.message.includes(part), String(error));
    assertEquals(error.kind, kind, text);
  }
});

Deno.test("a comparison ends when the client that asked for it goes away", async () => {
  await using place = new Place();
  const handler = new Handler();
  await place.listen({ handler });
  const found = await verify(place.socket, { repair: false }, () => {});
  assertEquals(found.comparedBytes, 1);
  handler.verifyEnded = Promise.withResolvers();
  const leaving = new AbortController();
  await assertRejects(
    () => verify(place.socket, { repair: true }, () => leaving.abort(), { signal: leaving.signal }),
    ReplicaError,
    "interrupted",
  );
  await handler.verifyEnded.promise;
  assertEquals((await ping(place.socket)).pid, Deno.pid, "and the daemon lives on");
});

// It ended the daemon, and with it the device.
Deno.test("a server that can't accept for a while goes on serving, and closes", async () => {
  const { listen } = Deno;
  let failures = 3;
  Object.assign(Deno, {
    listen(options: Deno.UnixListenOptions & { transport: "unix" }) {
      const listener = listen(options);
      const accept = listener.accept.bind(listener);
      return Object.assign(listener, {
        accept: () => failures-- > 0 ? Promise.reject(new Error("Too many open files")) : accept(),
      });
    },
  });
  try {
    await using place = new Place();
    await place.listen();
    assertEquals((await ping(place.socket)).pid, Deno.pid);
    assert(failures < 0, "it did fail");
  } finally {
    Object.assign(Deno, { listen });
  }
});
