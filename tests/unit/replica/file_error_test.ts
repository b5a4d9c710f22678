import { fileError } from "../../../src/replica/file_error.ts";
import { needsOperator } from "../../../src/replica/store_error.ts";
import { assert, assertEquals } from "../../support/assert.ts";

const DETAILS = { verb: "write", object: "file:///replica/inode", effect: "none" } as const;

function systemError(code: string, text: string): Error {
  return Object.assign(new Error(`${text} (os error 1): write '/replica/inode'`), { code });
}

Deno.test("fileError() names the reason and what to do", () => {
  const error = fileError(systemError("ENOSPC", "No space left on device"), DETAILS);
  assertEquals(error.message, "Cannot write file:///replica/inode: no space left on device");
  assertEquals([error.kind, error.context.code], ["unavailable", "ENOSPC"]);
  assert(needsOperator(error) && error.hint?.startsWith("Free space"));
});

Deno.test("fileError() tells what waiting heals from what the operator must do", () => {
  for (const code of ["ENOSPC", "EDQUOT", "EACCES", "EROFS"]) {
    assert(needsOperator(fileError(systemError(code, "x"), DETAILS)), code);
  }
  for (const code of ["EIO", "ESTALE", "EMFILE"]) {
    const error = fileError(systemError(code, "x"), DETAILS);
    assert(error.kind === "unavailable" && !needsOperator(error), code);
  }
  assertEquals(fileError(systemError("ENAMETOOLONG", "x"), DETAILS).kind, "usage");
});
