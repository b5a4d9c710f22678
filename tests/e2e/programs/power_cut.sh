# One boot of a device whose power is cut again and again: what a restart must give, then load until
# the next cut. Variables: BOOT, QUEUES, CHECKPOINT (a disk with the newest checkpoint of the last cut),
# ADD_OPTIONS, DEVICE_BYTES, AREA_MIB, SEED, LAST. Tells the other side how far it is through $GUEST_EVENTS.
. "$ROOT/tests/e2e/programs/replica_prelude.sh"
REPLICA_ROOT=/run/disk/replica

# The port takes one writer at a time.
say() { until { echo "$*" >"$GUEST_EVENTS"; } 2>/dev/null; do sleep .05; done; }

fail() {
  say "FAILED: $*"
  echo "FAILED: $*"
  cat /run/hyper-io-replica/*.log 2>/dev/null | tail -n 30
  exit 1
}

# synced_files: files that are on the disk for certain, with their sums on the other side.
synced_files() {
  local n
  for n in $(seq 10000); do
    head -c $((RANDOM * 2 + 1)) /dev/urandom >"$BOOT.$n" || fail "write $BOOT.$n"
    sync "$BOOT.$n" || fail "sync $BOOT.$n"
    sha256sum "$BOOT.$n" >>"$SHARE/sums" || fail "sum of $BOOT.$n"
  done
}

# verified_load: fio writes and verifies until the power goes.
verified_load() {
  while :; do
    fio --name=load --directory=/run/m --size=8M --rw=randwrite --bsrange=4k-64k --blockalign=4k \
      --ioengine=io_uring --iodepth=8 --direct=1 --verify=crc32c --do_verify=1 --verify_fatal=1 \
      --fsync=8 --output=/run/fio.log || fail "fio: $(tail -n 5 /run/fio.log)"
  done
}

mkdir /run/disk /run/m
mount "$DISK1" /run/disk || fail "mount the replica's disk"
if [ -n "$CHECKPOINT" ]; then
  mount "$DISK2" /run/m || fail "mount the newest checkpoint"
  umount /run/m || fail "umount the newest checkpoint"
fi
if [ "$BOOT" = 1 ]; then
  formatted "$DISK0" --region-size 1MiB --device-size "$DEVICE_BYTES"
  echo "$UUID" >"$SHARE/uuid"
fi
UUID=$(cat "$SHARE/uuid")
say adding
added "$DISK0" -q "$QUEUES" --pool-size 16MiB $ADD_OPTIONS
say added
logging
cp -r "$REPLICA_ROOT/$UUID" "$SHARE/equal" || fail cp
say "equal $(sed -n 's/.*startup="\?\([a-z-]*\).*/\1/p' "/run/hyper-io-replica/$UUID.log" | tail -n 1)"
until [ -e "$SHARE/go-$BOOT" ]; do sleep .1; done

mount /dev/ublkb0 /run/m || fail "mount the device"
cd /run/m || fail cd
[ ! -e "$SHARE/sums" ] || sha256sum --quiet -c "$SHARE/sums" || fail "a file that was synced is lost"
if [ -n "$LAST" ]; then
  cd /run
  umount /run/m || fail "umount the device"
  stopped "the end"
  exit
fi
synced_files &
verified_load &
deno run -A --quiet --no-check "$ROOT/tests/e2e/programs/stamp_writer.ts" /dev/ublkb0 \
  "$SHARE/stamps-$BOOT" 600 "$SEED" 8 2 16 "$AREA_MIB" live &
until [ -s "$SHARE/stamps-$BOOT/synced-0.bin" ]; do sleep .1; done
say loading
wait
fail "the load ended"
