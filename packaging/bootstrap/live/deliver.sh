#!/bin/bash
# Makes the files of a live bootstrap: deliver.sh ROOT BASE RESULT
# ROOT is the finished root directory, which this spoils; BASE holds vmlinuz and the base of the initrd, initrd.img, as
# make-base.sh leaves them. RESULT gets vmlinuz, initrd.img, root.squashfs and metadata.yaml.
#
# AGENT                      the agent, for the initrd
# BEDPLATE_SSH_KEYS          a file in the form of authorized_keys: who may log in as root; optional
# BEDPLATE_PHASES            a file that gets a line as each phase begins; optional
# BEDPLATE_VARIANT           full or small (small: packed less, in a fraction of the time)
# BEDPLATE_UUID, SOURCE_DATE_EPOCH, BEDPLATE_LABEL, BEDPLATE_KOPTS, BEDPLATE_REPOS, BEDPLATE_URL
#                            as seal.sh and metadata.sh take them
set -euo pipefail
root=$1 base=$2 result=$3
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../../common.sh"
# shellcheck source=packaging/bootstrap/parts.sh
. "$here/../parts.sh"
: "${AGENT:?names the agent}" "${SOURCE_DATE_EPOCH:?is the moment of the build}"
export SOURCE_DATE_EPOCH SSH_AUTHORIZED_KEYS=${BEDPLATE_SSH_KEYS:-}

phase() { [ -z "${BEDPLATE_PHASES:-}" ] || echo "$1" >>"$BEDPLATE_PHASES"; }

make_initrd() {
    local overlay
    overlay=$(mktemp -d "$result/overlay.XXXXXX")
    lay_overlay "$overlay"
    { cat "$base/initrd.img" && make_overlay "$overlay"; } >"$result/initrd.img"
    rm -r "$overlay"
}

mkdir -p "$result"
phase squashfs
BEDPLATE_SQUASHFS_LEVEL=$([ "${BEDPLATE_VARIANT:-full}" = small ] && echo 6 || echo 15) \
    "$here/seal.sh" "$root" "$result/root.squashfs"
phase files
make_initrd
cp "$base/vmlinuz" "$result/vmlinuz"
"$here/metadata.sh" "$root" "$result" >"$result/metadata.yaml"
chmod 0644 "$result"/*
