#!/bin/bash
# A broker for nodes that are elsewhere, and beside it the client of who asks them: broker.sh ROOT WORK ADDRESS
#
# Runs in name spaces of its own (mount, process, host name), as their first process, and in the network of its caller. ROOT is
# never written to: all is in a file system in memory on WORK. The broker listens on ADDRESS. It says `ready`, and stays.
set -euo pipefail
root=$1 work=$2 address=$3
repository=$(dirname "$(readlink -f "$0")")/../..
system=$work/system
# shellcheck source=tests/mcollective/system.sh
. "$repository/tests/mcollective/system.sh"

configure_client() {
    "$repository/mcollective/install.sh" "$system"
    sed -e 's/@IDENTITY@/master/' -e "s/@HOST@/$address/" -e 's/@PORT@/61613/' -e 's/@USER@/mcollective/' \
        -e 's/@PASSWORD@/marionette/' -e 's|^logfile = .*|logfile = /var/log/conductor.log|' \
        "$system/usr/share/bedplate/mcollective/server.cfg" >"$system/etc/mcollective/client.cfg"
    cp "$repository/tests/mcollective/conductor.rb" "$system/conductor.rb"
}

listens() { (exec 3<>"/dev/tcp/$address/61613") 2>/dev/null; }

mount_system
make_character_devices
hostname broker
configure_client
configure_broker "$address"
chroot "$system" broker &
until listens; do
    kill -0 $! || {
        cat "$system/var/log/broker.log"
        exit 1
    }
    sleep 0.2
done
echo ready
wait
