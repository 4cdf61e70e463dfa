#!/bin/bash
# install.sh DESTDIR PACKAGE..: lays out below DESTDIR what a master has beside its program: scripts, settings, unit, and the
# packages of the agent. Below 755/ lies what is run, below 644/ the rest.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$(readlink -f "$0")")/../common.sh"
destination=${1:?install.sh DESTDIR PACKAGE..}
shift

put() {
    local mode=644
    [ ! -x "$1" ] || mode=755
    install -D -m "$mode" "$1" "$destination/$mode/$2"
}

share=usr/share/bedplate/bootstrap
cd "$repository"
# What `make` alone calls stays behind.
find packaging/{common,distribution}.sh packaging/bootstrap/{parts,make-base}.sh packaging/bootstrap/live initramfs -type f |
    while read -r file; do
        put "$file" "$share/$file"
    done
for package in "$@"; do
    install -D -m 0644 "$package" "$destination/644/$share/debs/$(basename "$package")"
done
put packaging/master/bootstrap.yaml etc/bedplate/bootstrap.yaml
put packaging/master/default etc/default/bedplate-master
put packaging/master/bedplate-master.service usr/lib/systemd/system/bedplate-master.service
put packaging/master/example-profile.toml usr/share/doc/bedplate-master/examples/profile.toml
