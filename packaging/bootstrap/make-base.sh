#!/bin/bash
# Hook of mmdebstrap: make-base.sh ROOT INITRAMFS_DIRECTORY RESULT_DIRECTORY firmware|plain
# Makes the base initrd inside ROOT and leaves it, the kernel and what is known about them in RESULT_DIRECTORY.
set -euo pipefail
root=$1 initramfs=$2 result=$3 variant=$4

# Which of them exist differs between releases. Only files that a module asks for end up in the initrd.
firmware='linux-free|misc-nonfree|amd-graphics-none|bnx2|bnx2x|cavium|intel-misc|mellanox.*|myricom|netronome|netxen|qlogic|realtek|chelsio.*'

install_firmware() {
    local packages
    mapfile -t packages < <(chroot "$root" apt-cache pkgnames firmware- | grep -Ex "firmware-($firmware)" || true)
    # Ubuntu has one package for all, and the kernel's package brings it along.
    if [ ${#packages[@]} -gt 0 ]; then
        DEBIAN_FRONTEND=noninteractive INITRD=No chroot "$root" apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
    fi
}

kernel_release() {
    local found=("$root"/boot/vmlinuz-*)
    [ ${#found[@]} = 1 ] || {
        echo "make-base.sh: expected one kernel, there are: ${found[*]}" >&2
        exit 1
    }
    echo "${found[0]#"$root"/boot/vmlinuz-}"
}

# The boot script and the files come with the overlay.
make_initrd() {
    mkdir -p "$root/tmp/initramfs/scripts" "$root/tmp/initramfs/conf.d"
    cp -a "$initramfs"/{hooks,initramfs.conf,modules} "$root/tmp/initramfs/"
    chroot "$root" mkinitramfs -d /tmp/initramfs -o /tmp/initrd.img "$1" 2>"$result/mkinitramfs.log" || {
        cat "$result/mkinitramfs.log" >&2
        exit 1
    }
}

# "MODULE: FILE.." for each module of the initrd that can ask for a file which no installed package has. (The
# warnings of initramfs-tools speak only of modules that the building machine runs.)
list_missing_firmware() {
    local module file
    chroot "$root" sh -c "lsinitramfs /tmp/initrd.img | sed -n 's|.*/\\([^/]*\\)\\.ko\\(\\..*\\)\\?\$|\\1|p' | xargs modinfo -k '$1'" |
        awk '$1 == "filename:" { sub(".*/", "", $2); sub("[.]ko.*", "", $2); module = $2 } $1 == "firmware:" { print module, $2 }' |
        sort -u | while read -r module file; do
        # A name can be a pattern; a file can be compressed.
        compgen -G "$root/lib/firmware/$file*" >/dev/null || echo "$module $file"
    done | awk '$1 != module { if (module) print ""; printf "%s:", $1; module = $1 } { printf " %s", $2 } END { if (module) print "" }'
}

[ "$variant" != firmware ] || install_firmware
release=$(kernel_release)
make_initrd "$release"
list_missing_firmware "$release" >"$result/firmware-missing"
# shellcheck disable=SC2016 # dpkg's own placeholders
chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' >"$result/packages"
cp "$root/boot/vmlinuz-$release" "$result/vmlinuz"
mv "$root/tmp/initrd.img" "$result/initrd.img"
