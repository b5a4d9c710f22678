// What went wrong with an S3 request, in the terms of store_error.ts, with advice. Pure: from what
// the SDK threw to a ReplicaError.
//
// Invariant: `effect` is "none" only for failures that come before the server acts: no connection,
// no credentials, a request that was not sent whole, or a refusal with a code that says so. Any
// other 5xx and every lost answer is "unknown".
//
// Caller: s3_connection.ts.

import { ReplicaError, usageError } from "../base/errors.ts";
import { notS3Error } from "./s3_answer.ts";
import { closedError, type Effect, storeUnavailable } from "./store_error.ts";

/** What the failed request was about. */
export interface S3Call {
  /** Completes "Cannot <verb> <object>". */
  readonly verb: string;
  /** URI of the object or of the root. */
  readonly object: string;
  readonly bucket: string;
  /** "https://host" or "AWS", for messages. */
  readonly endpoint: string;
  readonly region: string | undefined;
}

/** The parts of the SDK's and of node's errors that are looked at. */
interface RawError {
  readonly name?: unknown;
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $response?: {
    readonly statusCode?: number;
    readonly headers?: Readonly<Record<string, string>>;
  };
}

interface Facts {
  readonly call: S3Call;
  readonly code: string;
  readonly status: number | undefined;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly bucketRegion: string | undefined;
  /** False when the request's body had not been handed over whole. */
  readonly sent: boolean;
  readonly cause: unknown;
}

const REFUSED_BEFORE_EFFECT: ReadonlySet<string> = new Set([
  "SlowDown",
  "TooManyRequestsException",
  "RequestTimeout",
  "BadDigest",
  "XAmzContentSHA256Mismatch",
  "XAmzContentChecksumMismatch",
  "IncompleteBody",
]);

/** Failures of the connection that come before any byte of the request was sent. */
const NOT_CONNECTED: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Check the endpoint's host and port, and that the server runs.",
  ENOTFOUND: "Check the endpoint's host name and this machine's DNS.",
  EAI_AGAIN: "Check this machine's DNS.",
  EHOSTUNREACH: "Check this machine's network.",
  ENETUNREACH: "Check this machine's network.",
  ConnectTimeout: "Check the endpoint's host and port, and the firewalls on the way.",
};

/** Refusals of keys; the last ones come with status 400. */
const KEY_HINTS: Readonly<Record<string, string>> = {
  InvalidAccessKeyId: "The access key is unknown there: check AWS_ACCESS_KEY_ID and the endpoint.",
  SignatureDoesNotMatch: "The secret does not belong to the access key: check both.",
  RequestTimeTooSkewed: "Set this machine's clock right.",
  ExpiredToken: "The session's credentials have ended: get new ones.",
  InvalidToken: "The session token is not valid: check AWS_SESSION_TOKEN.",
};

const STATUS_HINTS: Readonly<Record<number, string>> = {
  500: "The server failed; look into its log if this goes on.",
  503: "The server asks for fewer requests or is starting up.",
};

/** The ReplicaError for what `client.send` threw. */
export function s3Error(error: unknown, call: S3Call, options: { sent?: boolean } = {}) {
  if (error instanceof ReplicaError) return error;
  const facts = factsOf(error, call, options.sent ?? true);
  return credentialError(facts) ?? connectionError(facts) ?? refusal(facts) ?? lastResort(facts);
}

function factsOf(error: unknown, call: S3Call, sent: boolean): Facts {
  const raw: RawError = typeof error === "object" && error !== null ? error : {};
  const headers = raw.$response?.headers ?? {};
  const status = raw.$metadata?.httpStatusCode ?? raw.$response?.statusCode;
  const seconds = Number(headers["retry-after"]);
  return {
    call,
    code: codeOf(raw, status),
    status,
    reason: typeof raw.message === "string" && raw.message !== "" ? raw.message : String(error),
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
    bucketRegion: headers["x-amz-bucket-region"],
    sent,
    cause: error,
  };
}

function codeOf(raw: RawError, status: number | undefined): string {
  const name = typeof raw.name === "string" ? raw.name : "Unknown";
  if (status !== undefined) return name;
  const message = String(raw.message);
  if (/did not establish a connection/.test(message)) return "ConnectTimeout";
  const code = typeof raw.code === "string" ? raw.code : null;
  const text = `${message} ${(raw.cause as RawError | undefined)?.message ?? ""}`;
  if (/certificate|UnknownIssuer|self.signed|TLS|SSL|handshake/i.test(`${code} ${text}`)) {
    return "TLS";
  }
  return code ?? name;
}

