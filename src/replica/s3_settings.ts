// Where an S3 replica is and how to reach it: options over the standard AWS environment variables
// over defaults. Pure; the SDK client that follows from it is made in s3_client.ts.
//
// Callers: s3_client.ts, and the command line where it explains what it is going to use.

import { usageError } from "../base/errors.ts";

/** What the operator may say about S3; absent fields come from the environment. */
export type S3Config = Pick<S3Options, "endpoint" | "region" | "pathStyle">;

export interface S3Options {
  readonly bucket: string;
  /** Key of the replica root, without a slash at either end. May be empty. */
  readonly key: string;
  readonly endpoint?: string;
  readonly region?: string;
  /** True: http://host/bucket/key; false: http://bucket.host/key. */
  readonly pathStyle?: boolean;
  /**
   * Whether requests carry a SHA-256 of the body. Without it the body is protected by TLS and by a
   * CRC32 that the server verifies, at a fifth of the CPU time.
   */
  readonly signPayload?: boolean;
  /** PEM file of the authorities that sign the endpoint's certificate. */
  readonly caFile?: string;
  /** Instead of the AWS default chain. */
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
  /** Limit for making a connection. */
  readonly connectTimeoutMs?: number;
  /** Limit for a request that makes no progress in either direction. */
  readonly idleTimeoutMs?: number;
  /**
   * The slowest line that is still waited for while the system's buffers, which hide the progress
   * of an upload's last megabytes, drain.
   */
  readonly slowestBytesPerSecond?: number;
}

export interface S3Settings {
  /** Undefined: AWS itself, by region. */
  readonly endpoint: string | undefined;
  /** Undefined: left to the SDK, which also reads ~/.aws/config. */
  readonly region: string | undefined;
  readonly pathStyle: boolean;
  readonly signPayload: boolean;
  readonly caFile: string | undefined;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly slowestBytesPerSecond: number;
}

export type Environment = (name: string) => string | undefined;

const CONNECT_TIMEOUT_MS = 10_000;
const IDLE_TIMEOUT_MS = 30_000;
const SLOWEST_BYTES_PER_SECOND = 64 * 1024;
/** What servers other than AWS expect when they don't care. */
const REGION_OF_CUSTOM_ENDPOINTS = "us-east-1";
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Settles every choice about the connection; throws a usage error on an endpoint that is no URL. */
export function resolveS3Settings(options: S3Options, env: Environment): S3Settings {
  const endpoint = options.endpoint ?? environmentEndpoint(env);
  const url = endpoint === undefined ? null : parseEndpoint(endpoint);
  const region = options.region ?? (env("AWS_REGION") || env("AWS_DEFAULT_REGION") || undefined);
  return {
    endpoint,
    region: region ?? (url && REGION_OF_CUSTOM_ENDPOINTS) ?? undefined,
    pathStyle: options.pathStyle ?? url !== null,
    signPayload: options.signPayload ?? (url !== null && needsSignature(url)),
    caFile: options.caFile ?? (env("AWS_CA_BUNDLE") || undefined),
    connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    idleTimeoutMs: options.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
    slowestBytesPerSecond: options.slowestBytesPerSecond ?? SLOWEST_BYTES_PER_SECOND,
  };
}

function environmentEndpoint(env: Environment): string | undefined {
  if (env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")?.toLowerCase() === "true") return undefined;
  return env("AWS_ENDPOINT_URL_S3") || env("AWS_ENDPOINT_URL") || undefined;
}

function parseEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === "") return url;
  // The text is not repeated: it might hold a password.
  throw usageError("Cannot use the S3 endpoint: it is not an http or https URL", {
    hint: "Write for example https://s3.example.com or http://127.0.0.1:9000, without a user name.",
  });
}

/** Plain http beyond this machine: nothing but the signature protects the body on its way. */
function needsSignature(url: URL): boolean {
  return url.protocol === "http:" && !LOOPBACK.test(url.hostname);
}
