#!/bin/bash
# Process 1 of the guest. The root is the host's, read-only over virtiofs; this makes it writable by
# an overlay in memory, mounts what a system needs, runs the job's command and reports its exit code.
# The job (see job.ts) is a directory of the host, named on the kernel's command line.
set -u
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022

if [ "${1:-}" != stage2 ]; then
  mount -n -t proc proc /proc
  read -r cmdline </proc/cmdline
  job=${cmdline#*guest.job=}
  job=${job%% *}
  . "$job/settings"
  insmod "$job_modules_path/kernel/fs/overlayfs/overlay.ko"
  # /mnt is only a place that every system has; the old root is detached below.
  mount -t tmpfs -o mode=755,size=90% tmpfs /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
  cd /mnt/root || exit 1
  mount -n --move /proc proc
  mount -n --move /dev dev 2>/dev/null || mount -t devtmpfs dev dev
  pivot_root . mnt
  exec chroot . /bin/bash "$job/init" stage2 "$job"
fi

job=$2
. "$job/settings"
umount -l /mnt
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/shm /dev/pts /run/lock
mount -t tmpfs shm /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
ip link set lo up

modules=/usr/lib/modules/$job_release
mkdir -p "$modules"
mount --bind "$job_modules_path" "$modules"
[ -z "$job_modules" ] || modprobe -a $job_modules

if [ -n "$job_network" ]; then
  ip link set eth0 up
  ip address add 10.0.2.15/24 dev eth0
  ip route add default via 10.0.2.2
fi
if [ -n "$job_share" ]; then
  mkdir -p "$job_share"
  mount -t virtiofs share "$job_share"
  export GUEST_SHARE=$job_share
fi

# There is no udev: the links by name are made here.
mkdir -p /dev/disk/by-id /dev/virtio-ports
n=0
for name in $job_disks; do
  for block in /sys/block/vd* /sys/block/nvme*n1; do
    for file in "$block/serial" "$block/device/serial"; do
      [ -f "$file" ] || continue
      read -r serial <"$file"
      [ "$serial" = "$name" ] || continue
      ln -s "/dev/${block##*/}" "/dev/disk/by-id/$name"
      export "DISK$n=/dev/${block##*/}"
    done
  done
  n=$((n + 1))
done
for port in /sys/class/virtio-ports/*; do
  read -r name <"$port/name"
  ln -s "/dev/${port##*/}" "/dev/virtio-ports/$name"
done
export GUEST=1 GUEST_EVENTS=/dev/virtio-ports/events

cd "$job_cwd" || cd /
exec 9>/dev/virtio-ports/control
echo ready >&9
if [ -n "$job_shell" ]; then
  stty $job_shell </dev/hvc0
  setsid --ctty bash -i </dev/hvc0 >/dev/hvc0 2>&1 9>&-
  code=$?
else
  # Ports can be opened only once; pipes let the command reopen /dev/stdout as often as it likes.
  mkfifo /run/stdout /run/stderr
  cat /run/stdout >/dev/virtio-ports/stdout 9>&- & out=$!
  cat /run/stderr >/dev/virtio-ports/stderr 9>&- & err=$!
  bash "$job/command" </dev/null >/run/stdout 2>/run/stderr 9>&-
  code=$?
  # A daemon left behind keeps the pipes open: give what is in them a moment, then go on.
  sleep 1 & timer=$!
  while kill -0 $timer 2>/dev/null && { kill -0 $out || kill -0 $err; } 2>/dev/null; do
    wait -n $out $err $timer 2>/dev/null
  done
fi
# A device whose server is gone may never finish its writes; the guest ends all the same.
sync & sync=$!
sleep 20 & timer=$!
wait -n $sync $timer
kill -0 $sync 2>/dev/null && echo stuck >&9
echo "exit $code" >&9
# The host cuts the power when it has read that.
while :; do sleep 60; done
