// The demo ends in "demo: OK" on this machine; with a program whose export is broken it does not. The
// second kind of run takes place in a guest, whose kernel has ublk: there the demo runs natively, and
// whatever it leaves behind can be seen.

import { runGuest } from "../../tools/guest/guest.ts";
import { assert, assertEquals } from "../support/assert.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAM = `${ROOT}build/hyper-io-replica`;
const DEMO = ["run", "-A", "--quiet", "--cached-only", "--config", `${ROOT}deno.json`].concat(
  `${ROOT}tools/demo.ts`,
);

Deno.test("The demo copies files, finds them in the replica, and leaves nothing behind", async () => {
  const directory = await Deno.makeTempDir();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...DEMO, "--size", "24MiB"],
    env: { TMPDIR: directory },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, text + new TextDecoder().decode(stderr));
  assert(text.endsWith("\ndemo: OK\n"), text);
  for (const check of [/99\.\d+MiB, all the same/, /=> clean/, /\d{3} files, every SHA-256/]) {
    assert(check.test(text), text);
  }
  assertEquals([...Deno.readDirSync(directory)], []);
  await Deno.remove(directory, { recursive: true });
});

/** Exports well, then changes a few bytes of the image. */
const BROKEN_PROGRAM = `#!/bin/sh
${PROGRAM} "$@" || exit
[ "$1" != export ] || printf 'broken by a test' | dd of=restored.img bs=1 seek=5000000 conv=notrunc
`;

const FAILING_RUNS = `
mkdir /demos /output
export TMPDIR=/demos
demo() { exec "$DENO" ${DEMO.join(" ")} --size 8MiB --from ${ROOT}src "$@"; }
leavings() {
  ls -A /demos; ls /dev | grep ublkb; losetup --all; grep /demos /proc/mounts; pgrep -a deno
}

(demo --program "$BROKEN" >/output/broken)
echo "broken: exit code $?; left: $(leavings)"

demo >/output/interrupted & pid=$!
until grep -q "^4[.]" /output/interrupted || ! kill -0 $pid; do sleep 0.2; done
kill -INT $pid; wait $pid
echo "interrupted: exit code $?; left: $(leavings)"
cat /output/*
`;

Deno.test("The demo fails when the image differs, and cleans up then and when interrupted", async () => {
  const directory = await Deno.makeTempDir();
  const broken = `${directory}/hyper-io-replica`;
  await Deno.writeTextFile(broken, BROKEN_PROGRAM, { mode: 0o755 });
  const result = await runGuest({
    command: FAILING_RUNS,
    env: { BROKEN: broken, DENO: Deno.execPath() },
    modules: ["loop"],
    timeLimitMs: 600_000,
  });
  await Deno.remove(directory, { recursive: true });
  const text = result.stdout;
  const [first, second] = text.split("\n");
  assertEquals(first, "broken: exit code 1; left: ", text + result.stderr);
  assertEquals(second, "interrupted: exit code 130; left: ", text + result.stderr);
  assert(/restored\.img differ: (byte|char) 5000001/.test(text), text);
  assert(/\nThe end of the daemon's log:\n(.*\n)*.*Device stopped/.test(text), text);
  assert(/\ndemo: FAILED: step 8: cmp failed with exit code 1\n/.test(text), text);
  assert(/\ndemo: interrupted; everything it had made is gone\n/.test(text), text);
  assert(!text.includes("demo: OK"));
});
