#!/bin/bash
# Makes the squashfs of a finished live system: seal.sh ROOT FILE
# What differs between two builds of the same inputs, or must differ between two nodes, is taken out before.
#
# SOURCE_DATE_EPOCH         time stamps later than this become this
# BEDPLATE_SQUASHFS_LEVEL   of zstd; 15
set -euo pipefail
root=$1 file=$2
: "${SOURCE_DATE_EPOCH:?is the moment of the build}"
export SOURCE_DATE_EPOCH

# Each node makes its own. An empty machine-id is filled at boot, an absent one would make it a first boot.
remove_identity() {
    rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" \
        "$root/var/lib/systemd/credential.secret" "$root"/etc/nvme/host{id,nqn}
    : >"$root/etc/machine-id"
    # The initrd fills it; mmdebstrap takes the host's copy away only when its hooks have run.
    rm -f "$root/etc/resolv.conf"
    : >"$root/etc/resolv.conf"
}

# Logs, caches and backups hold times, and the order in which packages happened to be set up.
remove_traces() {
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/ldconfig/aux-cache \
        "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/etc/*- "$root"/etc/.pwd.lock \
        "$root"/var/lib/ucf/*.[0-9] "$root"/run/* "$root"/tmp/* "$root"/var/tmp/*
    # The journal is kept in memory.
    rm -rf "$root/var/log/journal"
    find "$root/var/log" -type f -delete
    find "$root" -xdev -name __pycache__ -prune -exec rm -rf {} +
}

# The kernel and its initrd are delivered beside the squashfs.
remove_kernel() {
    rm -f "$root"/boot/vmlinuz-* "$root"/boot/initrd.img-* "$root"/{vmlinuz,initrd.img}{,.old}
}

# What mmdebstrap gave apt for the build, proxies among it. Nodes want no more packages than they ask for.
settle_apt() {
    rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
    echo 'APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/10bedplate"
}

remove_identity
remove_traces
remove_kernel
settle_apt
rm -f "$file"
# Both time and sorting are mksquashfs's own: it takes SOURCE_DATE_EPOCH and orders what its threads pack.
mksquashfs "$root" "$file" -noappend -quiet -no-progress -reproducible -xattrs \
    -comp zstd -Xcompression-level "${BEDPLATE_SQUASHFS_LEVEL:-15}"
chmod 0644 "$file"
