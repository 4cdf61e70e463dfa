# shellcheck shell=bash disable=SC2154 # the caller sets root, work and system
# A system in memory over a root directory that is never written to, and the broker in it. Sourced by node.sh and broker.sh, in
# name spaces of their own.

mount_system() {
    mount -t tmpfs tmpfs "$work"
    mkdir "$work"/{upper,work,system}
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$system"
    mount -t proc proc "$system/proc"
    mount -t tmpfs tmpfs "$system/dev"
}

make_character_devices() {
    local node
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 0666 "$system/dev/${node%:*}" c 1 "${node#*:}"
    done
    mkdir -p "$system/dev/shm"
    ln -s /proc/self/fd "$system/dev/fd"
}

# configure_broker ADDRESS: where it listens to STOMP. Definitions at its start, for each call of rabbitmqctl starts another
# Erlang machine.
configure_broker() {
    local etc=$system/etc/rabbitmq
    echo "127.0.0.1 localhost $(hostname)" >"$system/etc/hosts"
    echo 'NODENAME=rabbit@localhost' >"$etc/rabbitmq-env.conf"
    echo '[rabbitmq_stomp].' >"$etc/enabled_plugins"
    cat >"$etc/rabbitmq.conf" <<END
load_definitions = /etc/rabbitmq/definitions.json
listeners.tcp.1 = 127.0.0.1:5672
stomp.listeners.tcp.1 = $1:61613
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
