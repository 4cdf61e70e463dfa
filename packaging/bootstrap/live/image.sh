#!/bin/bash
# Makes a live system and the base of its initrd inside a root directory: image.sh ROOT
# A hook of mmdebstrap, which has mounted what programs in ROOT want. It is what `bedplate-master bootstrap build` does there.
#
# BEDPLATE_WORK        the build's folder. It holds what the site wants in the image, each only where it wants something:
#                        apt/{sources.list.d,preferences.d,keyrings}/  apt's own files
#                        certs, extra-dirs                             lists of paths, one a line
#                        authorized_keys, root-password, post-script   files
#                      and gets base/{vmlinuz,initrd.img,packages}, and a line in phases as each phase begins
# BEDPLATE_INITRAMFS, BEDPLATE_VARIANT, BEDPLATE_DEBS, BEDPLATE_UUID, SOURCE_DATE_EPOCH
#                      as the scripts take them that this calls
# BEDPLATE_FIRMWARE    firmware or plain
set -euo pipefail
root=$1
here=$(dirname "$(readlink -f "$0")")
: "${BEDPLATE_WORK:?is the folder of the build}" "${BEDPLATE_INITRAMFS:?}" "${BEDPLATE_FIRMWARE:?}"
wanted=$BEDPLATE_WORK

phase() { echo "$1" >>"$wanted/phases"; }

lines_of() { [ ! -e "$wanted/$1" ] || cat "$wanted/$1"; }

# What was installed by names that mean something on the building machine is from here on told by names that mean something
# in the image, to whoever runs apt there.
set_up_apt() {
    rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
    cp -r --no-preserve=mode,ownership "$wanted"/apt/. "$root/etc/apt/"
}

# A folder is laid over the root directory, as upstream's builder does it.
lay_over() { rsync -rlptDK --chown=root:root "$1/" "$root/"; }

trust_certificates() {
    local path any=
    while IFS= read -r path; do
        any=yes
        if [ -d "$path" ]; then
            lay_over "$path"
        else
            # update-ca-certificates sees no other ending.
            install -D -m 0644 "$path" "$root/usr/local/share/ca-certificates/$(basename "${path%.*}").crt"
        fi
    done < <(lines_of certs)
    [ -z "$any" ] || chroot "$root" update-ca-certificates
}

lay_extra_directories() {
    local path
    while IFS= read -r path; do
        lay_over "$path"
    done < <(lines_of extra-dirs)
}

# chpasswd reads it: what is in an argument, everybody sees.
set_root_password() {
    [ ! -e "$wanted/root-password" ] || sed 's/^/root:/' "$wanted/root-password" | chroot "$root" chpasswd -e
}

run_post_script() {
    [ -e "$wanted/post-script" ] || return 0
    install -m 0700 "$wanted/post-script" "$root/bedplate-post-script"
    DEBIAN_FRONTEND=noninteractive HOME=/root chroot "$root" bash /bedplate-post-script </dev/null || {
        echo "bedplate: exit status $?"
        exit 1
    }
    rm -f "$root/bedplate-post-script"
}

phase customize
set_up_apt
"$here/customize.sh" "$root"
[ ! -e "$wanted/authorized_keys" ] || export BEDPLATE_SSH_KEYS=$wanted/authorized_keys
phase agent
"$here/agent.sh" "$root"
phase extra-files
trust_certificates
lay_extra_directories
set_root_password
phase post-script
run_post_script
phase initrd
mkdir -p "$wanted/base"
"$here/../make-base.sh" "$root" "$BEDPLATE_INITRAMFS" "$wanted/base" "$BEDPLATE_FIRMWARE"
phase clean
