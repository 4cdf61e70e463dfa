# shellcheck shell=sh disable=SC2154 # the boot script sets log_dir
# The live system's file, from the master into memory. Sourced by the boot script of the live mode.

# About half a minute of pauses in all: a server that restarts comes back in that time.
fetch_attempts=5
first_pause=2
# A connection that gives nothing for so long is broken off.
silent_seconds=30

# The digest that the kernel line demands, as ALGORITHM:HEX; nothing when it demands none.
wanted_digest() { option_values bedplate.squashfs | tail -n 1 | tr 'A-F' 'a-f'; }

# Whether the demand itself can be met by any file.
is_digest() {
    case $1 in
    sha256:*) digits=64 ;;
    sha512:*) digits=128 ;;
    *) return 1 ;;
    esac
    hex=${1#*:}
    [ ${#hex} = $digits ] || return 1
    case $hex in *[!0-9a-f]*) return 1 ;; esac
}

# The following leave the reason of a failure in `why`.

# busybox is built without the time limit of its wget.
download() {
    wget -q -O "$2" "$1" 2>"$log_dir/fetch.log" &
    fetcher=$!
    end_when_silent $fetcher "$2" &
    watcher=$!
    wait $fetcher && code=0 || code=$?
    kill $watcher 2>/dev/null || true
    [ "$code" != 0 ] || return 0
    why=$(tail -n 1 "$log_dir/fetch.log")
    why=${why#wget: }
    why=${why:-"wget ended with code $code"}
    return 1
}

# end_when_silent PROCESS FILE: ends a process that has added nothing to its file for too long.
end_when_silent() {
    seen=0 silent=0
    while kill -0 "$1" 2>/dev/null; do
        sleep 1
        size=$(stat -c %s "$2" 2>/dev/null || echo 0)
        silent=$((silent + 1))
        [ "$size" = "$seen" ] || silent=0
        seen=$size
        [ $silent -lt $silent_seconds ] || {
            echo "nothing came for $silent_seconds s after $size bytes" >>"$log_dir/fetch.log"
            kill "$1"
        }
    done
}

# An error page that was sent as an answer is told from a damaged file.
is_squashfs() {
    [ "$(head -c 4 "$1")" = hsqs ] && return 0
    why="it is no squashfs file, it has $(stat -c %s "$1") bytes"
    return 1
}

has_digest() {
    [ -n "$2" ] || return 0
    found=$("${2%%:*}sum" "$1" | cut -d' ' -f1)
    [ "$found" = "${2#*:}" ] && return 0
    why="its digest is ${2%%:*}:$found, expected $2"
    return 1
}

# fetch_squashfs URL FILE: a bounded number of attempts with longer and longer pauses.
fetch_squashfs() {
    digest=$(wanted_digest) attempt=1 pause=$first_pause
    if [ -n "$digest" ] && ! is_digest "$digest"; then
        why="bedplate.squashfs=$digest on the kernel line is no digest: expected sha256: and 64 digits, or sha512: and 128"
        return 1
    fi
    [ -n "$digest" ] || say "no bedplate.squashfs= on the kernel line: what is fetched is not compared with a digest"
    until download "$1" "$2" && is_squashfs "$2" && has_digest "$2" "$digest"; do
        rm -f "$2"
        say "fetching $1, attempt $attempt of $fetch_attempts: $why"
        if [ $attempt -ge $fetch_attempts ]; then
            why="fetching $1 failed $fetch_attempts times, at last: $why"
            return 1
        fi
        sleep $pause
        attempt=$((attempt + 1)) pause=$((pause * 2))
    done
}
