#!/bin/bash
# The node of tests/mcollective.rs, and the broker on it: node.sh ROOT WORK AGENT DISK STICK
#
# Runs in namespaces of its own (mount, network, process, host name), as their first process. ROOT is never written to: all is
# in a file system in memory on WORK. The system in it has a /dev and a /sys with two loop devices alone, named by their device
# numbers: DISK is /dev/vdnode, STICK a removable /dev/vdstick. It says `ready`, and stays.
set -euo pipefail
root=$1 work=$2 agent=$3 disk=$4 stick=$5
repository=$(dirname "$(readlink -f "$0")")/../..
system=$work/system
# shellcheck source=tests/mcollective/system.sh
. "$repository/tests/mcollective/system.sh"

mount_node() {
    mount_system
    mount -t tmpfs tmpfs "$system/sys"
    touch "$system/usr/bin/bedplate"
    mount --bind "$agent" "$system/usr/bin/bedplate"
    ln -s bedplate "$system/usr/bin/provision"
}

make_devices() {
    make_character_devices
    add_disk vdnode "$disk" 0
    add_disk vdstick "$stick" 1
}

# add_disk NAME NUMBER REMOVABLE: the device node, and as much of /sys as the agent asks of a disk.
add_disk() {
    local folder=$system/sys/block/$1 number=$2
    mknod -m 0600 "$system/dev/$1" b "${number%:*}" "${number#*:}"
    mkdir -p "$folder/queue"
    echo "$number" >"$folder/dev"
    cat "/sys/dev/block/$number/size" >"$folder/size"
    echo "$3" >"$folder/removable"
    echo 0 >"$folder/ro"
    echo 512 >"$folder/queue/logical_block_size"
}

# The kernel is the machine's: what an agent writes to restart it goes to files of /srv/proc. Should an agent not take them for
# /proc, the true ones are out of its reach all the same.
shield_kernel() {
    local file
    mkdir -p "$system/srv/proc/sys/kernel"
    for file in sysrq-trigger sys/kernel/sysrq sys/kernel/panic sys/kernel/panic_on_oops; do
        : >"$system/srv/proc/$file"
        [ ! -e "/proc/$file" ] || mount --bind /dev/null "$system/proc/$file"
    done
    echo "boot=live url=http://127.0.0.1:8000/api mco_user=mcollective mco_pass=marionette" >"$work/cmdline"
    mount --bind "$work/cmdline" "$system/proc/cmdline"
}

configure_node() {
    "$repository/mcollective/install.sh" "$system"
    echo bootstrap >"$system/etc/nailgun_systemtype"
    echo 7 >"$system/etc/nailgun_uid"
    mkdir -p "$system/var/lock"
    chroot "$system" /usr/lib/bedplate/mcollective-configure / >"$system/var/log/configure.log"
    echo 'plugin.erase_node.proc = /srv/proc' >>"$system/etc/mcollective/server.cfg"
    # Whoever asks has an account of its own kind, and no files of the node.
    sed -e 's/^identity = .*/identity = master/' -e 's|^logfile = .*|logfile = /var/log/conductor.log|' \
        "$system/etc/mcollective/server.cfg" >"$system/etc/mcollective/client.cfg"
    # Another daemon of the node, which ends what takes long.
    sed -e 's/^identity = .*/identity = 8/' -e 's|^logfile = .*|logfile = /var/log/hasty.log|' \
        "$system/etc/mcollective/server.cfg" >"$system/etc/mcollective/hasty.cfg"
    echo 'plugin.execute_shell_command.seconds = 2' >>"$system/etc/mcollective/hasty.cfg"
    cp "$repository/tests/mcollective/conductor.rb" "$system/conductor.rb"
}

# wait_for WORDS FILE: a line of a log.
wait_for() {
    until grep -qs "$1" "$system/$2"; do sleep 0.2; done
}

mount_node
make_devices
shield_kernel
hostname bootstrap
ip link set lo up
configure_node
configure_broker 127.0.0.1
chroot "$system" broker &
for config in server hasty; do
    chroot "$system" mcollectived --no-daemonize --config "/etc/mcollective/$config.cfg" >>"$system/var/log/daemon.log" 2>&1 &
done
wait_for 'Connected to stomp' var/log/mcollective.log
wait_for 'Connected to stomp' var/log/hasty.log
echo ready
wait
