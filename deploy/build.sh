#!/usr/bin/env bash
# Builds the program as it is released, and prints its path:
#
#   deploy/build.sh TREE TARGET_DIR
#
# Nothing of this machine is in it, so that the same tree gives the same bytes elsewhere: Rust and C write paths into
# messages of panics and assertions, and into debug information.
set -euo pipefail
tree=$(realpath "$1")
mkdir -p "$2"
target=$(realpath "$2")
cargo_home=${CARGO_HOME:-$HOME/.cargo}
SOURCE_DATE_EPOCH=$(git -C "$tree" log -1 --format=%ct)
S1_FORWARDER_REVISION=$(git -C "$tree" rev-parse --short=7 HEAD)
export SOURCE_DATE_EPOCH S1_FORWARDER_REVISION CARGO_INCREMENTAL=0
export CARGO_TARGET_DIR=$target
export RUSTFLAGS="--remap-path-prefix=$tree=/source --remap-path-prefix=$target=/target --remap-path-prefix=$cargo_home=/cargo"
export CFLAGS="-ffile-prefix-map=$tree=/source -ffile-prefix-map=$target=/target -ffile-prefix-map=$cargo_home=/cargo"
export CXXFLAGS=$CFLAGS
cargo build --locked --quiet --release --bin s1-forwarder --manifest-path "$tree/Cargo.toml"
echo "$target/release/s1-forwarder"
