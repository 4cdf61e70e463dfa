#!/bin/bash
# Makes the image that `make bench` writes, in every form, once: they stay in the cache.
# SLOW=1 makes disk.raw.xz too (`xz -6` as people publish it: ten minutes of one core).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

images=$(cache_dir)/bench/img

# A server with tools, compilers and containers: real files, some compressed already, 1.3 GiB of them.
packages=(
    cloud-init openssh-server python3 python3-pip grub-pc-bin grub-efi-amd64-bin grub2-common locales vim
    systemd-sysv udev netplan.io curl rsync sudo less man-db tcpdump build-essential git lvm2 mdadm nftables perl
    ca-certificates gdb docker.io podman postgresql-client nginx chrony
)

kernel_package() { [ "$DISTRO" = ubuntu ] && echo linux-image-virtual || echo linux-image-cloud-amd64; }

# finish FILE COMMAND..: its standard output becomes the file, in one step.
finish() {
    local file=$1
    shift
    [ ! -s "$file" ] || return 0
    say "making $file"
    "$@" >"$file.new"
    mv "$file.new" "$file"
}

make_root() {
    local sources
    choose_distribution
    sources=$(apt_sources "$(components_for plain)")
    rm -rf root.new
    mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 --format=directory \
        --keyring="$(archive_keyring)" --include="$(kernel_package) ${packages[*]}" \
        "$SUITE" root.new ${sources:+-} <<<"$sources"
    mv root.new root
}

# Written to a file, past its partitions' offsets: no loop device and no partition nodes are needed.
# 1 MiB for the BIOS' boot code, an ESP of 100 MiB, a root of 4096 MiB.
make_disk() {
    [ -d root ] || make_root
    rm -f disk.raw.new
    truncate -s 4352M disk.raw.new
    sfdisk --quiet disk.raw.new <<'TABLE'
label: gpt
label-id: 6f0d2b52-29a4-4b4e-9d9e-3b6a53c1b001
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name="bios"
start=4096, size=204800, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="esp"
start=208896, size=8388608, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root"
TABLE
    # It warns of what is meant: that the file is larger than the file system.
    mkfs.vfat -F 32 -s 1 --offset 4096 -n ESP disk.raw.new $((204800 / 2)) >/dev/null 2>&1
    mkfs.ext4 -q -L root -U 3f0d2b52-29a4-4b4e-9d9e-3b6a53c1b003 -d root \
        -E "offset=$((208896 * 512)),lazy_itable_init=0,lazy_journal_init=0" disk.raw.new 4096M
    mv disk.raw.new disk.raw
    rm -rf root
}

# qemu-img wants a file to seek in.
make_qcow2() {
    local file=$1
    shift
    [ ! -s "$file" ] || return 0
    say "making $file"
    qemu-img convert -O qcow2 "$@" disk.raw "$file.new"
    mv "$file.new" "$file"
}

main() {
    local cores
    cores=$(nproc)
    lock bench-images
    mkdir -p "$images"
    cd "$images"
    [ -s disk.raw ] || make_disk
    finish disk.raw.zst zstd -q "-T$cores" -3 -c disk.raw
    finish disk.raw.mf.zst pzstd -q -3 -p "$cores" -c disk.raw
    make_qcow2 disk.zstd.qcow2 -c -o compression_type=zstd
    finish disk.raw.gz gzip -6 -c disk.raw
    finish disk.bmap bmaptool -q create disk.raw
    finish disk.raw.lz4 lz4 -q -1 -B7 -c disk.raw
    make_qcow2 disk.zlib.qcow2 -c -o compression_type=zlib
    make_qcow2 disk.qcow2
    finish disk.raw.bgz bgzip "-@$cores" -c disk.raw
    finish disk.raw.1.xz xz -1 "-T$cores" --block-size=8MiB -c disk.raw
    [ "${SLOW:-}" != 1 ] || finish disk.raw.xz xz -6 "-T$cores" -c disk.raw
}

main
