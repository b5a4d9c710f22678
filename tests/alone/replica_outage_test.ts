// A replica on S3 that vanishes under full write load: packets go out, nothing comes back.

import { assert, assertEquals } from "../support/assert.ts";
import { startFaultProxy } from "../support/fault_proxy.ts";
import { replicaGuest } from "../support/replica_guest.ts";
import { startS3Server } from "../support/s3_server.ts";
import { scaled } from "../support/soak.ts";

const POOL_MIB = 32;
const OVERHEAD_MIB = 150;
/** Of what the same load has while the replica answers. */
const LATENCY_FACTOR = 2;

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly write: { readonly clat_ns: { readonly percentile: Readonly<Record<string, number>> } };
  }[];
}

const server = await startS3Server();
const proxy = startFaultProxy({ targetPort: server.port });
/** Every connection to it turns the black hole on or off. */
const control = Deno.listen({ hostname: "127.0.0.1", port: 0 });
void (async () => {
  for await (const connection of control) {
    proxy.blackHole = !proxy.blackHole;
    connection.close();
  }
})();
addEventListener("unload", () => {
  control.close();
  proxy.stop();
  server.stop();
});

function p99Us(lines: readonly string[], name: string): number {
  const line = lines.find((one) => one.startsWith(`${name} `)) ?? "";
  const report: FioReport = JSON.parse(line.slice(name.length));
  assertEquals(report.jobs.map(({ error }) => error), [0], `${name}: no I/O error`);
  return report.jobs[0].write.clat_ns.percentile["99.000000"] / 1000;
}

/** The replica comes back under a load that it can bear, and the mode does while that load goes on. */
const HEALS_UNDER_LOAD =
  `fio --name=heal --filename=/dev/ublkb0 --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=2 \\
      --direct=1 --time_based --runtime=600 --rate_iops=40 --output=/run/heal.log &
    heal=$!
    switch_hole
    for try in $(seq 60); do [ "$(mode)" = logging ] && break; sleep 2; done
    [ "$(mode)" = logging ] || { io status -n 0; io stats -n 0; cat /run/hyper-io-replica/*.log; fail "no logging"; }
    kill -0 $heal || fail "the load has ended before"
    echo "mode $(mode)"
    kill -INT $heal
    wait $heal
    grep -q "err= 0" /run/heal.log || fail "fio: $(cat /run/heal.log)"`;

Deno.test("a replica in a black hole costs the guest nothing, and is equal after it", async () => {
  const seconds = scaled(12, 300);
  const { bucket, credentials } = await server.createRoot();
  const root = `s3://${bucket}/outage`;
  await replicaGuest(
    `
    through="--s3-endpoint http://10.0.2.2:${proxy.port}"
    direct="--s3-endpoint http://10.0.2.2:${server.port}"
    switch_hole() { exec 3<>/dev/tcp/10.0.2.2/${(control.addr as Deno.NetAddr).port}; exec 3>&-; }
    load() {
      fio --name=load --filename=/dev/ublkb0 --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 \\
        --direct=1 --time_based --runtime="$2" --output-format=json --output=/run/fio.json ||
        fail "fio $1"
      echo "$1 $(sed -n '/^{/,$p' /run/fio.json | tr -d '\\n')"
    }
    mode() { io status -n 0 --json | sed -n 's/.*"mode": *"\\([^"]*\\)".*/\\1/p'; }
    line=$(io format -f "$DISK0" --replica ${root} $direct) || fail format
    uuid=\${line##*/}
    io add io-replica -n 0 -f "$DISK0" --replica ${root}/$uuid --uuid $uuid $through --quiet \\
      --unix-socket /run/ioreplica --pool-size ${POOL_MIB}MiB || fail add
    load warm 4 >/dev/null
    load healthy 6
    for try in $(seq 60); do [ "$(mode)" = logging ] && break; sleep 2; done
    [ "$(mode)" = logging ] || { io status -n 0; io stats -n 0; cat /run/hyper-io-replica/*.log; fail "never logging"; }
    switch_hole
    load outage ${seconds}
    echo "mode $(mode)"
    cno=$(io inspect ${root}/$uuid $direct --json | grep -o '"lastCno": *[0-9]*' | head -1 | grep -o '[0-9]*$')
    io export --replica ${root}/$uuid $direct -o /run/during.img --quiet || fail "export during"
    rm /run/during.img
    ${HEALS_UNDER_LOAD}
    echo "peak $(peak_mib)"
    stopped "after the outage"
    io export --replica ${root}/$uuid $direct -o /run/exported.img --quiet || fail export
    cmp -n "$(stat -c %s /run/exported.img)" /run/exported.img "$DISK0" || fail "replica differs"
    io export --replica ${root}/$uuid $direct --at "$cno" -o /run/then.img --quiet || fail "export --at"
    echo equal`,
    ({ lines }) => {
      const healthyUs = p99Us(lines, "healthy");
      const outageUs = p99Us(lines, "outage");
      const peakMib = Number(lines.find((line) => line.startsWith("peak"))?.slice(5));
      // deno-lint-ignore no-console -- the figures are what a soak is for
      console.log(`p99 ${outageUs} us, before ${healthyUs} us; ${peakMib} MiB`);
      assert(outageUs <= LATENCY_FACTOR * healthyUs, `p99 ${outageUs} us, before ${healthyUs} us`);
      assertEquals(lines.filter((line) => line.startsWith("mode")), [
        "mode forward-part",
        "mode logging",
      ]);
      assert(peakMib <= POOL_MIB + OVERHEAD_MIB, `the daemon took ${peakMib} MiB`);
      assertEquals(lines.at(-1), "equal");
    },
    {
      primaryMib: scaled(24, 64),
      cpus: 2,
      network: true,
      env: {
        AWS_ACCESS_KEY_ID: credentials?.accessKeyId ?? "",
        AWS_SECRET_ACCESS_KEY: credentials?.secretAccessKey ?? "",
      },
      timeLimitMs: (seconds + 500) * 1000,
    },
  );
});
