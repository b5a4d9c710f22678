import { MemoryStore } from "../support/memory_store.ts";
import { testObjectStoreContract } from "./object_store_contract.ts";

testObjectStoreContract("MemoryStore", () => {
  const objects = new Map();
  return Promise.resolve({
    connect: () => Promise.resolve(new MemoryStore({ objects })),
    dispose: () => Promise.resolve(),
  });
});
