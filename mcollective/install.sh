#!/bin/sh
# install.sh DESTDIR: lays the mcollective agents, their configuration and its units out below DESTDIR.
set -eu
here=$(dirname "$(readlink -f "$0")")
destination=${1:?install.sh DESTDIR}

plugins=$destination/usr/share/mcollective/plugins/mcollective
units=$destination/usr/lib/systemd/system

install -d "$plugins/agent" "$plugins/logger" "$units/multi-user.target.wants" "$units/mcollective.service.d"
install -m 0644 "$here"/agent/*.rb "$here"/agent/*.ddl "$plugins/agent/"
install -m 0644 "$here"/logger/*.rb "$plugins/logger/"
install -D -m 0644 "$here/server.cfg" "$destination/usr/share/bedplate/mcollective/server.cfg"
install -D -m 0755 "$here/configure.sh" "$destination/usr/lib/bedplate/mcollective-configure"
install -m 0644 "$here"/systemd/bedplate-mcollective.* "$units/"
install -m 0644 "$here/systemd/mcollective.service.d.conf" "$units/mcollective.service.d/bedplate.conf"
for unit in bedplate-mcollective.service bedplate-mcollective.path; do
    ln -sf "../$unit" "$units/multi-user.target.wants/$unit"
done