function fail(facts: Facts, reason: string, details: {
  effect: Effect;
  hint?: string;
  operator?: boolean;
}): ReplicaError {
  const { call, code, status, retryAfterMs, cause } = facts;
  return storeUnavailable(`Cannot ${call.verb} ${call.object}: ${reason}`, {
    code,
    status,
    retryAfterMs,
    cause,
    ...details,
  });
}

function wrong(facts: Facts, reason: string, hint: string): ReplicaError {
  const { call, code, status, cause } = facts;
  return usageError(`Cannot ${call.verb} ${call.object}: ${reason}`, {
    hint,
    cause,
    // What the store answers may be another thing tomorrow: a daemon that was attached waits.
    context: { code, status, effect: "none", operator: status !== undefined },
  });
}

function credentialError(facts: Facts): ReplicaError | null {
  if (/^Region is missing/.test(facts.reason)) {
    return wrong(facts, "no region is known", "Set AWS_REGION, or AWS_ENDPOINT_URL for a server.");
  }
  if (!/^(CredentialsProviderError|TokenProviderError|ProviderError)$/.test(facts.code)) {
    return null;
  }
  return fail(facts, `no credentials (${facts.reason})`, {
    effect: "none",
    operator: true,
    hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
  });
}

function connectionError(facts: Facts): ReplicaError | null {
  if (facts.status !== undefined) return null;
  const { code, call } = facts;
  if (code === "TLS") {
    return fail(facts, `no trusted TLS connection to ${call.endpoint} (${facts.reason})`, {
      effect: "none",
      operator: true,
      hint: "Check that the endpoint speaks https, and set AWS_CA_BUNDLE for a private authority.",
    });
  }
  if (code in NOT_CONNECTED) {
    const hint = NOT_CONNECTED[code];
    return fail(facts, `no connection to ${call.endpoint} (${code})`, { effect: "none", hint });
  }
  return null;
}

function refusal(facts: Facts): ReplicaError | null {
  const { status, code, call } = facts;
  if (status === undefined) return null;
  if (code === "NoSuchBucket") {
    return fail(facts, `there is no bucket "${call.bucket}" on ${call.endpoint}`, {
      effect: "none",
      operator: true,
      hint: "Create the bucket, or check its name, the endpoint and the region.",
    });
  }
  if (status === 401 || status === 403 || KEY_HINTS[code] !== undefined) return forbidden(facts);
  if (status === 501 || code === "NotImplemented") {
    return wrong(
      facts,
      "the server does not implement it",
      "The replica needs a store with conditional writes (If-None-Match and If-Match).",
    );
  }
  if (status === 301 || status === 307 || facts.bucketRegion !== undefined && status === 400) {
    const region = facts.bucketRegion;
    const where = region === undefined ? "another region" : `region ${region}`;
    return wrong(
      facts,
      `the bucket is in ${where}, not in ${call.region ?? "the one asked for"}`,
      `Set AWS_REGION${region === undefined ? " to the bucket's region" : `=${region}`}.`,
    );
  }
  if (status === 429 || REFUSED_BEFORE_EFFECT.has(code)) {
    return fail(facts, `the server refused for now (${code})`, {
      effect: "none",
      hint: STATUS_HINTS[status],
    });
  }
  if (status >= 500) {
    return fail(facts, `the server failed (${status} ${code})`, {
      effect: facts.sent ? "unknown" : "none",
      hint: STATUS_HINTS[status],
    });
  }
  if (status >= 400) {
    // A refusal that we have no better word for. Keep trying: it may be a proxy's.
    return fail(facts, `the server refused (${status} ${code})`, { effect: "none" });
  }
  return null;
}

function forbidden(facts: Facts): ReplicaError {
  const { code, call, status } = facts;
  return fail(facts, `access denied (${status} ${code})`, {
    effect: "none",
    operator: true,
    hint: KEY_HINTS[code] ??
      `Give these credentials permission to list, get, put and delete in bucket "${call.bucket}".`,
  });
}

function lastResort(facts: Facts): ReplicaError {
  const { code, call, status, reason, cause } = facts;
  if (status !== undefined) {
    return notS3Error(`Cannot ${call.verb} ${call.object}: the answer is no S3`, { status, cause });
  }
  if (code === "AbortError") {
    return closedError(`Cannot ${call.verb} ${call.object}: aborted`, cause);
  }
  return fail(facts, `the connection to ${call.endpoint} broke (${code}: ${reason})`, {
    effect: facts.sent ? "unknown" : "none",
  });
}
