// The S3 store on a real S3 server.

import { S3Store } from "../../src/replica/s3_store.ts";
import { startS3Server } from "../support/s3_server.ts";
import { testObjectStoreContract } from "./object_store_contract.ts";

const server = await startS3Server();
globalThis.addEventListener("unload", () => server.stop());

function noEnvironment(): undefined {}

testObjectStoreContract("S3Store", async () => {
  const root = await server.createRoot();
  return {
    connect: () => Promise.resolve(new S3Store({ ...root, env: noEnvironment })),
    async putNeighbour() {
      const neighbour = new S3Store({ ...root, key: `${root.key}-2`, env: noEnvironment });
      await neighbour.put("inode", []);
      await neighbour.close();
    },
    dispose: () => Promise.resolve(),
  };
});

testObjectStoreContract("S3Store with signed bodies", async () => {
  const root = await server.createRoot({ signPayload: true, key: "x" });
  return {
    connect: () => Promise.resolve(new S3Store({ ...root, env: noEnvironment })),
    dispose: () => Promise.resolve(),
  };
});
