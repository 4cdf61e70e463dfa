# shellcheck shell=bash disable=SC2154 # common.sh sets repository, the caller AGENT
# What the bootstraps have in common: kernel, tools of the initrd, and the archive behind it. Sourced after
# common.sh and distribution.sh.

# Packages whose programs initramfs/hooks/bedplate takes into the initrd.
# shellcheck disable=SC2034 # read by those that source this
tools=(
    initramfs-tools kmod udev zstd coreutils util-linux mount fdisk gdisk lvm2 dmsetup mdadm
    e2fsprogs xfsprogs btrfs-progs dosfstools nvme-cli hdparm kpartx efibootmgr ethtool dropbear-bin ca-certificates
)

kernel_package() {
    case $DISTRO-${KERNEL:-generic} in
    debian-generic) echo linux-image-amd64 ;;
    debian-cloud) echo linux-image-cloud-amd64 ;;
    ubuntu-generic) echo linux-image-generic ;;
    ubuntu-cloud) echo linux-image-virtual ;;
    *-linux-image-*) echo "$KERNEL" ;;
    *) die "KERNEL=$KERNEL is not known: generic, cloud, or a package linux-image-.." ;;
    esac
}

# Ubuntu's full busybox is the static one only.
busybox_package() { [ "$DISTRO" = ubuntu ] && echo busybox-static || echo busybox; }

# The moment that a build counts as: SOURCE_DATE_EPOCH makes it repeatable.
build_epoch() { printf '%s\n' "${SOURCE_DATE_EPOCH:-$(date +%s)}"; }

# The overlay's tree: what changes with each build of the agent.
lay_overlay() {
    local root=$1 link
    mkdir -p "$root"/{etc/bedplate,root/.ssh,usr/bin,scripts}
    cp -a "$repository/initramfs/files/." "$root/"
    cp "$repository/initramfs/scripts/bedplate" "$root/scripts/"
    install -m 0755 "$AGENT" "$root/usr/bin/bedplate"
    for link in provision fa_partition fa_copyimage fa_configdrive fa_bootloader; do
        ln -s bedplate "$root/usr/bin/$link"
    done
    build_epoch >"$root/etc/bedplate/build-date"
    if [ -n "${SSH_AUTHORIZED_KEYS:-}" ]; then
        install -m 0600 "$SSH_AUTHORIZED_KEYS" "$root/root/.ssh/authorized_keys"
    fi
    chmod 0700 "$root/root" "$root/root/.ssh"
}

# Paths begin with /usr where the distribution merged the two: an entry for /bin, a link in the base, would
# replace the link by a directory.
make_overlay() {
    local root=$1
    find "$root" -exec touch --no-dereference --date="@$(build_epoch)" {} +
    (cd "$root" && find . -mindepth 1 -print0 | sort -z | cpio --quiet --null --create --format=newc --owner=0:0 --reproducible) |
        zstd -q -12
}

