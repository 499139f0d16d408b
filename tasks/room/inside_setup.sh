#!/bin/sh
# The project's setup starts through this: pnpm and yarn are what corepack makes of package.json's `packageManager`.
kept=/work/.lockgate
bin=$kept/bin
export PATH="$PATH:$bin" COREPACK_HOME=$kept/corepack YARN_GLOBAL_FOLDER=$kept/yarn GOMODCACHE=$kept/go CARGO_HOME=$kept/cargo
if command -v corepack >/dev/null; then
    mkdir -p "$bin" && corepack enable --install-directory "$bin" pnpm yarn
fi
exec "$@"
