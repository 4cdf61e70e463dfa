#!/bin/bash
# Collects what firmware loads over the network: the distribution's signed shim and GRUB, and iPXE. Under the names by
# which they ask for each other, for the folder `loaders/` of the master.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

OUT=${OUT:-$repository/build/loaders}
packages=(shim-signed grub-efi-amd64-signed ipxe)

# FILE SOURCE..: the first source that a release has. Debian keeps shim's tool in a package of its own, which shim-signed
# asks for.
files=(
    'shimx64.efi usr/lib/shim/shimx64.efi.signed usr/lib/shim/shimx64.efi.signed.latest'
    'mmx64.efi usr/lib/shim/mmx64.efi.signed usr/lib/shim/mmx64.efi'
    'grubx64.efi usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed'
    'ipxe.efi usr/lib/ipxe/ipxe.efi boot/ipxe.efi'
    'snponly.efi usr/lib/ipxe/snponly.efi'
    'undionly.kpxe usr/lib/ipxe/undionly.kpxe'
)

# GRUB has to fetch each node's script from the master, and under Secure Boot it loads no module: HTTP must be built in.
# Debian's signed GRUB has it from this release on, whatever the host's is; it verifies kernels by Debian's one key.
first_suite_with_http=trixie

choose_suite() {
    [ "${DISTRO:-$(host_family)}" != debian ] || : "${SUITE:=$first_suite_with_http}"
    choose_distribution
}

# The packages are unpacked and not installed: their scripts would set up the boot of a machine.
unpack() {
    local sources
    sources=$(apt_sources "$(components_for plain)")
    mmdebstrap --quiet --mode=root --variant=extract --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="${packages[*]}" --aptopt='APT::Install-Recommends "false"' \
        "$SUITE" "$1" ${sources:+-} <<<"$sources"
}

take() {
    local root=$1 result=$2 line name source package
    for line in "${files[@]}"; do
        read -r name source <<<"$line"
        for source in $source none; do
            [ -e "$root/$source" ] && break
        done
        [ "$source" != none ] || die "the packages of $DISTRO $SUITE have no $name"
        install -m 0644 "$root/$source" "$result/$name"
    done
    grep -q 'HTTP/1' "$result/grubx64.efi" ||
        die "the signed GRUB of $DISTRO $SUITE cannot fetch by HTTP: name a later SUITE"
    for package in "${packages[@]}"; do
        zcat "$root/usr/share/doc/$package"/changelog*.gz | head -n 1
    done >"$result/packages"
}

build() {
    local result=$1 root
    say "collecting boot loaders of $DISTRO $SUITE"
    root=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory's name is wanted as it is now
    trap "rm -rf '$root' '$result.new.$$'" EXIT
    rm -rf "$result".new.*
    mkdir -p "$result.new.$$"
    unpack "$root"
    take "$root" "$result.new.$$"
    publish "$result"
}

main() {
    local result
    choose_suite
    result=$(cache_dir)/loaders-$DISTRO-$SUITE-$(digest_of "$MIRROR" -- packaging/loaders)
    lock "loaders-$DISTRO-$SUITE"
    if [ -e "$result/packages" ] && [ -z "${REFRESH:-}" ]; then
        say_cached "boot loaders" "$result/packages"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build "$result"
        forget_older "$(cache_dir)/loaders-$DISTRO-$SUITE-" "$result"
    fi
    mkdir -p "$OUT"
    cp "$result"/* "$OUT/"
    say "$OUT: $(cut -d';' -f1 "$result/packages" | paste -sd, | sed 's/,/, /g')"
}

main
