// An S3 server that forgets what it is given: answers the requests of an upload at once, so that the
// client's own speed is measured. Small objects (the inode) are kept. Prints its port, then serves
// until its standard input ends.

const KEPT_BYTES = 64 * 1024;
const kept = new Map<string, { bytes: Uint8Array; etag: string }>();
let etags = 0;

function xml(body: string): Response {
  return new Response(`<?xml version="1.0" encoding="UTF-8"?>${body}`, {
    headers: { "content-type": "application/xml" },
  });
}

async function post(request: Request, url: URL): Promise<Response> {
  await request.body?.cancel();
  if (url.searchParams.has("uploads")) {
    return xml(
      `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`,
    );
  }
  return xml(
    `<CompleteMultipartUploadResult><ETag>"${++etags}"</ETag></CompleteMultipartUploadResult>`,
  );
}

async function put(request: Request, url: URL): Promise<Response> {
  const etag = `"${++etags}"`;
  const length = Number(request.headers.get("content-length") ?? NaN);
  if (length <= KEPT_BYTES) {
    kept.set(url.pathname, { bytes: await request.bytes(), etag });
  } else if (request.body) {
    for await (const _ of request.body);
  }
  return new Response(null, { headers: { etag } });
}

function get(url: URL, isHead: boolean): Response {
  const object = kept.get(url.pathname);
  if (object === undefined) return new Response(null, { status: 404 });
  return new Response(isHead ? null : object.bytes.slice(), {
    headers: {
      etag: object.etag,
      "content-length": String(object.bytes.length),
      "last-modified": new Date().toUTCString(),
    },
  });
}

function handle(request: Request): Response | Promise<Response> {
  const url = new URL(request.url);
  if (request.method === "PUT") return put(request, url);
  if (request.method === "POST") return post(request, url);
  return get(url, request.method === "HEAD");
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => {
    Deno.stdout.writeSync(new TextEncoder().encode(`${port}\n`));
  },
}, handle);
for await (const _ of Deno.stdin.readable);
await server.shutdown();
