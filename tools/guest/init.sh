#!/bin/bash
# Process 1 of the guest. The root is the host's, read-only over virtiofs; this makes it writable by
# an overlay in memory, mounts what a system needs, runs the job's command and reports its exit code.
# The job (see job.ts) is a directory of the host; the kernel passes guest_job= on as a variable.
# A process costs 40 ms under emulation, so one mount, one modprobe, one ip do the work of many.
set -u
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
. "$guest_job/settings"

if [ "${1:-}" != stage2 ]; then
  insmod "$job_modules_path/kernel/fs/overlayfs/overlay.ko"
  # /mnt is only a place that every system has; the old root is detached below.
  mount -n -t tmpfs -o mode=755,size=90% tmpfs /mnt
  mkdir /mnt/upper /mnt/work /mnt/root
  mount -n -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
  cd /mnt/root || exit 1
  pivot_root . mnt
  exec chroot . /bin/bash "$guest_job/init" stage2
fi

mount -n -t proc proc /proc
{
  echo "sys /sys sysfs"
  echo "dev /dev devtmpfs"
  echo "run /run tmpfs mode=755"
  echo "shm /dev/shm tmpfs X-mount.mkdir"
  echo "pts /dev/pts devpts ptmxmode=666,X-mount.mkdir"
  echo "cgroup /sys/fs/cgroup cgroup2"
  echo "debug /sys/kernel/debug debugfs"
  echo "$job_modules_path /usr/lib/modules/$job_release none bind,X-mount.mkdir"
  [ -z "$job_share" ] || echo "share $job_share virtiofs X-mount.mkdir"
} >/etc/fstab
mount -a
umount -l /mnt
[ -z "$job_modules" ] || modprobe -a $job_modules

{
  echo "link set lo up"
  if [ -n "$job_network" ]; then
    echo "link set eth0 up"
    echo "address add 10.0.2.15/24 dev eth0"
    echo "route add default via 10.0.2.2"
  fi
} | ip -batch -

# There is no udev: the links are made here.
ln -s /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
mkdir -p /dev/disk/by-id /run/lock
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
declare -A port_of
for port in /sys/class/virtio-ports/*; do
  [ -f "$port/name" ] || continue # the console of a shell has none
  read -r name <"$port/name"
  port_of[$name]=/dev/${port##*/}
done
export GUEST=1 GUEST_EVENTS=${port_of[events]} GUEST_SHARE=$job_share

cd "$job_cwd" || cd /
exec 9>"${port_of[control]}"
echo ready >&9
if [ -n "$job_shell" ]; then
  # The terminal forgets its size when nobody has it open.
  setsid --ctty bash -c "stty $job_shell; exec bash -i" </dev/hvc0 >/dev/hvc0 2>&1 9>&-
  code=$?
else
  # Ports can be opened only once; pipes let the command reopen /dev/stdout as often as it likes.
  mkfifo /run/stdout /run/stderr
  cat /run/stdout >"${port_of[stdout]}" 9>&- & out=$!
  cat /run/stderr >"${port_of[stderr]}" 9>&- & err=$!
  bash "$guest_job/command" </dev/null >/run/stdout 2>/run/stderr 9>&-
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
