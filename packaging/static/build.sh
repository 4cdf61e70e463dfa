#!/bin/bash
# Builds the release agent as one static file and proves that it is one.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"

target=x86_64-unknown-linux-gnu
agent=${CARGO_TARGET_DIR:-target}/$target/release/bedplate
size_limit=8000000

# The target is named, so that these flags reach the agent only: build scripts and procedural macros are
# loaded by the compiler and cannot be static.
build() {
    local libudev
    libudev=$("$here/libudev.sh")
    say "libudev.a: $(cat "$libudev/SOURCE"), $libudev"
    # Nothing unwinds: panics abort.
    RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no' \
        cargo build --locked --release --bin bedplate --features udev --target "$target" \
        --config "$libudev/cargo.toml"
}

prove_static() {
    local headers
    headers=$(readelf -lW "$agent")
    if grep -Eq '^ +(INTERP|DYNAMIC) ' <<<"$headers"; then
        die "$agent is not static: $(grep -Eo '^ +(INTERP|DYNAMIC)' <<<"$headers" | xargs)"
    fi
}

prove_small() {
    local size
    size=$(stat -c %s "$agent")
    [ "$size" -lt $size_limit ] || die "$agent has $size bytes, the limit is $size_limit"
    say "$agent: static, $size bytes"
}

prove_without_development_crates() {
    local crates
    crates=$(cargo tree --locked --edges normal --prefix none --features udev --target "$target" |
        grep -E '^(axum|tokio|hyper|tower|schemars)[a-z_-]* ' || true)
    [ -z "$crates" ] || die "crates of the master or of the schemas are in the agent: $(xargs <<<"$crates")"
}

prove_alone() {
    local root version
    root=$(mktemp -d)
    cp "$agent" "$root/bedplate"
    if [ "$(id -u)" = 0 ]; then
        version=$(chroot "$root" /bedplate --version) || version=
    else
        version=$(unshare --user --map-root-user chroot "$root" /bedplate --version) || version=
    fi
    rm -rf "$root"
    [ -n "$version" ] || die "$agent --version fails in an empty root directory"
    say "runs in an empty root directory: $version"
}

build
prove_static
prove_without_development_crates
prove_alone
prove_small
