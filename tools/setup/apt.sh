#!/bin/sh
# Installs the Debian packages named that are not installed yet; silent and quick when all are there.
set -eu
missing=
for package in "$@"; do
  case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || :) in
    installed) ;;
    *) missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "setup: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
  # shellcheck disable=SC2086 # a list of words
  $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1 </dev/null
}
# The lists on the machine may be old or absent.
install || { $sudo apt-get update -q >"$log" 2>&1 && install; } || {
  tail -n 20 "$log" >&2
  echo "setup: cannot install$missing" >&2
  exit 1
}
