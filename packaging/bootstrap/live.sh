#!/bin/bash
# Builds the live bootstrap: kernel, initrd and a squashfs that the initrd fetches and starts (boot=live). The same initrd
# serves boot=bedplate, the minimal bootstrap that never leaves it.
#
# The root directory comes out of mmdebstrap with the hook make-base.sh, which makes the initrd's base as well, and is cached.
# On a copy of it follow, with each build, live/customize.sh, live/agent.sh and live/deliver.sh. `bedplate-master bootstrap
# build` makes an image of the same scripts, for whoever has no repository of Bedplate.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"
# shellcheck source=packaging/bootstrap/parts.sh
. "$here/parts.sh"
# shellcheck source=packaging/bootstrap/live/packages.sh
. "$here/live/packages.sh"

KERNEL=${KERNEL:-generic}
VARIANT=${VARIANT:-full}
OUT=${OUT:-$repository/build/live-bootstrap}
AGENT=${AGENT:-${CARGO_TARGET_DIR:-$repository/target}/x86_64-unknown-linux-gnu/release/bedplate}
export BEDPLATE_INITRAMFS=$repository/initramfs BEDPLATE_VARIANT=$VARIANT

# Only real hardware wants firmware.
firmware() { [ "$KERNEL" = generic ] && echo firmware || echo plain; }

# The files that the root and the base of the initrd are made of.
root_inputs=(packaging/bootstrap/{make-base,parts,live/packages}.sh initramfs/hooks initramfs/initramfs.conf initramfs/modules)

build_root() {
    local result=$1 work=$1.new.$$ sources options
    sources=$(apt_sources "$(components_for "$(firmware)")")
    mapfile -t options < <(slimming | sed 's/^/--dpkgopt=/')
    say "building the live system of $DISTRO $SUITE with the $KERNEL kernel"
    rm -rf "$result".new.*
    mkdir -p "$work"
    # Without a moment of the caller's the root keeps that of its making, so that a build from the cache repeats it.
    SOURCE_DATE_EPOCH=$(build_epoch)
    export SOURCE_DATE_EPOCH
    printf '%s\n' "$SOURCE_DATE_EPOCH" >"$work/epoch"
    # INITRD=No: the kernel package would make an initrd for this root, which is not the one wanted. unshare: what is mounted
    # in the root of a build that is killed goes with it, before the next build removes that root.
    INITRD=No unshare --mount mmdebstrap --quiet --mode=root --variant=apt --format=directory --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="$(all_packages_of_live "$VARIANT")" \
        --aptopt='APT::Install-Recommends "false"' "${options[@]}" \
        --customize-hook="$here/make-base.sh \"\$1\" '$BEDPLATE_INITRAMFS' '$work' $(firmware)" \
        "$SUITE" "$work/root" ${sources:+-} <<<"$sources"
    publish "$result"
}

root_directory() {
    printf '%s/live-%s-%s-%s-%s-%s\n' "$(cache_dir)" "$DISTRO" "$SUITE" "$KERNEL" "$VARIANT" \
        "$(digest_of "$MIRROR" "${SOURCE_DATE_EPOCH:-}" "$(all_packages_of_live "$VARIANT")" -- "${root_inputs[@]}")"
}

# The UUID names what went in, so that equal builds have equal names: 32 digits of a digest, as a UUID of version 8.
uuid_of() {
    local digest
    digest=$({
        cat "$1/packages" "$1/epoch"
        digest_of -- packaging/bootstrap/live packaging/deb initramfs mcollective
        sha256sum <"$AGENT"
        [ -z "${SSH_AUTHORIZED_KEYS:-}" ] || cat "$SSH_AUTHORIZED_KEYS"
    } | sha256sum)
    printf '%s-%s-8%s-a%s-%s\n' "${digest:0:8}" "${digest:8:4}" "${digest:13:3}" "${digest:17:3}" "${digest:20:12}"
}

# The cached root stays as it is.
make_root() {
    local base=$1 work=$2
    say "packing the live system"
    cp -a --reflink=auto "$base/root" "$work/root"
    "$here/live/customize.sh" "$work/root"
    "$here/../deb/build.py" --agent "$AGENT" --out "$work/debs" --compression none >/dev/null
    BEDPLATE_DEBS=$work/debs "$here/live/agent.sh" "$work/root"
}

build() {
    local base=$1 work file
    work=$(mktemp -d "$(cache_dir)/live-work.XXXXXX")
    # shellcheck disable=SC2064 # the directory's name is wanted as it is now
    trap "rm -rf '$work'" EXIT
    # One and the same in all parts, whoever builds another meanwhile.
    install -m 0755 "$AGENT" "$work/bedplate"
    AGENT=$work/bedplate
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(cat "$base/epoch")}
    BEDPLATE_UUID=${BEDPLATE_UUID:-$(uuid_of "$base")}
    export AGENT SOURCE_DATE_EPOCH BEDPLATE_UUID BEDPLATE_SSH_KEYS=${SSH_AUTHORIZED_KEYS:-}
    make_root "$base" "$work"
    "$here/live/deliver.sh" "$work/root" "$base" "$work/files"
    mkdir -p "$OUT"
    # The metadata, which names the digests, come last.
    for file in vmlinuz initrd.img root.squashfs metadata.yaml; do
        cp "$work/files/$file" "$OUT/$file.new"
        mv "$OUT/$file.new" "$OUT/$file"
    done
}

report() {
    local file
    for file in vmlinuz initrd.img root.squashfs; do
        say "$OUT/$file: $(stat -c %s "$OUT/$file") bytes"
    done
    say "sha256 of root.squashfs: $(sha256sum <"$OUT/root.squashfs" | cut -d' ' -f1)"
}

main() {
    local base
    case $VARIANT in full | small) ;; *) die "VARIANT=$VARIANT is not known: full, small" ;; esac
    [ "$(id -u)" = 0 ] || die "needs root: it makes a root directory with its owners"
    [ -x "$AGENT" ] || die "$AGENT is missing: make static"
    choose_distribution
    base=$(root_directory)
    lock "live-$DISTRO-$SUITE-$KERNEL-$VARIANT"
    if [ -e "$base/epoch" ] && [ -z "${REFRESH:-}" ]; then
        say_cached "live system" "$base/epoch"
    else
        build_root "$base"
        forget_older "$(cache_dir)/live-$DISTRO-$SUITE-$KERNEL-$VARIANT-" "$base"
    fi
    build "$base"
    report
}

main
