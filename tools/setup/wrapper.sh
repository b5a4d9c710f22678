#!/bin/sh
# hyper-io-replica, run from the checkout. Written by make; works from any directory.
root=@ROOT@
export DENO_DIR="$root/.deps/deno-dir" DENO_NO_UPDATE_CHECK=1
exec "$root/.deps/bin/deno" run -A --no-prompt --cached-only --config "$root/deno.json" \
  "$root/main.ts" "$@"
