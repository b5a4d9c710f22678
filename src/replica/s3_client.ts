// The AWS SDK's client, set up for long bodies and for retries that are ours:
// - one keep-alive agent and no "Expect: 100-continue", which would open a connection per PUT;
// - the body's hash in the signature only where the settings want it; the CRC32 is ours, too;
// - one attempt per call: retry_store.ts decides about the next;
// - the Date header of every answer, which the SDK drops, in its $metadata.
//
// Caller: s3_connection.ts.

import { Agent as HttpAgent, type AgentOptions, type ClientRequest } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { Duplex } from "node:stream";
import { createHash } from "node:crypto";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { invariant } from "../base/assert.ts";
import { usageError } from "../base/errors.ts";
import { BodyStream } from "./body_stream.ts";
import type { S3Options, S3Settings } from "./s3_settings.ts";

const CONNECTIONS_MAX = 32;
/** Shorter than servers keep idle connections: a request on one that is just closing gets lost. */
const CONNECTION_IDLE_MS = 4_000;

/** Header by which a call gives its body's SHA-256; "UNSIGNED-PAYLOAD" leaves it out. */
const CONTENT_HASH = "x-amz-content-sha256";

/**
 * Deno's node:http sends a request again by itself when a kept connection breaks under it
 * (canRetryRequest, Deno 2.9): a write could happen twice, and a streamed body is lost on the way so
 * that the call hangs. It does so only for requests that know that their connection was used before.
 */
class PlainAgent extends HttpAgent {
  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    super.reuseSocket(socket, request);
    request.reusedSocket = false;
  }
}

class TlsAgent extends HttpsAgent {
  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    super.reuseSocket(socket, request);
    request.reusedSocket = false;
  }
}

/** The SDK warns on the console of every failed upload; we report failures ourselves. */
const SILENT = { trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };

/** The parts of the SDK's request and response that the middleware here touches. */
interface WireRequest {
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}
interface WireResponse {
  readonly headers: Record<string, string>;
}

/** The store's clock in an answer's $metadata. */
export interface DatedMetadata {
  dateHeader?: string;
}

/** Makes the client; close it with destroy(). */
export function createS3Client(options: S3Options, settings: S3Settings): S3Client {
  const agent: AgentOptions = {
    keepAlive: true,
    maxSockets: CONNECTIONS_MAX,
    scheduling: "lifo",
    timeout: CONNECTION_IDLE_MS,
  };
  const ca = settings.caFile === undefined ? undefined : readAuthorities(settings.caFile);
  const config: S3ClientConfig = {
    endpoint: settings.endpoint,
    forcePathStyle: settings.pathStyle,
    credentials: options.credentials,
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      httpAgent: new PlainAgent(agent),
      httpsAgent: new TlsAgent({ ...agent, ca }),
      connectionTimeout: settings.connectTimeoutMs,
      socketAcquisitionWarningTimeout: 3_600_000,
    }),
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    expectContinueHeader: false,
    followRegionRedirects: false,
    logger: SILENT,
  };
  // A region that is undefined, not absent, would hide the one in the profile.
  if (settings.region !== undefined) config.region = settings.region;
  const client = new S3Client(config);
  addContentHash(client, settings.signPayload);
  addDate(client);
  return client;
}

function readAuthorities(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw usageError(`Cannot read the certificate authorities in ${path}`, {
      hint: "Check AWS_CA_BUNDLE: it must name a PEM file.",
      cause,
    });
  }
}

function addContentHash(client: S3Client, signPayload: boolean): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as WireRequest;
      if (!(CONTENT_HASH in request.headers)) {
        request.headers[CONTENT_HASH] = signPayload
          ? createHash("sha256").update(bodyBytes(request.body)).digest("hex")
          : "UNSIGNED-PAYLOAD";
      }
      return next(args);
    },
    { step: "build", priority: "low", name: "contentHash" },
  );
}

function bodyBytes(body: unknown): string | Uint8Array {
  if (body === undefined || body === null) return "";
  if (body instanceof BodyStream) return body.bytes;
  invariant(typeof body === "string" || body instanceof Uint8Array, "a body's bytes are at hand");
  return body;
}

function addDate(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const output = result.output as { $metadata?: DatedMetadata };
      const response = result.response as WireResponse;
      if (output.$metadata) output.$metadata.dateHeader = response.headers.date;
      return result;
    },
    { step: "deserialize", priority: "high", name: "dateHeader" },
  );
}

function ignore(): void {}
