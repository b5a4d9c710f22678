// A process that writes to a file store until it is told to end or is killed. Arguments: the root,
// the mode, and for races the number of rounds.
//
//   churn ROOT          replaces "inode" and adds segments for ever; prints a line per acknowledgement
//   race ROOT ROUNDS    takes part in ROUNDS creations and replacements; prints what it won
//
// Caller: tests/conformance/file_store_process_test.ts.

import { FileStore } from "../../src/replica/file_store.ts";
import { pattern, stored } from "../conformance/object_store_contract.ts";

const [mode, path, rounds = "0"] = Deno.args;
const encoder = new TextEncoder();

function say(line: string): void {
  Deno.stdout.writeSync(encoder.encode(`${line}\n`));
}

/** A body whose first bytes tell its number, so that a reader can check the rest. */
export function numbered(number: number): Uint8Array {
  const body = pattern(50_000 + (number % 7) * 300_000, number);
  new DataView(body.buffer).setUint32(0, number);
  return body;
}

async function churn(): Promise<void> {
  const store = await FileStore.open({ path, access: "write" });
  for (let number = 1;; number++) {
    say(`try ${number}`);
    stored(await store.put(String(number).padStart(10, "0"), [numbered(number)]));
    stored(await store.put("inode", [numbered(number)]));
    say(`done ${number}`);
  }
}

async function race(): Promise<void> {
  const store = await FileStore.open({ path, access: "write" });
  say("ready");
  for (let round = 0; round < Number(rounds); round++) {
    const key = `round-${round}`;
    const me = encoder.encode(`${Deno.pid} `.repeat(2_000));
    const created = await store.put(key, [me], { condition: { absent: true } });
    if (created.stored) say(`created ${round}`);
    // A counter that is only right if every replacement saw the one before.
    while (true) {
      const body = await store.get("counter");
      if (body === null) {
        if (
          (await store.put("counter", [new Uint8Array(1)], { condition: { absent: true } })).stored
        ) {
          break;
        }
        continue;
      }
      const next = new Uint8Array(body.size + 1);
      if ((await store.put("counter", [next], { condition: { etag: body.etag } })).stored) break;
    }
  }
  await store.close();
}

if (import.meta.main) await (mode === "race" ? race() : churn());
