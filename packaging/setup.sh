#!/bin/bash
# Installs every Debian or Ubuntu package that the other make targets need. Quick when all are there.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

packages=(
    # compiling; the agent's crates hold C and assembly (ring)
    build-essential git ca-certificates
    # libudev.a out of systemd's source
    dpkg-dev meson ninja-build gperf pkg-config python3-jinja2 libcap-dev libmount-dev
    # images
    mmdebstrap squashfs-tools cpio zstd pigz e2fsprogs dosfstools mtools bmap-tools
    # what tests and a local run call on files and loop devices
    fdisk gdisk lvm2 mdadm xfsprogs btrfs-progs dmsetup udev kmod
    # a Cobbler of the Python Package Index to speak to
    python3-venv python3-dev libmagic1 rsync
    # a signed package repository to build from
    gnupg
    # virtual machines and their network
    qemu-system-x86 qemu-utils ipxe-qemu seabios ovmf dnsmasq-base openssh-client iproute2 pxelinux syslinux-common
    # lint, and the validator of the schemas
    shellcheck python3-jsonschema genisoimage
)

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        is_installed "$package" || printf '%s\n' "$package"
    done
}

install() {
    # lvm2 and mdadm would start their monitors, and a build machine's services are not ours to start.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Machine images exist that carry a qemu-utils from backports without the backports repository; QEMU of the
# release itself refuses to stand beside it. Only then is it taken back to the release's version.
downgrade_of_qemu_utils() {
    local codename
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    if is_installed qemu-utils && ! apt-get install -s --no-install-recommends "$@" >/dev/null 2>&1; then
        printf '%s\n' --allow-downgrades "qemu-utils/$codename"
    fi
}

check_rust() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.88 or later with rustup"
    if command -v rustup >/dev/null; then
        rustup target list --installed | grep -qx x86_64-unknown-linux-gnu || rustup target add x86_64-unknown-linux-gnu
    fi
}

main() {
    local missing extra
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ]; then
        [ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}"
        say "installing ${missing[*]}"
        # A third party's repository that is down must not stop the build; a package that is really out
        # of reach is named by the install below.
        apt-get update || say "some package lists were not updated"
        mapfile -t extra < <(downgrade_of_qemu_utils "${missing[@]}")
        install "${missing[@]}" "${extra[@]}"
    fi
    check_rust
    say "all packages are installed"
}

main
