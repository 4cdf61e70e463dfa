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

mount_system() {
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,system}
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$system"
    mount -t proc proc "$system/proc"
    mount -t tmpfs tmpfs "$system/dev"
    mount -t tmpfs tmpfs "$system/sys"
    touch "$system/usr/bin/bedplate"
    mount --bind "$agent" "$system/usr/bin/bedplate"
    ln -s bedplate "$system/usr/bin/provision"
}

make_devices() {
    local node
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 0666 "$system/dev/${node%:*}" c 1 "${node#*:}"
    done
    mkdir -p "$system/dev/shm"
    ln -s /proc/self/fd "$system/dev/fd"
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

# Definitions at its start, for each call of rabbitmqctl starts another Erlang machine.
configure_broker() {
    local etc=$system/etc/rabbitmq
    echo "127.0.0.1 localhost bootstrap" >"$system/etc/hosts"
    echo 'NODENAME=rabbit@localhost' >"$etc/rabbitmq-env.conf"
    echo '[rabbitmq_stomp].' >"$etc/enabled_plugins"
    cat >"$etc/rabbitmq.conf" <<END
load_definitions = /etc/rabbitmq/definitions.json
listeners.tcp.1 = 127.0.0.1:5672
stomp.listeners.tcp.1 = 127.0.0.1:61613
END
    cat >"$etc/definitions.json" <<END
{"vhosts": [{"name": "mcollective"}],
 "users": [{"name": "mcollective", "password": "marionette", "tags": ""}],
 "permissions": [{"user": "mcollective", "vhost": "mcollective", "configure": ".*", "write": ".*", "read": ".*"}],
 "exchanges": [
  {"name": "mcollective_broadcast", "vhost": "mcollective", "type": "topic", "durable": true, "auto_delete": false, "internal": false, "arguments": {}},
  {"name": "mcollective_directed", "vhost": "mcollective", "type": "direct", "durable": true, "auto_delete": false, "internal": false, "arguments": {}}]}
END
    # One scheduler: a broker of one node has nothing for several.
    cat >"$system/usr/local/sbin/broker" <<'END'
#!/bin/sh
mkdir -p /run/rabbitmq
chown rabbitmq:rabbitmq /run/rabbitmq
export HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=rabbit@localhost ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_PID_FILE=/run/rabbitmq/pid RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 1:1'
exec setpriv --reuid rabbitmq --regid rabbitmq --clear-groups rabbitmq-server >>/var/log/broker.log 2>&1
END
    chmod 0755 "$system/usr/local/sbin/broker"
}

# wait_for WORDS FILE: a line of a log.
wait_for() {
    until grep -qs "$1" "$system/$2"; do sleep 0.2; done
}

mount_system
make_devices
shield_kernel
hostname bootstrap
ip link set lo up
configure_node
configure_broker
chroot "$system" broker &
for config in server hasty; do
    chroot "$system" mcollectived --no-daemonize --config "/etc/mcollective/$config.cfg" >>"$system/var/log/daemon.log" 2>&1 &
done
wait_for 'Connected to stomp' var/log/mcollective.log
wait_for 'Connected to stomp' var/log/hasty.log
echo ready
wait
