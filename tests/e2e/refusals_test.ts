// What add, del, status and stop refuse on a real kernel: each case has its exit code and message, and
// leaves nothing behind - no device, no state file, no socket, no daemon, an unchanged replica.

import { assertEquals } from "../support/assert.ts";
import { IS_SOAK } from "../support/soak.ts";
import type { RefusalAttempt, RefusalStep } from "../support/refusals_in_guest.ts";
import { runGuest } from "../../tools/guest/guest.ts";

const IO = new URL("../../build/hyper-io-replica", import.meta.url).pathname;
const PROGRAM = new URL("../support/refusals_in_guest.ts", import.meta.url).pathname;

/** A step, and for attempts how they must end. */
type Case = RefusalStep & { readonly code?: number; readonly part?: string };

async function refuse(cases: readonly Case[]): Promise<void> {
  const { stdout, stderr, exitCode } = await runGuest({
    command: ["deno", "run", "-A", "--quiet", PROGRAM, JSON.stringify(cases)],
    env: { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" },
  });
  assertEquals(exitCode, 0, stderr);
  const attempts: RefusalAttempt[] = JSON.parse(stdout);
  assertEquals(cases.flatMap((one) => "name" in one ? wrongIn(one, attempts) : []), []);
}

/** What is wrong with the attempt of a case: nothing, or a text. */
function wrongIn(one: Case & { name: string }, attempts: readonly RefusalAttempt[]): string[] {
  const attempt = attempts.find(({ name }) => name === one.name);
  if (attempt === undefined) return [`${one.name}: not tried`];
  const { code, stdout, stderr, changes } = attempt;
  const good = code === one.code && stdout === "" && changes.length === 0 &&
    /^(.*\n)*hyper-io-replica: error: Cannot /.test(stderr) && stderr.includes(one.part ?? "");
  return good ? [] : [`${one.name}: ${code} instead of ${one.code}\n${stdout}${stderr}${changes}`];
}

Deno.test("add refuses replicas that are not the primary's, damaged or out of reach", async () => {
  const add = ["add", "io-replica", "-f", "p.img", "--foreground", "--quiet", "--uuid", "$UUID"];
  const at = (name: string, root: string, code: number, part: string): Case => ({
    name,
    argv: [...add, "--replica", `${root}/$UUID`],
    code,
    part,
  });
  const damage = (sh: string): Case => ({ sh: `cp -a saved/. r/$UUID/; cd r/$UUID; ${sh}` });
  const s3 = [...add, "--replica", "s3://bucket/$UUID", "--s3-endpoint", "http://127.0.0.1:1"];
  await refuse([
    {
      sh: `truncate -s 64M p.img
        ${IO} format -f p.img --replica file://$DIR/r
        basename r/* >uuid; cp -a r/$(cat uuid) saved; mkdir -p empty/$(cat uuid)`,
    },
    at("no directory", "file://$DIR/none", 2, "there is no such directory"),
    at("empty directory", "file://$DIR/empty", 3, ""),
    damage("rm inode"),
    at("no inode", "file://$DIR/r", 2, "there is no inode"),
    damage("truncate -s 100 inode"),
    at("short inode", "file://$DIR/r", 3, "inode"),
    damage("head -c 160 /dev/urandom >inode"),
    at("alien inode", "file://$DIR/r", 3, "inode"),
    damage("echo '{\"format\":1}' >device.json"),
    at("alien card", "file://$DIR/r", 3, "device.json"),
    damage("sed -i 's/\\(uuid.*\\)[0-9a-f]\\{4\\}\"/\\1beef\"/' device.json"),
    at("card of another device", "file://$DIR/r", 3, "device.json names device"),
    damage("sed -i 's/createdMs\": 1/createdMs\": 2/' device.json"),
    at("card of another format", "file://$DIR/r", 3, "disagree"),
    damage("rm device.json"),
    at("no card", "file://$DIR/r", 3, "it has no device.json"),
    damage("true"),
    // A start is patient for 45 seconds.
    ...IS_SOAK ? [{ name: "S3 does not answer", argv: s3, code: 4, part: "127.0.0.1:1" }] : [],
    { name: "interrupted", argv: s3, interruptMs: 1000, code: 130, part: "" },
  ]);
});

Deno.test("add, del and stop refuse what is taken, and say what the machine lacks", async () => {
  await refuse([
    {
      sh: `truncate -s 64M p.img q.img; touch file
        ${IO} add loop -f p.img -n 2 --unix-socket $DIR/s --quiet`,
    },
    {
      name: "number",
      argv: ["add", "null", "-n", "2", "--foreground"],
      code: 2,
      part: "the number is taken",
    },
    {
      name: "socket",
      argv: ["add", "null", "--unix-socket", "s", "--foreground"],
      code: 2,
      part: "(/dev/ublkb2) answers on it",
    },
    {
      name: "primary",
      argv: ["add", "loop", "-f", "p.img", "--foreground"],
      code: 2,
      part: "it is in use",
    },
    {
      name: "mode without a replica",
      argv: ["mode", "set", "pause", "--unix-socket", "s"],
      code: 4,
      part: "Cannot set the mode: the device has no replica",
    },
    {
      name: "comparison without a replica",
      argv: ["verify", "--unix-socket", "s"],
      code: 4,
      part: "Cannot compare: the device has no replica",
    },
    { name: "no such device", argv: ["del", "-n", "3"], code: 2, part: "there is no such device" },
    {
      name: "file for a socket",
      argv: ["status", "--unix-socket", "q.img"],
      code: 4,
      part: "nobody listens on the socket",
    },
    {
      name: "no capability",
      command: ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"].concat(
        `${IO} add null --foreground`.split(" "),
      ),
      code: 6,
      part: "Run as root",
    },
    { sh: `${IO} stop --unix-socket $DIR/s; rmmod ublk_drv` },
    { name: "module", argv: ["add", "null"], code: 6, part: "modprobe ublk_drv" },
    { name: "features", argv: ["features"], code: 6, part: "Cannot open /dev/ublk-control" },
  ]);
});
