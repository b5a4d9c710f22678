# Functions of the io-replica scenarios, beside those of ublk_prelude.sh. $SHARE is the shared folder.
# The replica lies in the guest's memory, where a commit is fast, and is copied out by saved.
. "$ROOT/tests/e2e/programs/ublk_prelude.sh"

# formatted PRIMARY [OPTIONS]: formats it with a replica in the shared folder.
formatted() {
  local line
  line=$(io format -f "$1" --replica "file:///run/replica" "${@:2}") || fail "format $1"
  UUID=${line##*/}
}

# added PRIMARY [OPTIONS]: starts device 0 on it.
added() {
  io add io-replica -n 0 -f "$1" --replica "file:///run/replica/$UUID" --uuid "$UUID" --quiet \
    --unix-socket /run/ioreplica "${@:2}" || fail "add $1"
}

# stamped SECONDS SEED [ARGS]: stamped writes; their history goes to the shared folder.
stamped() {
  deno run -A --quiet --no-check "$ROOT/tests/e2e/programs/stamp_writer.ts" /dev/ublkb0 "$SHARE" \
    "$@" || fail stamp_writer
}

# saved: the replica as it stands, for the checks on the other side.
saved() { cp -r /run/replica "$SHARE/" || fail "copy the replica"; }
