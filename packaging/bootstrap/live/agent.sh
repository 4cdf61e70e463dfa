#!/bin/bash
# Puts the agent and what names this build into a live system: agent.sh ROOT
#
# BEDPLATE_DEBS      a directory with the packages of the agent (make deb); empty where the root has them already
# BEDPLATE_UUID      the image's UUID, which discovery reports
# BEDPLATE_SSH_KEYS  a file in the form of authorized_keys: who may log in as root; optional
# SOURCE_DATE_EPOCH  the moment that the build counts as; the clock of a node is never set before it
set -euo pipefail
root=$1
: "${BEDPLATE_UUID:?is the UUID of the image}" "${SOURCE_DATE_EPOCH:?is the moment of the build}"

# As packages, so that `apt install ./bedplate_*.deb` replaces them on a node that runs.
install_packages() {
    local debs=("$BEDPLATE_DEBS"/*.deb)
    mkdir "$root/debs"
    cp "${debs[@]}" "$root/debs/"
    # Nothing runs in this root, and nothing is to be started in it. mmdebstrap says so itself while it works.
    local policy=
    if [ ! -e "$root/usr/sbin/policy-rc.d" ]; then
        policy=$root/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
    fi
    SYSTEMD_OFFLINE=1 chroot "$root" dpkg --force-unsafe-io --recursive --install /debs >"$root/debs/log" 2>&1 || {
        cat "$root/debs/log" >&2
        exit 1
    }
    [ -z "$policy" ] || rm "$policy"
    rm -r "$root/debs"
}

[ -z "${BEDPLATE_DEBS:-}" ] || install_packages
echo "runtime_uuid: $BEDPLATE_UUID" >"$root/etc/nailgun-agent/config.yaml"
echo "$SOURCE_DATE_EPOCH" >"$root/etc/bedplate/build-date"
[ -z "${BEDPLATE_SSH_KEYS:-}" ] || install -D -m 0600 "$BEDPLATE_SSH_KEYS" "$root/root/.ssh/authorized_keys"
