#!/usr/bin/env bash
# Builds the program as it is released, and prints its path:
#
#   deploy/build.sh TREE TARGET_DIR
#
# Nothing of this machine is in it, so that the same tree gives the same bytes elsewhere. Compilers write paths into
# messages of panics, assertions and debug information. OpenSSL also keeps the options of its compiler and the directory
# that it is built for. So the build sees its directories behind links with fixed names, and C compilers get their
# options from a wrapper.
set -euo pipefail
mkdir -p "$2"
place=/tmp/s1-forwarder-build
mkdir "$place" 2>/dev/null ||
    { echo "$place exists: another build runs, or was interrupted; then remove it" >&2; exit 1; }
trap 'rm -rf "$place"' EXIT

rust_options=() c_options=()
link() {
    local path
    path=$(realpath "$2")
    ln -s "$path" "$place/$1"
    rust_options+=("--remap-path-prefix=$path=/$1" "--remap-path-prefix=$place/$1=/$1")
    c_options+=("-ffile-prefix-map=$path=/$1" "-ffile-prefix-map=$place/$1=/$1")
}
link source "$1"
link target "$2"
link cargo "${CARGO_HOME:-$HOME/.cargo}"
for compiler in cc c++; do
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$(command -v "$compiler")" "${c_options[*]}" >"$place/$compiler"
    chmod +x "$place/$compiler"
done

SOURCE_DATE_EPOCH=$(git -C "$1" log -1 --format=%ct)
S1_FORWARDER_REVISION=$(git -C "$1" rev-parse --short=7 HEAD)
export SOURCE_DATE_EPOCH S1_FORWARDER_REVISION CARGO_INCREMENTAL=0
export CARGO_HOME=$place/cargo CARGO_TARGET_DIR=$place/target RUSTFLAGS="${rust_options[*]}"
export CC=$place/cc CXX=$place/c++
cargo build --locked --quiet --release --bin s1-forwarder --manifest-path "$place/source/Cargo.toml"
echo "$(realpath "$2")/release/s1-forwarder"
