// Answers of a daemon of another version: each member that is missing or of another type is noticed.

import { assert, assertEquals, assertThrows } from "../../support/assert.ts";
import { EQUAL, STATUS } from "../../support/report_examples.ts";
import { type Form, MisfitError } from "../../../src/base/json_form.ts";
import {
  modeForm,
  pingForm,
  statsForm,
  statusForm,
  stopForm,
  verifyForm,
} from "../../../src/control/answer_forms.ts";
import type { StatusReport } from "../../../src/control/protocol.ts";

const FULL_STATUS: StatusReport = {
  ...STATUS,
  resync: { doneBytes: 1, pendingBytes: 2, bytesPerSecond: 0, remainingSeconds: null },
  verify: {
    stage: "waiting",
    comparedBytes: 1,
    pendingBytes: 2,
    differingBytes: 0,
    bytesPerSecond: 0.5,
    remainingSeconds: null,
  },
};
const SPAN = { offsetBytes: 4096, lengthBytes: 8192 };
const FULL_VERIFY = {
  ...EQUAL,
  differing: [SPAN],
  damaged: [{ ...SPAN, message: "missing" }],
  unreadable: [SPAN],
};

const ANSWERS: readonly [Form<unknown>, object][] = [
  [pingForm, { pid: 1, version: "0.1.0", device: null, uuid: null }],
  [modeForm, { mode: "paused", note: "" }],
  [statsForm, { takenMs: 1, counters: { reads: 1 } }],
  [statusForm, FULL_STATUS],
  [verifyForm, FULL_VERIFY],
  [stopForm, {}],
];

/** `value` with one of its members, at any depth, left out or of a type that none has; all such values. */
function* broken(value: unknown): Generator<unknown> {
  if (typeof value !== "object" || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    const others = Array.isArray(value) ? [] : [undefined];
    for (const wrong of [...others, () => "odd", ...broken(member)]) {
      const copy: unknown = Array.isArray(value) ? [...value] : { ...value };
      Object.assign(copy as object, { [key]: wrong });
      yield copy;
    }
  }
}

Deno.test("each answer fits its form, also with members that a newer daemon has", () => {
  for (const [form, answer] of ANSWERS) {
    assertEquals(form(answer, "result"), answer);
    form({ ...answer, newer: 1 }, "result");
  }
});

Deno.test("no answer fits with a member that is missing or of another type", () => {
  let count = 0;
  for (const [form, answer] of ANSWERS) {
    for (const wrong of [...broken(answer), null, [], 7]) {
      // A counter may be missing: new ones appear with any version.
      if (form === statsForm && JSON.stringify(wrong) === '{"takenMs":1,"counters":{}}') continue;
      assertThrows(() => form(wrong, "result"), MisfitError, "result");
      count++;
    }
  }
  assert(count > 100, String(count));
});

Deno.test("a misfit says where it is", () => {
  const answer = { ...FULL_VERIFY, differing: [SPAN, { ...SPAN, lengthBytes: "4096" }] };
  const where = "result.differing[1].lengthBytes is not a whole number";
  assertThrows(() => verifyForm(answer, "result"), MisfitError, where);
});
