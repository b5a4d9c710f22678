import { assertEquals } from "../../support/assert.ts";
import { countTests, failuresIn } from "../../../tools/junit.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="4" failures="1" errors="0" time="0.011">
    <testsuite name="./tests/a_test.ts" tests="4" disabled="0" errors="0" failures="1">
        <testcase name="fine" classname="./tests/a_test.ts" time="0.001" line="1" col="6">
        </testcase>
        <testcase name="a &amp; b" classname="./tests/a_test.ts" time="0.001" line="1" col="6">
            <failure message="Uncaught">Error: 1 &lt; 2

    at file:///tests/a_test.ts:1:34</failure>
        </testcase>
        <testcase name="left out" classname="./tests/a_test.ts" time="0" line="1" col="6">
            <skipped/>
        </testcase>
        <testcase name="fine, too" classname="./tests/a_test.ts" time="0.001" line="1" col="6">
        </testcase>
    </testsuite>
</testsuites>`;

Deno.test("a report of tests counts what passed and failed, and tells why", () => {
  assertEquals(countTests(REPORT), { passed: 2, failed: 1 });
  assertEquals(failuresIn(REPORT), [{
    file: "./tests/a_test.ts",
    name: "a & b",
    text: "Error: 1 < 2\n    at file:///tests/a_test.ts:1:34",
  }]);
  assertEquals([countTests(""), failuresIn("")], [{ passed: 0, failed: 0 }, []]);
});
