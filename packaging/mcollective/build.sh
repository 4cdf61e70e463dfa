#!/bin/bash
# Builds the root directory in which the mcollective agents are tested: mcollective with its client, its broker, puppet,
# and what the agent's package depends on. Cached; its path is printed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

packages=(mcollective mcollective-client rabbitmq-server puppet-agent udev fdisk kmod mount e2fsprogs)

build() {
    local result=$1 sources options=() directory
    sources=$(apt_sources "$(components_for plain)")
    for directory in doc man info locale lintian bug; do
        options+=("--dpkgopt=path-exclude=/usr/share/$directory/*")
    done
    say "building a root directory of $DISTRO $SUITE with mcollective and its broker"
    rm -rf "$result".new.*
    mkdir -p "$result.new.$$"
    # unshare: what is mounted in the root of a build that is killed goes with it, before the next build removes that root.
    unshare --mount mmdebstrap --quiet --mode=root --variant=apt --format=directory --architectures=amd64 \
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
    result=$(cache_dir)/mcollective-$DISTRO-$SUITE-$(digest_of "$MIRROR" "${packages[@]}" -- packaging/mcollective)
    lock "mcollective-$DISTRO-$SUITE"
    if [ -e "$result/packages" ] && [ -z "${REFRESH:-}" ]; then
        say_cached 'root directory with mcollective' "$result/packages"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build "$result" >&2
        forget_older "$(cache_dir)/mcollective-$DISTRO-$SUITE-" "$result"
    fi
    printf '%s\n' "$result/root"
}

main
