#!/bin/bash
# Makes a root directory with the packages the live system, all but the agent: customize.sh ROOT
#
# BEDPLATE_INITRAMFS    the repository's initramfs/: files that both modes of the bootstrap share
# BEDPLATE_VARIANT      full or small (small: without what a guest that lives for minutes has no use for)
set -euo pipefail
root=$1
here=$(dirname "$(readlink -f "$0")")
: "${BEDPLATE_INITRAMFS:?names the directory initramfs/}" "${BEDPLATE_VARIANT:=full}"

shared_files=(
    etc/lvm/lvm.conf etc/mdadm/mdadm.conf etc/hostname etc/hosts etc/nailgun_systemtype
    usr/lib/bedplate/{kernel-line,console,process,ssh}.sh
)

# Modes are set here: those of a checkout follow its user's umask.
put_file() {
    local mode=0644
    [ ! -x "$1" ] || mode=0755
    install -D -m "$mode" "$1" "$root/$2"
}

lay_files() {
    local file
    while IFS= read -r file; do
        put_file "$here/overlay/$file" "$file"
    done < <(cd "$here/overlay" && find . -type f | sort)
    for file in "${shared_files[@]}"; do
        put_file "$BEDPLATE_INITRAMFS/files/$file" "$file"
    done
    install -d -m 0700 "$root/root/.ssh"
    install -d -m 0755 "$root/var/log/bedplate" "$root/etc/bedplate" "$root/etc/nailgun-agent"
    # Astute's asynchronous way of Fuel 10 puts manifests there.
    install -d -m 0755 "$root/etc/puppet/shell_manifests"
}

set_time() {
    ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
    echo Etc/UTC >"$root/etc/timezone"
    # The kernel line names the master, and a provisioning network has nobody else.
    sed -i '/^\(pool\|server\) /d' "$root/etc/chrony/chrony.conf"
}

# As in the initrd: disks belong to whoever is asked about them, nothing on them is activated because it appeared.
forbid_activation() {
    local name
    for name in udev/rules.d/69-lvm.rules udev/rules.d/64-md-raid-assembly.rules \
        systemd/system-generators/systemd-gpt-auto-generator systemd/system-generators/lvm2-activation-generator; do
        mkdir -p "$root/etc/$(dirname "$name")"
        ln -sf /dev/null "$root/etc/$name"
    done
}

mask() {
    local unit
    for unit in "$@"; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}

choose_units() {
    # Nothing runs in this root.
    export SYSTEMD_OFFLINE=1
    chroot "$root" systemctl enable -q systemd-networkd.service bedplate-setup.service bedplate-agent.service \
        bedplate-discover.service bedplate-console.service
    # puppet runs when it is called, mcollective once the node has an id.
    chroot "$root" systemctl disable -q puppet.service mcollective.service
    mask lvm2-monitor.service mdmonitor.service mdmonitor-oneshot.timer mdcheck_start.timer mdcheck_continue.timer \
        multipathd.service multipathd.socket apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
        systemd-networkd-wait-online.service systemd-pstore.service smartmontools.service \
        getty@tty1.service getty-static.service serial-getty@.service
    [ "$BEDPLATE_VARIANT" != small ] ||
        mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
            sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-mqueue.mount \
            modprobe@drm.service modprobe@fuse.service modprobe@efi_pstore.service \
            systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-logind.service \
            systemd-random-seed.service systemd-network-generator.service systemd-user-sessions.service \
            systemd-tmpfiles-clean.timer modprobe@configfs.service sys-kernel-config.mount dev-hugepages.mount
}

lay_files
set_time
forbid_activation
choose_units
