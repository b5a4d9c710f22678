#!/bin/sh
# Gets Deno of the given version from npm into .deps/: tools/setup/deno.sh VERSION DIRECTORY.
# The npm package is only a launcher; the program is in the package of this platform.
set -eu
version=$1
into=$2
command -v npm >/dev/null || sh "$(dirname "$0")/apt.sh" npm
echo "setup: getting Deno $version from npm" >&2
rm -rf "$into/deno"
mkdir -p "$into/deno" "$into/bin"
npm install --prefix "$into/deno" --no-save --no-audit --no-fund --ignore-scripts --loglevel error \
  "deno@$version" >&2
program=$(find "$into/deno/node_modules/@deno" -name deno -type f | head -n 1)
"$program" --version >/dev/null
ln -sf "$program" "$into/bin/deno"
