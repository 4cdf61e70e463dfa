#!/bin/bash
# Hook of mmdebstrap, before the packages are installed: before-packages.sh ROOT full|small
set -euo pipefail
root=$1 variant=$2

# The image boots on machines that it has never seen; the small one only in virtual machines, where a smaller
# initrd unpacks sooner.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/etc/initramfs-tools/hooks"
if [ "$variant" = small ]; then
    echo MODULES=list >"$root/etc/initramfs-tools/conf.d/bedplate"
    printf '%s\n' ata_piix ahci sd_mod nvme virtio_blk virtio_scsi virtio_pci virtio_net ext4 xfs \
        dm_mod dm_snapshot dm_mirror raid0 raid1 raid10 raid456 >"$root/etc/initramfs-tools/modules"
    # Listed modules are loaded at boot, and raid6_pq measures itself then. All but the disks' drivers load on demand.
    cat >"$root/etc/initramfs-tools/hooks/bedplate-on-demand" <<'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
sed -i '/^\(linear\|multipath\|raid[0-9]*\|dm_.*\|xfs\|virtio_net\|ahci\)$/d' "$DESTDIR/conf/modules"
END
    chmod 0755 "$root/etc/initramfs-tools/hooks/bedplate-on-demand"
else
    echo MODULES=most >"$root/etc/initramfs-tools/conf.d/bedplate"
fi
