# Functions of the ublk scenarios, sourced by the commands that run in a guest. $ROOT is the project.
set -u
cd /run

io() { "$ROOT/build/hyper-io-replica" "$@"; }

fail() {
  echo "FAILED: $*"
  cat /run/hyper-io-replica/*.log 2>/dev/null | tail -n 30
  exit 1
}

# daemon: pid of the one daemon that runs.
daemon() { pgrep -f -- --report-ready; }

# gone WHAT: waits until no trace of device 0 is left in /dev and sysfs.
gone() {
  local path
  for _ in $(seq 100); do
    for path in /dev/ublkb0 /dev/ublkc0 /sys/block/ublkb0 /sys/class/ublk-char/ublkc0; do
      [ -e "$path" ] && { sleep .1; continue 2; }
    done
    echo "gone: $1"
    return
  done
  fail "$1: device 0 is still there: $(ls -d /dev/ublk* /sys/block/ublk* 2>&1)"
}

# queues NUMBER: device 0 has so many, as it was asked for.
queues() { [ "$(ls /sys/block/ublkb0/mq | wc -l)" = "$1" ] || fail "not $1 queues"; }

queue() { cat "/sys/block/ublkb0/queue/$1"; }

# verified DIR: fio writes and verifies random blocks of 4k to 512k with fsyncs in between.
verified() {
  fio --name=verify --directory="$1" --size=16M --rw=randwrite --bsrange=4k-512k --blockalign=4k \
    --ioengine=io_uring --iodepth=16 --direct=1 --verify=crc32c --do_verify=1 --verify_fatal=1 \
    --fsync=16 --end_fsync=1 --randseed=7 --output=/run/fio.log ||
    { cat /run/fio.log; fail "fio verify on $1"; }
}

# exercise: a file system on device 0 with verified writes and discards; prints the sum of its files.
exercise() {
  mkfs.ext4 -q -E discard /dev/ublkb0 || fail mkfs
  mkdir -p /run/m
  mount -o discard /dev/ublkb0 /run/m || fail mount
  verified /run/m
  dd if=/dev/urandom of=/run/m/trimmed bs=1M count=8 oflag=direct status=none
  sync
  rm /run/m/trimmed
  fstrim /run/m || fail fstrim
  dd if=/dev/urandom of=/run/m/kept bs=1M count=4 conv=fsync status=none
  cat /run/m/* 2>/dev/null | sha256sum | cut -c 1-64 >/run/sum
  umount /run/m || fail umount
  fsck.ext4 -fn /dev/ublkb0 >/run/fsck.log 2>&1 || { cat /run/fsck.log; fail fsck; }
}

# same WHERE [OPTIONS]: what the primary holds now is what the device held.
same() {
  mount "${@:2}" "$1" /run/m || fail "mount $1"
  local sum
  sum=$(cat /run/m/* 2>/dev/null | sha256sum | cut -c 1-64)
  umount /run/m
  [ "$sum" = "$(cat /run/sum)" ] || fail "$1 differs from the device"
  echo "same: $1"
}
