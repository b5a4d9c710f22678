// Records, numbers and flags of src/ublk/uapi.ts, src/ublk/ring.ts and ffi/liburing.ts against the
// installed C headers, as a compiled C program sees them. What a header is too old to know is left
// out by the preprocessor; the test then says how much it compared.
//
// UAPI_INCLUDE=/dir compares with other headers than the system's (a newer linux-libc-dev, extracted).

import { IoUring, IoUringParams } from "../../ffi/liburing.ts";
import type { StructRow } from "../../src/base/struct.ts";
import { Cqe, Sqe } from "../../src/ublk/ring.ts";
import * as ring from "../../src/ublk/ring.ts";
import * as uapi from "../../src/ublk/uapi.ts";
import { assert, assertEquals } from "../support/assert.ts";

const INCLUDES = `
#include <stdio.h>
#include <stddef.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#define FIELD(s, f, name) printf(name " %zu %zu\\n", offsetof(s, f), sizeof(((s *)0)->f))
#define SIZE(s, name) printf(name " %zu\\n", sizeof(s))
#define NUMBER(x) printf(#x " %llu\\n", (unsigned long long)(x))
`;

/** Fields whose C name is not the snake case of ours; null: no such field in C. */
const C_NAMES: Readonly<Record<string, string | null>> = {
  "ublksrv_ctrl_cmd.data0": "data",
  "ublksrv_io_desc.nrSectors": "nr_sectors",
  "ublk_params.attrs": "basic.attrs",
  "ublk_params.logicalBsShift": "basic.logical_bs_shift",
  "ublk_params.physicalBsShift": "basic.physical_bs_shift",
  "ublk_params.ioOptShift": "basic.io_opt_shift",
  "ublk_params.ioMinShift": "basic.io_min_shift",
  "ublk_params.maxSectors": "basic.max_sectors",
  "ublk_params.chunkSectors": "basic.chunk_sectors",
  "ublk_params.devSectors": "basic.dev_sectors",
  "ublk_params.virtBoundaryMask": "basic.virt_boundary_mask",
  "ublk_params.discardAlignment": "discard.discard_alignment",
  "ublk_params.discardGranularity": "discard.discard_granularity",
  "ublk_params.maxDiscardSectors": "discard.max_discard_sectors",
  "ublk_params.maxWriteZeroesSectors": "discard.max_write_zeroes_sectors",
  "ublk_params.maxDiscardSegments": "discard.max_discard_segments",
  "ublk_params.reserved0": "discard.reserved0",
  "ublk_params.charMajor": "devt.char_major",
  "ublk_params.charMinor": "devt.char_minor",
  "ublk_params.diskMajor": "devt.disk_major",
  "ublk_params.diskMinor": "devt.disk_minor",
  "ublk_params.tail": null,
  "io_uring_sqe.opFlags": "rw_flags",
  "io_uring_sqe.cmd": "addr3",
  "io_uring_sqe.cmd2": "__pad2",
  "io_uring_cqe.flags": "flags",
  "io_uring_params.sqHead": "sq_off.head",
  "io_uring_params.sqTail": "sq_off.tail",
  "io_uring_params.sqRingMask": "sq_off.ring_mask",
  "io_uring_params.sqRingEntries": "sq_off.ring_entries",
  "io_uring_params.sqFlags": "sq_off.flags",
  "io_uring_params.sqDropped": "sq_off.dropped",
  "io_uring_params.sqArray": "sq_off.array",
  "io_uring_params.sqResv1": "sq_off.resv1",
  // The last field of both offset records has had two names.
  "io_uring_params.sqUserAddr": null,
  "io_uring_params.cqHead": "cq_off.head",
  "io_uring_params.cqTail": "cq_off.tail",
  "io_uring_params.cqRingMask": "cq_off.ring_mask",
  "io_uring_params.cqRingEntries": "cq_off.ring_entries",
  "io_uring_params.cqOverflow": "cq_off.overflow",
  "io_uring_params.cqCqes": "cq_off.cqes",
  "io_uring_params.cqFlags": "cq_off.flags",
  "io_uring_params.cqResv1": "cq_off.resv1",
  "io_uring_params.cqUserAddr": null,
};

/** Fields that headers older than the one they came with do not have: compared under #ifdef. */
const NEWER_FIELDS: readonly (readonly [RegExp, string])[] = [
  [/^ublksrv_ctrl_cmd\.(devPathLen|pad|reserved)$/, "UBLK_F_UNPRIVILEGED_DEV"],
  [/^ublksrv_ctrl_dev_info\.owner/, "UBLK_F_UNPRIVILEGED_DEV"],
  [/^ublksrv_ctrl_cmd\.data0$/, "UBLK_F_UNPRIVILEGED_DEV"],
  [/^ublksrv_ctrl_dev_info\.reserved/, "UBLK_F_UNPRIVILEGED_DEV"],
  [/^ublk_params\.(char|disk)M/, "UBLK_PARAM_TYPE_DEVT"],
];

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** liburing's two nested rings: sqKhead is sq.khead, ringFd is ring_fd. */
function liburingName(field: string): string | null {
  const known: Record<string, string | null> = {
    sqRingSize: "sq.ring_sz",
    cqRingSize: "cq.ring_sz",
    sqPad: null,
    cqPad: null,
  };
  if (field in known) return known[field];
  const nested = /^(sq|cq)([A-Z].*)$/.exec(field);
  if (!nested) return snake(field);
  return `${nested[1]}.${snake(nested[2]).slice(1)}`;
}

