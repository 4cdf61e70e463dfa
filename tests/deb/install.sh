#!/bin/bash
# Installs packages one after the other in a root directory that is not written to: install.sh ROOT WORK FOLDER PACKAGE..
# Runs in mount and network namespaces of its own. FOLDER has the packages; a line of output tells of each installed state.
set -euo pipefail
root=$1 work=$2 folder=$3
shift 3
system=$work/system

mount -t tmpfs tmpfs "$work"
mkdir "$work"/{upper,work,system}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$system"
mount -t proc proc "$system/proc"
mount -t tmpfs tmpfs "$system/dev"
mknod -m 0666 "$system/dev/null" c 1 3
mkdir "$system/packages"
mount --bind "$folder" "$system/packages"
# The root directory is kept small by leaving documentation out; here it is a part of what is installed.
rm -f "$system"/etc/dpkg/dpkg.cfg.d/*

inside() { DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$system" "$@"; }

for package in "$@"; do
    inside apt-get install -y --no-install-recommends "/packages/$package" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    # shellcheck disable=SC2016 # dpkg's own placeholders
    echo "$(inside dpkg-query -W -f '${Package} ${Version} ${Status}' "${package%%_*}"), $(inside bedplate --version)"
done
# Nothing that was installed differs from what the packages say.
inside dpkg --verify bedplate bedplate-mcollective-agents
inside provision --version
inside ruby -c /usr/share/mcollective/plugins/mcollective/agent/erase_node.rb
