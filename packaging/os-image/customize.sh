#!/bin/bash
# Hook of mmdebstrap, after the packages are installed: customize.sh ROOT full|small [CONDUCTED]
set -euo pipefail
root=$1 variant=$2 conducted=${3:-}
here=$(dirname "$(readlink -f "$0")")

# cloud-init finds its data on a partition (labels cidata, config-2) or in the seed directory; it configures
# the network, too.
configure_cloud_init() {
    cat >"$root/etc/cloud/cloud.cfg.d/95_bedplate.cfg" <<'END'
datasource_list: [NoCloud, ConfigDrive, None]
END
    # Without the translations there is nothing that the locale module could generate.
    [ "$variant" != small ] || echo 'locale: false' >>"$root/etc/cloud/cloud.cfg.d/95_bedplate.cfg"
}

configure_network() {
    chroot "$root" systemctl enable -q systemd-networkd.service
    [ ! -e "$root/usr/lib/systemd/system/systemd-resolved.service" ] ||
        chroot "$root" systemctl enable -q systemd-resolved.service
}

# Neither runs before the first boot has configured it, and enabled it where the request says so.
install_agents() {
    "$here/../../mcollective/install.sh" "$root"
    SYSTEMD_OFFLINE=1 chroot "$root" systemctl disable -q mcollective.service puppet.service
}

# What every machine has to have of its own.
remove_identity() {
    rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
    : >"$root/etc/machine-id"
    echo localhost >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
}

# A guest of a test lives for minutes: what only a machine of years needs costs emulated seconds at boot.
mask_idle_units() {
    local unit units=(
        # upkeep
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
        fstrim.timer man-db.timer mdcheck_start.timer mdcheck_continue.timer mdmonitor.service
        mdmonitor-oneshot.timer lvm2-monitor.service grub-common.service grub-initrd-fallback.service
        # foreign binaries, kernel debugging, screens: a guest has none of it
        systemd-binfmt.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount
        sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount
        modprobe@drm.service modprobe@fuse.service modprobe@efi_pstore.service systemd-pstore.service
        getty@tty1.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
        cloud-init-hotplugd.socket
    )
    for unit in "${units[@]}"; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

clean() {
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt/* \
        "$root"/boot/*.old "$root"/{vmlinuz,initrd.img}.old
    find "$root/var/cache/apt/archives" -name '*.deb' -delete
}

configure_cloud_init
configure_network
[ -z "$conducted" ] || install_agents
remove_identity
[ "$variant" != small ] || mask_idle_units
clean
