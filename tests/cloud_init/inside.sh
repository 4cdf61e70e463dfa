#!/bin/bash
# The system in which cloud-init reads a config drive: inside.sh ROOT WORK DEVICE SOURCE
#
# Runs in namespaces of its own (mount, network, process, host name). ROOT is never written to: all is in memory on WORK. DEVICE
# is the one disk in its /dev, or `none`. What the kernel would mount is WORK/drive.
set -euo pipefail
root=$1 work=$2 device=$3 source=$4
here=$(dirname "$(readlink -f "$0")")
memory=$work/memory
system=$memory/system

mkdir "$memory"
mount -t tmpfs tmpfs "$memory"
mkdir "$memory"/{upper,work,system}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$memory/upper,workdir=$memory/work" "$system"
mount -t proc proc "$system/proc"
# Without it blkid sees no devices.
mount -t sysfs -o ro sysfs "$system/sys"
mount -t tmpfs tmpfs "$system/dev"
mknod -m 0666 "$system/dev/null" c 1 3
mknod -m 0666 "$system/dev/urandom" c 1 9
if [ "$device" != none ]; then
    mknod "$system$device" b "0x$(stat -c %t "$device")" "0x$(stat -c %T "$device")"
fi
if [ "$source" = seed ]; then
    mkdir -p "$system/var/lib/cloud/seed"
    cp -r "$work/drive" "$system/var/lib/cloud/seed/nocloud"
fi
cp -r "$work/drive" "$system/drive"
cp "$here"/{read.py,schema-network-config-v2.json} "$system/"
exec chroot "$system" python3 /read.py "$source" /drive
