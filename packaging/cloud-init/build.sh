#!/bin/bash
# Builds the root directory in which config drives are read by the real cloud-init. Cached; its path is printed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

packages=(cloud-init python3-jsonschema netplan.io iproute2 udev kmod mount)

build() {
    local result=$1 sources options=() directory
    sources=$(apt_sources "$(components_for plain)")
    for directory in doc man info locale lintian bug; do
        options+=("--dpkgopt=path-exclude=/usr/share/$directory/*")
    done
    say "building a root directory of $DISTRO $SUITE with cloud-init"
    rm -rf "$result".new.*
    mkdir -p "$result.new.$$"
    mmdebstrap --quiet --mode=root --variant=apt --format=directory --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="${packages[*]}" \
        --aptopt='APT::Install-Recommends "false"' "${options[@]}" \
        "$SUITE" "$result.new.$$/root" ${sources:+-} <<<"$sources"
    # shellcheck disable=SC2016 # dpkg's own placeholders
    chroot "$result.new.$$/root" dpkg-query -W -f '${Package} ${Version}\n' >"$result.new.$$/packages"
    publish "$result"
}

main() {
    local result
    choose_distribution
    result=$(cache_dir)/cloud-init-$DISTRO-$SUITE-$(digest_of "$MIRROR" "${packages[@]}" -- packaging/cloud-init)
    lock "cloud-init-$DISTRO-$SUITE"
    if [ -e "$result/packages" ] && [ -z "${REFRESH:-}" ]; then
        say_cached 'root directory with cloud-init' "$result/packages"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build "$result" >&2
        forget_older "$(cache_dir)/cloud-init-$DISTRO-$SUITE-" "$result"
    fi
    printf '%s\n' "$result/root"
}

main
