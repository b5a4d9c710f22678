# Functions of the io-replica scenarios, beside those of ublk_prelude.sh. $SHARE is the shared folder.
# The replica lies in the guest's memory unless REPLICA_ROOT says otherwise; saved copies it out.
. "$ROOT/tests/e2e/programs/ublk_prelude.sh"
REPLICA_ROOT=/run/replica

# formatted PRIMARY [OPTIONS]: formats it with a replica below REPLICA_ROOT.
formatted() {
  local line
  line=$(io format -f "$1" --replica "file://$REPLICA_ROOT" "${@:2}") || fail "format $1"
  UUID=${line##*/}
}

# added PRIMARY [OPTIONS]: starts device 0 on it.
added() {
  io add io-replica -n 0 -f "$1" --replica "file://$REPLICA_ROOT/$UUID" --uuid "$UUID" --quiet \
    --unix-socket /run/ioreplica "${@:2}" || fail "add $1"
}

stopped() {
  io stop -n 0 || fail stop
  gone "$1"
}

# stamped SECONDS SEED [ARGS]: stamped writes; their history goes to the shared folder.
stamped() {
  deno run -A --quiet --no-check "$ROOT/tests/e2e/programs/stamp_writer.ts" /dev/ublkb0 "$SHARE" \
    "$@" || fail stamp_writer
}

# saved: the replica as it stands, for the checks on the other side.
saved() { cp -r "$REPLICA_ROOT" "$SHARE/" || fail "copy the replica"; }

# equal PRIMARY: the exported replica is the primary's device, byte for byte.
equal() {
  io export --replica "file://$REPLICA_ROOT/$UUID" -o /run/exported.img --quiet || fail export
  cmp -n "$(stat -c %s /run/exported.img)" /run/exported.img "$1" || fail "replica differs from $1"
  rm /run/exported.img
  echo "equal: $2"
}

# peak_mib: greatest resident memory of the daemon so far, without the pages of the program's own file.
peak_mib() {
  awk '/VmHWM/ { peak = $2 } /RssFile/ { file = $2 } END { print int((peak - file) / 1024) }' \
    "/proc/$(daemon)/status"
}

# logging: waits until the daemon that was added last says that primary and replica are equal.
logging() {
  local log=/run/hyper-io-replica/$UUID.log
  for _ in $(seq 600); do
    awk '/Replica attached/ { ok = /startup=attached/ }
      /Replication mode/ { ok = /mode=logging$/ } END { exit !ok }' "$log" && return
    sleep .1
  done
  fail "no return to logging"
}

# dirty_regions PRIMARY: how many regions its dirty map names.
dirty_regions() { io inspect "$1" --json | sed -n 's/.*"setRegions": \([0-9]*\).*/\1/p' | head -n 1; }

# dirty_ranges PRIMARY: which ones, as rows of first and last: [[5,5],[9,10]].
dirty_ranges() {
  io inspect primary "$1" --json >/run/primary.json || return
  deno eval 'const { maps: [map] } = JSON.parse(await Deno.readTextFile("/run/primary.json"));
    console.log(JSON.stringify(map.setRanges.map((r) => [r.firstRegion, r.lastRegion])))'
}

# counter NAME: of device 0.
counter() { io stats -n 0 --json | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# log_ms PATTERN: time of the last line of the daemon's log that has it, milliseconds.
log_ms() {
  date -d "$(grep "$1" "/run/hyper-io-replica/$UUID.log" | tail -n 1 | cut -d ' ' -f 1)" +%s%3N
}
