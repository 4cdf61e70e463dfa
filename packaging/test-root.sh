# shellcheck shell=bash
# A root directory with some packages, in which tests run the real programs. Sourced after common.sh and distribution.sh.

build_test_root() {
    local result=$1 what=$2 sources options=() directory
    shift 2
    sources=$(apt_sources "$(components_for plain)")
    for directory in doc man info locale lintian bug; do
        options+=("--dpkgopt=path-exclude=/usr/share/$directory/*")
    done
    say "building a root directory of $DISTRO $SUITE with $what"
    rm -rf "$result".new.*
    mkdir -p "$result.new.$$"
    # unshare: what is mounted in the root of a build that is killed goes with it, before the next build removes that root.
    unshare --mount mmdebstrap --quiet --mode=root --variant=apt --format=directory --architectures=amd64 \
        --keyring="$(archive_keyring)" --include="$*" \
        --aptopt='APT::Install-Recommends "false"' "${options[@]}" \
        "$SUITE" "$result.new.$$/root" ${sources:+-} <<<"$sources"
    # shellcheck disable=SC2016 # dpkg's own placeholders
    chroot "$result.new.$$/root" dpkg-query -W -f '${Package} ${Version}\n' >"$result.new.$$/packages"
    publish "$result"
}

# test_root WHAT PACKAGE..: prints the path of such a root directory, built or out of the cache.
test_root() {
    local what=$1 prefix result
    shift
    choose_distribution
    prefix=$(cache_dir)/$what-$DISTRO-$SUITE-
    result=$prefix$(digest_of "$MIRROR" "$@" -- packaging/test-root.sh)
    lock "$what-$DISTRO-$SUITE"
    if [ -e "$result/packages" ] && [ -z "${REFRESH:-}" ]; then
        say_cached "root directory with $what" "$result/packages"
    else
        [ "$(id -u)" = 0 ] || die "mmdebstrap needs root"
        build_test_root "$result" "$what" "$@" >&2
        forget_older "$prefix" "$result"
    fi
    printf '%s\n' "$result/root"
}
