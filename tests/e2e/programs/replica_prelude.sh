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
