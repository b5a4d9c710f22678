// The file store on a local directory, and what only it promises: crashes and several processes.

import { FileStore } from "../../src/replica/file_store.ts";
import { testObjectStoreContract } from "./object_store_contract.ts";

testObjectStoreContract("FileStore", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hir-store-" });
  return {
    connect: () => FileStore.open({ path: `${folder}/root`, access: "create" }),
    async putNeighbour() {
      const neighbour = await FileStore.open({ path: `${folder}/root-2`, access: "create" });
      await neighbour.put("inode", []);
      await neighbour.close();
    },
    dispose: () => Deno.remove(folder, { recursive: true }),
  };
});
