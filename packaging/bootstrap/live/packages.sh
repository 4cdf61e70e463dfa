# shellcheck shell=bash disable=SC2154 # the caller sets DISTRO
# Packages of the live system beside kernel and initrd tools. Sourced after common.sh and distribution.sh.

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
