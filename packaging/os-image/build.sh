#!/bin/bash
# Builds an operating system image as upstream's builder delivers it: a root and a boot file system, each as a bare
# image in gzip, and a YAML side-car that names their sizes and digests. With CONDUCTED=1 it holds puppet and mcollective
# with this project's agents, for an orchestrator such as Astute.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

VARIANT=${VARIANT:-full}
CONDUCTED=${CONDUCTED:-}
OUT=${OUT:-$repository/build/os-image}

base_packages=(
    systemd-sysv udev dbus kmod initramfs-tools busybox zstd
    cloud-init cloud-guest-utils tzdata netplan.io systemd-resolved iproute2 netbase openssh-server sudo ca-certificates curl
    lvm2 mdadm e2fsprogs dosfstools
    grub-pc-bin grub-efi-amd64-bin grub-efi-amd64-signed shim-signed grub2-common efibootmgr
    procps
)
full_packages=(
    locales systemd-timesyncd libpam-systemd dbus-user-session bash-completion less vim-tiny man-db rsyslog logrotate cron
    xfsprogs btrfs-progs gdisk fdisk parted smartmontools nvme-cli ethtool pciutils dmidecode lsof rsync wget
    iputils-ping bind9-host tcpdump netcat-openbsd apt-utils unattended-upgrades
)

kernel_package() {
    case $DISTRO-$VARIANT in
    debian-full) echo linux-image-amd64 ;;
    debian-small) echo linux-image-cloud-amd64 ;;
    ubuntu-full) echo linux-image-generic ;;
    ubuntu-small) echo linux-image-virtual ;;
    *) die "VARIANT=$VARIANT is not known: full, small" ;;
    esac
}

# The first boot configures both, and starts those that the request enables.
conducted_packages=(mcollective puppet-agent)

# A real machine's network cards and disks want firmware; Ubuntu's kernel package brings it along.
firmware_packages() {
    if [ "$DISTRO" = debian ]; then
        echo firmware-linux-free firmware-misc-nonfree firmware-bnx2 firmware-bnx2x firmware-qlogic firmware-realtek
    fi
}

packages() {
    echo "$(kernel_package)" "${base_packages[@]}"
    if [ "$VARIANT" = full ]; then
        echo "${full_packages[@]}" "$(firmware_packages)"
    fi
    [ -z "$CONDUCTED" ] || echo "${conducted_packages[@]}"
}

# Documentation and translations are a fifth of a small root, and each byte is written under emulation.
slimming() {
    [ "$VARIANT" = small ] || return 0
    local directory
    for directory in doc man info locale lintian bug; do
        printf '%s\n' "--dpkgopt=path-exclude=/usr/share/$directory/*"
    done
    # The licences stay with what they license.
    printf '%s\n' '--dpkgopt=path-include=/usr/share/doc/*/copyright'
}

make_tree() {
    local tree=$1 sources options
    sources=$(apt_sources "$(components_for "$([ "$VARIANT" = full ] && echo firmware || echo plain)")")
    mapfile -t options < <(slimming)
    # unshare: what is mounted in the root of a build that is killed goes with it, before the next build removes that root.
    unshare --mount mmdebstrap --quiet --mode=root --variant=apt --format=directory --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="$(packages | xargs)" \
        --aptopt='APT::Install-Recommends "false"' "${options[@]}" \
        --essential-hook="$here/before-packages.sh \"\$1\" $VARIANT" \
        --customize-hook="$here/customize.sh \"\$1\" $VARIANT '$CONDUCTED'" \
        "$SUITE" "$tree" ${sources:+-} <<<"$sources"
    # mmdebstrap takes its own copy of the host's file away at the end, so this comes after it.
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
}

mebibytes_of() { du -sm --apparent-size "$1" | cut -f1; }

# make_image TYPE FEATURES TREE MEBIBYTES FILE. The features are named: the defaults of a newer mke2fs are not
# understood by the GRUB, the fsck or the kernel of an older image.
make_image() {
    local type=$1 features=$2 tree=$3 size=$4 file=$5
    truncate -s "${size}M" "$file"
    mke2fs -q -F -t "$type" -O "none,$features" -I 256 -E lazy_itable_init=0,lazy_journal_init=0 \
        -d "$tree" "$file"
}

digest() { "$1sum" "$2" | cut -d' ' -f1; }

