#!/bin/bash
# Prints the metadata.yaml of a live bootstrap: metadata.sh ROOT DIRECTORY
# ROOT is the live system's root directory, DIRECTORY holds vmlinuz, initrd.img and root.squashfs. In upstream's form; the sha256 keys are additions.
#
# BEDPLATE_UUID    the image's UUID
# BEDPLATE_LABEL   a name for people; the UUID
# BEDPLATE_KOPTS   what the image wants on the kernel line beside what the master puts there
# BEDPLATE_REPOS   a file with the repositories as JSON, which YAML includes; those of ROOT
# BEDPLATE_URL     where the directory will be served; upstream's place on the master
set -euo pipefail
root=$1 directory=$2
: "${BEDPLATE_UUID:?is the UUID of the image}"
url=${BEDPLATE_URL:-http://127.0.0.1:8080/bootstraps/$BEDPLATE_UUID}

# quoted TEXT: a scalar that YAML takes for text whatever is in it.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

digest() { "$1sum" "$2" | cut -d' ' -f1; }

module() {
    local name=$1 file=$2 path=$directory/$2
    printf '  %s:\n    file: %s\n    raw_md5: %s\n    raw_sha256: %s\n    raw_size: %s\n    uri: %s\n' "$name" "$file" \
        "$(quoted "$(digest md5 "$path")")" "$(quoted "$(digest sha256 "$path")")" "$(stat -c %s "$path")" "$(quoted "$url/$file")"
}

operating_system() {
    local id version
    id=$(sed -n 's/^ID="\?\([a-z]*\).*/\1/p' "$root/etc/os-release")
    version=$(sed -n 's/^VERSION_ID="\?\([0-9.]*\).*/\1/p' "$root/etc/os-release")
    [ "$id" != debian ] || version=$(cat "$root/etc/debian_version")
    local minor=${version#*.}
    [ "$minor" != "$version" ] || minor=0
    printf 'os:\n  major: %d\n  minor: %d\n  name: %s\n' "${version%%.*}" "$((10#$minor))" "${id^}"
}

# Lines of sources.list, options in brackets left out; the components of a line are one text, as upstream writes them.
repositories() {
    local type uri suite section number=0
    while read -r type uri suite section; do
        printf -- '- name: repo_%d\n  priority: null\n  section: %s\n  suite: %s\n  type: %s\n  uri: %s\n' "$number" \
            "$(quoted "$section")" "$(quoted "$suite")" "$type" "$(quoted "$uri")"
        number=$((number + 1))
    done < <(cat "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^\(deb\(-src\)\?\) \+\(\[[^]]*\] *\)\?/\1 /p')
}

echo 'all_packages:'
# shellcheck disable=SC2016 # dpkg's own placeholders
dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package} ${Version}\n' | sort | while read -r name version; do
    printf '  %s: %s\n' "$(quoted "$name")" "$(quoted "$version")"
done
printf 'extend_kopts: %s\n' "$(quoted "${BEDPLATE_KOPTS:-}")"
printf 'label: %s\n' "$(quoted "${BEDPLATE_LABEL:-$BEDPLATE_UUID}")"
echo 'modules:'
module initrd initrd.img
module kernel vmlinuz
module rootfs root.squashfs
operating_system
if [ -n "${BEDPLATE_REPOS:-}" ]; then
    printf 'repos: %s\n' "$(cat "$BEDPLATE_REPOS")"
else
    echo 'repos:'
    repositories
fi
printf 'uuid: %s\n' "$(quoted "$BEDPLATE_UUID")"
