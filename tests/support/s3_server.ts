// A real S3 server for tests: moto behind s3_server.py, installed once from the Python package index into .deps/, on a
// free port of this machine. It ends when stop() is called and also when the test process dies,
// since it watches its standard input.
//
// Use: const server = await startS3Server(), at the top level of a test file (Deno's sanitizers
// watch what a test opens), and server.stop() when the file ends.

import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import type { S3Options } from "../../src/replica/s3_settings.ts";

const SUPPORT = new URL(".", import.meta.url).pathname;
const DEPS = new URL("../../.deps/", import.meta.url).pathname;
const START_TIMEOUT_MS = 60_000;
const CREDENTIALS = { accessKeyId: "test", secretAccessKey: "test-secret" };

export interface S3Server {
  /** "http://127.0.0.1:port". */
  readonly endpoint: string;
  readonly port: number;
  /** Makes a new bucket and gives the options of a root in it. */
  createRoot(options?: Partial<S3Options>): Promise<S3Options>;
  /** The same where the server ignores the conditions of puts. */
  createUnconditionalRoot(): Promise<S3Options>;
  stop(): void;
}

/** Starts a server of its own for the caller. */
export async function startS3Server(): Promise<S3Server> {
  const packages = await installMoto();
  const port = freePort();
  const child = new Deno.Command("python3", {
    args: [`${SUPPORT}s3_server.py`, String(port)],
    env: { PYTHONPATH: packages, PYTHONPYCACHEPREFIX: `${packages}/pycache` },
    stdin: "piped",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const endpoint = `http://127.0.0.1:${port}`;
  const stop = () => {
    try {
      child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended already
    }
  };
  await waitForAnswer(endpoint, child).catch((error) => {
    stop();
    throw error;
  });
  return {
    endpoint,
    port,
    stop,
    createRoot: (options) => createRoot(endpoint, "bucket", options),
    createUnconditionalRoot: () => createRoot(endpoint, "unconditional", {}),
  };
}

let buckets = 0;

async function createRoot(
  endpoint: string,
  name: string,
  options: Partial<S3Options> = {},
): Promise<S3Options> {
  const bucket = `${name}-${++buckets}-${crypto.randomUUID().slice(0, 8)}`;
  const region = "us-east-1";
  const client = new S3Client({ endpoint, region, credentials: CREDENTIALS, forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return { bucket, key: "replicas/one", endpoint, region, credentials: CREDENTIALS, ...options };
}

/** The folder of moto's packages; installs them unless this version already stands there. */
async function installMoto(): Promise<string> {
  const requirements = `${SUPPORT}s3_server_requirements.txt`;
  const version = /^moto==(.*)$/m.exec(await Deno.readTextFile(requirements))?.[1];
  const folder = `${DEPS}moto-${version}`;
  if (await exists(folder)) return folder;
  await Deno.mkdir(DEPS, { recursive: true });
  const fresh = await Deno.makeTempDir({ dir: DEPS, prefix: "moto-install-" });
  const pip = await new Deno.Command("python3", {
    args: ["-m", "pip", "install", "--quiet", "--no-deps", "--target", fresh, "-r", requirements],
    stdin: "null",
  }).output();
  if (!pip.success) {
    await Deno.remove(fresh, { recursive: true });
    throw new Error(`Cannot install moto: ${new TextDecoder().decode(pip.stderr)}`);
  }
  try {
    await Deno.rename(fresh, folder);
  } catch (error) {
    // Another test process was faster.
    await Deno.remove(fresh, { recursive: true });
    if (!await exists(folder)) throw error;
  }
  return folder;
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A port that nobody listens on now. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

async function waitForAnswer(endpoint: string, child: Deno.ChildProcess): Promise<void> {
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  let ended = false;
  child.status.then(() => ended = true);
  while (performance.now() < deadlineMs && !ended) {
    try {
      const response = await fetch(`${endpoint}/moto-api/`);
      await response.body?.cancel();
      if (response.ok) return;
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // not listening yet
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(ended ? "moto ended at its start" : "moto did not start in time");
}