# An entry of the side-car. The sha256 keys are ours; upstream's reader passes over them.
describe_image() {
    local raw=$1 format=$2
    cat <<END
- container: gzip
  container_md5: $(digest md5 "$raw.gz")
  container_name: $(basename "$raw.gz")
  container_sha256: $(digest sha256 "$raw.gz")
  container_size: $(stat -c %s "$raw.gz")
  format: $format
  raw_md5: $(digest md5 "$raw")
  raw_name: null
  raw_sha256: $(digest sha256 "$raw")
  raw_size: $(stat -c %s "$raw")
END
}

# Upstream's reader knows the names Ubuntu, Centos and OperatingSystem only.
describe_system() {
    local tree=$1 version name=OperatingSystem
    [ "$DISTRO" != ubuntu ] || name=Ubuntu
    version=$(sed -n 's/^VERSION_ID="\?\([0-9.]*\).*/\1/p' "$tree/etc/os-release")
    [ "$DISTRO" != debian ] || version=$(cat "$tree/etc/debian_version")
    local minor=${version#*.}
    [ "$minor" != "$version" ] || minor=0
    printf 'os:\n  major: %d\n  minor: %d\n  name: %s\n' "${version%%.*}" "$((10#$minor))" "$name"
}

write_side_car() {
    local directory=$1 tree=$2
    {
        echo images:
        describe_image "$directory/$image.img" ext4
        describe_image "$directory/$image-boot.img" ext2
        describe_system "$tree"
        echo packages:
        packages | tr ' ' '\n' | sort -u | sed '/^$/d; s/^/- /'
        echo 'repos: []'
    } >"$directory/$image.yaml"
}

# Free space: the small root is 700 MiB whatever it holds, 850 with puppet and mcollective; the agent grows both to
# their volumes.
sizes() {
    local root=$1 boot=$2 used
    used=$(mebibytes_of "$root")
    root_size=$((used * 5 / 4 + 128))
    if [ "$VARIANT" = small ]; then
        root_size=$([ -n "$CONDUCTED" ] && echo 850 || echo 700)
        [ $((used + 60)) -lt "$root_size" ] || die "the small root holds $used MiB, too much for $root_size"
    fi
    boot_size=$(($(mebibytes_of "$boot") * 9 / 8 + 12))
    say "root: $used MiB of files in $root_size MiB; boot: $(mebibytes_of "$boot") in $boot_size"
}

build() {
    local result=$1 work=$1.new.$$ root_size boot_size
    say "building $image"
    rm -rf "$result".new.*
    mkdir -p "$work"
    make_tree "$work/root"
    # What lies in /boot is in the boot image only.
    mkdir "$work/boot"
    find "$work/root/boot" -mindepth 1 -maxdepth 1 -exec mv -t "$work/boot" {} +
    chroot "$work/root" dpkg-query -W >"$work/packages"
    sizes "$work/root" "$work/boot"
    make_image ext4 has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
        "$work/root" "$root_size" "$work/$image.img"
    make_image ext2 ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file \
        "$work/boot" "$boot_size" "$work/$image-boot.img"
    # One member, as upstream's reader wants it; -n: without time and name.
    pigz -k -n "$work/$image.img" "$work/$image-boot.img"
    write_side_car "$work" "$work/root"
    rm -rf "${work:?}"/{root,boot} "$work"/*.img
    (cd "$work" && sha256sum ./*.gz ./*.yaml | sed 's|\./||' >SHA256SUMS)
    publish "$result"
}

main() {
    local result kind=${CONDUCTED:+conducted-}$VARIANT inputs=(packaging/os-image)
    choose_distribution
    [ -z "$CONDUCTED" ] || inputs+=(mcollective)
    image=env_${kind//-/_}_${DISTRO}_${SUITE}_amd64
    result=$(cache_dir)/os-image-$DISTRO-$SUITE-$kind-$(digest_of "$MIRROR" "$(packages)" -- "${inputs[@]}")
    lock "os-image-$DISTRO-$SUITE-$kind"
    if [ -e "$result/SHA256SUMS" ] && [ -z "${REFRESH:-}" ]; then
        say_cached "$image" "$result/SHA256SUMS"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build "$result"
        forget_older "$(cache_dir)/os-image-$DISTRO-$SUITE-$kind-" "$result"
    fi
    mkdir -p "$OUT"
    cp --preserve=timestamps "$result"/{"$image.img.gz","$image-boot.img.gz","$image.yaml",SHA256SUMS} "$OUT/"
    say "$(cd "$OUT" && stat -c '%n %s bytes' "$image.img.gz" "$image-boot.img.gz" | xargs) in $OUT"
}

main
