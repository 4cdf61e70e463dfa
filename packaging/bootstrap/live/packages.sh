# shellcheck shell=bash disable=SC2154 # the caller sets DISTRO
# Packages of the live system, and what of them is left out. Sourced after common.sh, distribution.sh and parts.sh.

live_packages=(
    # the live system itself
    live-boot live-boot-initramfs-tools systemd-sysv dbus iproute2 netbase tzdata procps
    openssh-server rsyslog logrotate chrony
    # what the agent, the orchestrator and its tasks call
    parted rsync daemonize dmidecode pciutils
    mcollective puppet-agent
)

# For people at a machine, and for machines that are not virtual.
full_live_packages=(
    less vim-tiny wget curl iputils-ping iputils-arping bind9-host tcpdump lsof
    smartmontools nvme-cli hdparm sysfsutils lshw hwloc-nox ipmitool irqbalance ifenslave multipath-tools
)

# packages_of_live full|small: one line.
packages_of_live() {
    echo "${live_packages[@]}" "$([ "$1" = small ] || echo "${full_live_packages[@]}")"
}

# all_packages_of_live full|small: with the kernel and the tools of the initrd.
all_packages_of_live() {
    local kernel
    kernel=$(kernel_package)
    echo "$kernel" "$(busybox_package)" "${tools[@]}" "$(packages_of_live "$1")"
}

# Options of dpkg. Documentation and translations are never read on a node, and every byte of them is sent to each.
slimming() {
    local directory
    for directory in doc man info locale lintian bug; do
        printf '%s\n' "path-exclude=/usr/share/$directory/*"
    done
    # The licences stay with what they license.
    printf '%s\n' 'path-include=/usr/share/doc/*/copyright'
}
