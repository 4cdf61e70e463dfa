#!/bin/bash
# Builds libudev.a, which no distribution ships, out of the distribution's own systemd source.
# Prints the directory that holds it and `cargo.toml`, the override that makes libudev-sys link it.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"

DISTRO=$(host_family)
target=x86_64-unknown-linux-gnu

# systemd's combo options ignore --auto-features, hence each by name.
meson_options=(
    --auto-features=disabled -Dmode=release -Dbuildtype=release -Dstatic-libudev=pic
    -Dtests=false -Dman=false -Dhtml=false -Dtranslations=false -Ddbus=false
    -Dgcrypt=false -Dopenssl=false -Dgnutls=false -Dzstd=false -Dlz4=false -Dxz=false -Dzlib=false
    -Dbzip2=false -Dp11kit=false -Dselinux=false -Dlibidn2=false -Dpcre2=false -Dblkid=false
    -Ddns-over-tls=false -Dresolve=false -Dimportd=false -Dtpm=false -Dnss-myhostname=false
    '-Dc_args=-ffunction-sections -fdata-sections'
)

# libudev-dev is built from the very source that is wanted, so apt knows the version without source lists.
source_version() {
    local version
    version=$(apt-cache policy libudev-dev | sed -n 's/^  Candidate: //p')
    case $version in '' | '(none)') die "apt knows no libudev-dev: run apt-get update" ;; esac
    # A rebuild by the archive changes the binary's version, not the source's.
    printf '%s\n' "${version%+b[0-9]*}"
}

# Own lists and own source entries: the host's stay as they are. Its other settings (proxy) and the signature
# checks are in force.
apt_private() {
    local dir=$1
    shift
    apt-get -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" "$@"
}

fetch_source() {
    local dir=$1 keyring
    keyring=$(archive_keyring)
    mkdir -p "$dir"/{lists,cache,source}
    host_repositories | sed "s|^|deb-src [signed-by=$keyring] |" >"$dir/sources.list"
    apt_private "$dir" update
    # apt drops to its own user for downloads, which cannot write below a private directory.
    (cd "$dir/source" && apt_private "$dir" -o APT::Sandbox::User=root source "systemd=$2")
}

compile() {
    local source=$1 build=$2
    meson setup "$build" "$source" "${meson_options[@]}"
    # libudev.a misses this dependency in systemd's own rules.
    ninja -C "$build" version.h
    ninja -C "$build" libudev.a
}

cargo_override() {
    cat <<END
[target.$target.libudev]
rustc-link-search = ["native=$1"]
rustc-link-lib = ["static=udev"]
rustc-cfg = ["hwdb"]
hwdb = "true"
END
}

build() {
    local result=$1 version=$2 work source
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory's name is wanted as it is now
    trap "rm -rf '$work'" EXIT
    say "building libudev.a of systemd $version"
    fetch_source "$work" "$version"
    source=$(find "$work/source" -mindepth 1 -maxdepth 1 -type d)
    compile "$source" "$work/build"
    mkdir -p "$result.new.$$"
    cp "$work/build/libudev.a" "$source/LICENSE.LGPL2.1" "$result.new.$$"
    cargo_override "$result" >"$result.new.$$/cargo.toml"
    printf 'systemd %s\n' "$version" >"$result.new.$$/SOURCE"
    publish "$result"
}

main() {
    local version result
    version=$(source_version)
    result=$(cache_dir)/libudev-$version-$(digest_of "$(cc -dumpfullversion)" -- packaging/static/libudev.sh)
    lock libudev
    [ -e "$result/libudev.a" ] || build "$result" "$version" >&2
    printf '%s\n' "$result"
}

main
