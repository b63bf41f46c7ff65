#!/bin/sh
# Builds the program as one static binary for linux on amd64 or arm64 (this machine's, unless named), on either of them:
#   ops/static.sh [amd64|arm64]       prints where the binary is
# The libc is musl: a static glibc looks no name up in DNS without files beside it, and `--store redis://name` has to.
# Nothing is fetched but the target's part of std, by rustup; the linker comes with the compiler.
set -eu
cd "$(dirname "$0")/.."
case "${1:-$(uname -m)}" in
  amd64 | x86_64) target=x86_64-unknown-linux-musl ;;
  arm64 | aarch64) target=aarch64-unknown-linux-musl ;;
  *) echo "$0: write amd64 or arm64, not $1" >&2; exit 2 ;;
esac
rustup target add "$target" >&2
RUSTFLAGS="-C linker=rust-lld" cargo build --release --locked --target "$target" >&2
echo "${CARGO_TARGET_DIR:-target}/$target/release/streamer"
