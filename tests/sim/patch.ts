// Replacing code under test for the time of a world, for planted bugs.

import type { ObjectStore } from "../../src/replica/object_store.ts";

/** Replaces members of a prototype; gives what puts them back. */
export function replace<T extends object>(prototype: T, members: Partial<T>): () => void {
  const before = Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(([name]) => name in members);
  Object.assign(prototype, members);
  return () => {
    for (const [name, property] of before) Object.defineProperty(prototype, name, property);
  };
}

/** `store` with another put(). */
export function withPut(store: ObjectStore, put: ObjectStore["put"]): ObjectStore {
  return {
    uri: store.uri,
    head: (key, options) => store.head(key, options),
    get: (key, options) => store.get(key, options),
    put,
    list: (options) => store.list(options),
    delete: (key, options) => store.delete(key, options),
    close: () => store.close(),
  };
}