function fieldLines(record: { name: string; rows: readonly StructRow[] }): string[] {
  return record.rows.flatMap((row) => {
    const key = `${record.name}.${row.field}`;
    const name = record.name === "io_uring"
      ? liburingName(row.field)
      : key in C_NAMES
      ? C_NAMES[key]
      : snake(row.field);
    if (name === null) return [];
    const line = `FIELD(struct ${record.name}, ${name}, "${key}");`;
    const since = NEWER_FIELDS.find(([pattern]) => pattern.test(key))?.[1];
    return since ? [`#ifdef ${since}`, line, "#endif"] : [line];
  });
}

async function runC(lines: readonly string[]): Promise<Map<string, string>> {
  const directory = await Deno.makeTempDir();
  try {
    const source = `${INCLUDES}int main(void) {\n${lines.join("\n")}\nreturn 0; }\n`;
    await Deno.writeTextFile(`${directory}/probe.c`, source);
    const include = Deno.env.get("UAPI_INCLUDE");
    const options = include ? [`-I${include}`, `-I${include}/x86_64-linux-gnu`] : [];
    await output("cc", [...options, "-o", `${directory}/probe`, `${directory}/probe.c`]);
    const text = await output(`${directory}/probe`, []);
    return new Map(
      text.trim().split("\n").map((line) => {
        const space = line.indexOf(" ");
        return [line.slice(0, space), line.slice(space + 1)];
      }),
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function output(command: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

const RECORDS = [
  uapi.CtrlCmd,
  uapi.CtrlDevInfo,
  uapi.IoDesc,
  uapi.IoCmd,
  uapi.Params,
  Sqe,
  Cqe,
  IoUring,
  IoUringParams,
];

Deno.test("records have the offsets and sizes that C gives them", async () => {
  const sizes = RECORDS.filter((record) => record !== uapi.Params)
    .map((record) => `SIZE(struct ${record.name}, "${record.name}");`);
  const answers = await runC([...sizes, ...RECORDS.flatMap(fieldLines)]);
  for (const record of RECORDS) {
    if (record !== uapi.Params) {
      assertEquals(answers.get(record.name), `${record.size}`, record.name);
    }
    for (const row of record.rows) {
      const answer = answers.get(`${record.name}.${row.field}`);
      if (answer === undefined) continue;
      // Only the first words of C's arrays have fields here.
      const [offset] = answer.split(" ");
      assertEquals(offset, `${row.offset}`, `${record.name}.${row.field}`);
    }
  }
  assert(answers.size > 80, `${answers.size} offsets and sizes were compared`);
});

function numberLines(names: readonly string[]): string[] {
  // Enumerators are not macros: #ifdef tells nothing about them, and all of them are old.
  return names.flatMap((name) =>
    /^IORING_OP_/.test(name)
      ? [`NUMBER(${name});`]
      : [`#ifdef ${name}`, `NUMBER(${name});`, "#endif"]
  );
}

Deno.test("numbers and flags are the header's", async () => {
  const ours = new Map<string, bigint>();
  for (const [name, value] of [...Object.entries(uapi), ...Object.entries(ring)]) {
    if (/^(UBLK|IORING|IOSQE|RWF)/.test(name) && typeof value !== "object") {
      ours.set(name, BigInt(value as number | bigint));
    }
  }
  const answers = await runC(numberLines([...ours.keys()]));
  for (const [name, value] of ours) {
    const answer = answers.get(name);
    if (answer !== undefined) assertEquals(BigInt.asIntN(64, BigInt(answer)), value, name);
  }
  assert(answers.size > 45, `${answers.size} numbers were compared`);
});

Deno.test("ioctl-encoded commands are the header's, where it has them", async () => {
  const ours = new Map<string, number>();
  for (const [name, nr] of Object.entries(uapi)) {
    if (typeof nr !== "number") continue;
    const control = /^UBLK_CMD_(.*)$/.exec(name);
    if (control) ours.set(`UBLK_U_CMD_${control[1]}`, uapi.encodedCtrlCommand(nr));
    const io = /^UBLK_IO_(FETCH_REQ|COMMIT_AND_FETCH_REQ)$/.exec(name);
    if (io) ours.set(`UBLK_U_IO_${io[1]}`, uapi.encodedIoCommand(nr));
  }
  // A header from before the encoding still says how it is made.
  const check = [
    "_IOWR('u', UBLK_CMD_ADD_DEV, struct ublksrv_ctrl_cmd)",
    "_IOR('u', UBLK_CMD_GET_DEV_INFO, struct ublksrv_ctrl_cmd)",
    "_IOWR('u', UBLK_IO_FETCH_REQ, struct ublksrv_io_cmd)",
  ];
  const named = check.map((text, i) => `printf("made${i} %llu\\n", (unsigned long long)${text});`);
  const answers = await runC([...named, ...numberLines([...ours.keys()])]);
  assertEquals(answers.get("made0"), `${ours.get("UBLK_U_CMD_ADD_DEV")}`);
  assertEquals(answers.get("made1"), `${ours.get("UBLK_U_CMD_GET_DEV_INFO")}`);
  assertEquals(answers.get("made2"), `${ours.get("UBLK_U_IO_FETCH_REQ")}`);
  for (const [name, value] of ours) {
    const answer = answers.get(name);
    if (answer !== undefined) assertEquals(answer, `${value}`, name);
  }
});

Deno.test("feature names stand at the bits of their flags", () => {
  const flags = uapi as unknown as Record<string, bigint>;
  for (const { name, bit } of uapi.FEATURES) {
    assertEquals(flags[`UBLK_F_${name}`], 1n << BigInt(bit), name);
  }
});
