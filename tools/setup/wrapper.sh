#!/bin/sh
# hyper-io-replica, bundled from the checkout by make; works from any directory.
root=@ROOT@
export DENO_DIR="$root/build/cache" DENO_NO_UPDATE_CHECK=1
exec "$root/.deps/bin/deno" run -A --no-prompt --quiet --cached-only --no-config \
  "$root/build/lib/main.js" "$@"
