# shellcheck shell=bash
# What every build script here shares. Sourced, never run.

export LC_ALL=C

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Artefacts that are costly to build lie outside the repository, so that a fresh clone finds them.
cache_dir() { printf '%s\n' "${BEDPLATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bedplate}"; }

repository=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")

# digest_of WORD.. -- PATH..: one short digest over the words and over names, modes and contents of the
# files below the paths, which are relative to the repository: each clone finds the same artefacts.
digest_of() {
    local words=()
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    {
        cd "$repository" || exit
        printf '%s\n' "${words[@]}"
        find "$@" -type f -printf '%m %p\n' | sort
        find "$@" -type f -print0 | sort -z | xargs -0 cat
    } | sha256sum | cut -c1-20
}

# lock NAME: two builds of one artefact wait for each other; the lock ends with the script.
lock() {
    mkdir -p "$(cache_dir)"
    exec 9>"$(cache_dir)/$1.lock"
    flock 9
}

# publish DIR: makes a finished directory (built as DIR.new.PID) visible under its name in one step, so
# that a build that was killed leaves nothing that looks finished.
publish() {
    rm -rf "$1"
    mv "$1.new.$$" "$1"
}

# forget_older PREFIX KEEP: a cache that only grows fills the disk; the three newest of a kind stay.
forget_older() {
    local old
    find "$(dirname "$1")" -maxdepth 1 -name "$(basename "$1")*" ! -name '*.new.*' -printf '%T@ %p\n' |
        sort -rn | tail -n +4 | cut -d' ' -f2- | while read -r old; do
        [ "$old" = "$2" ] || rm -rf "$old"
    done
}

# The age of a cached artefact is said each time: packages go stale silently otherwise.
say_cached() {
    say "$1: cached, built $(date -u -r "$2" '+%Y-%m-%d %H:%M') UTC (REFRESH=1 builds it anew)"
}
