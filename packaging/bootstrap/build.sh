#!/bin/bash
# Builds the bootstrap: kernel and initrd in which a node is provisioned.
#
# The base (kernel, tools, modules) comes out of a throw-away root directory of the distribution and is cached.
# The overlay (agent, boot script, keys) is a second archive behind the first in one file; the kernel unpacks
# both, the later over the earlier. So a changed agent costs seconds.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"
# shellcheck source=packaging/bootstrap/parts.sh
. "$here/parts.sh"

KERNEL=${KERNEL:-generic}
OUT=${OUT:-$repository/build/bootstrap}
AGENT=${AGENT:-${CARGO_TARGET_DIR:-$repository/target}/x86_64-unknown-linux-gnu/release/bedplate}
# A guest has as little memory as this allows, and emulation unpacks slowly.
cloud_limit=30000000

# Only real hardware wants firmware.
variant() { [ "$KERNEL" = generic ] && echo firmware || echo plain; }

# The files that the base is made of; the rest of initramfs/ is in the overlay.
base_inputs=(packaging/bootstrap/{build,make-base,parts}.sh initramfs/hooks initramfs/initramfs.conf initramfs/modules)

build_base() {
    local base=$1 sources
    sources=$(apt_sources "$(components_for "$(variant)")")
    say "building the base of $DISTRO $SUITE with the $KERNEL kernel"
    rm -rf "$base".new.*
    mkdir -p "$base.new.$$"
    # INITRD=No: the kernel package would make an initrd for this root, which is not the one wanted.
    INITRD=No mmdebstrap --quiet --mode=root --variant=apt --format=null --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="$(kernel_package) $(busybox_package) ${tools[*]}" \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook="$here/make-base.sh \"\$1\" '$repository/initramfs' '$base.new.$$' $(variant)" \
        "$SUITE" - ${sources:+-} <<<"$sources"
    publish "$base"
}

base_directory() {
    printf '%s/bootstrap-%s-%s-%s-%s\n' "$(cache_dir)" "$DISTRO" "$SUITE" "$KERNEL" \
        "$(digest_of "$MIRROR" "${tools[@]}" -- "${base_inputs[@]}")"
}

assemble() {
    local base=$1 root
    [ -x "$AGENT" ] || die "$AGENT is missing: make static"
    root=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory's name is wanted as it is now
    trap "rm -rf '$root'" EXIT
    lay_overlay "$root"
    mkdir -p "$OUT"
    make_overlay "$root" >"$root.overlay"
    cat "$base/initrd.img" "$root.overlay" >"$OUT/initrd.img.new"
    rm "$root.overlay"
    mv "$OUT/initrd.img.new" "$OUT/initrd.img"
    cp "$base/vmlinuz" "$OUT/vmlinuz"
}

report() {
    local base=$1 size
    size=$(stat -c %s "$OUT/initrd.img")
    say "$OUT/vmlinuz: $(stat -c %s "$OUT/vmlinuz") bytes"
    say "$OUT/initrd.img: $size bytes, the agent and its files $((size - $(stat -c %s "$base/initrd.img"))) of them"
    if [ -s "$base/firmware-missing" ]; then
        say "firmware that these modules can ask for, and that no package here has:"
        sed 's/^/    /' "$base/firmware-missing" >&2
    fi
    [ "$KERNEL" != cloud ] || [ "$size" -lt $cloud_limit ] ||
        die "the initrd with the cloud kernel is larger than $cloud_limit bytes"
}

main() {
    local base
    choose_distribution
    base=$(base_directory)
    lock "bootstrap-$DISTRO-$SUITE-$KERNEL"
    if [ -e "$base/initrd.img" ] && [ -z "${REFRESH:-}" ]; then
        say_cached base "$base/initrd.img"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build_base "$base"
        forget_older "$(cache_dir)/bootstrap-$DISTRO-$SUITE-$KERNEL-" "$base"
    fi
    assemble "$base"
    report "$base"
}

main
