# shellcheck shell=sh
# Process 1 and what it starts. Sourced by the boot scripts.

# The variables of /init are none of the agent's or a login's business.
clean_environment() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-linux}" "$@"
}

# A node whose battery is flat believes in 1970, and every certificate is then not valid yet. The image's build is
# the latest moment that is certainly past; the agent takes the master's time from there.
raise_clock() {
    read -r built </etc/bedplate/build-date || return 0
    [ "$(date +%s)" -ge "$built" ] || date -s "@$built" >/dev/null
}

# busybox's reboot, poweroff and halt signal process 1.
obey_signals() {
    trap 'sync; reboot -f' TERM
    trap 'sync; poweroff -f' USR2
    trap 'sync; halt -f' USR1
}

# Process 1 has to stay, to reap what others left, and to obey signals, which `wait` lets in and `sleep` does not.
stay() {
    while :; do
        sleep 3600 &
        wait $!
    done
}
