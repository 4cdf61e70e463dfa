# shellcheck shell=sh disable=SC2154 # the boot script sets log_dir
# What a person sees. Sourced by the boot script.

# Every `console=` of the kernel line, not only the last one, which is what /dev/console is.
consoles=$(cat /sys/class/tty/console/active 2>/dev/null)
shells_are_open=
shell_keepers=

# A console that cannot be opened (a serial port that the board does not have) must not end the boot.
say() {
    echo "bedplate: $*" >>"$log_dir/boot.log"
    for console in $consoles; do
        { echo "bedplate: $*" >"/dev/$console"; } 2>/dev/null || true
    done
}

# Errors only: the drivers' chatter would bury the lines of this script.
quiet_kernel() {
    has_option bedplate.debug || echo 4 >/proc/sys/kernel/printk
}

# Copies a growing file to each console. Not a pipe out of its writer: a terminal stopped by ^S, or a slow
# serial line, would stop the writer as well.
show_on_consoles() {
    for console in $consoles; do
        { tail -n +1 -f "$1" >"/dev/$console"; } 2>/dev/null &
    done
}

open_shells() {
    [ -z "$shells_are_open" ] || return 0
    shells_are_open=yes
    for console in $consoles; do
        # tty0 is whichever virtual terminal is shown; a shell needs a certain one.
        [ "$console" != tty0 ] || console=tty1
        keep_shell "$console" &
        shell_keepers="$shell_keepers $!"
    done
}

# Without a controlling terminal neither ^C nor job control works.
keep_shell() {
    while :; do
        clean_environment setsid -c -w sh -l <>"/dev/$1" >&0 2>&1
        sleep 1
    done
}

# Before another system takes the consoles over.
close_shells() {
    for keeper in $shell_keepers; do
        shells=$(pgrep -P "$keeper")
        # shellcheck disable=SC2086 # process ids
        kill -KILL "$keeper" $shells 2>/dev/null || true
    done
    shells_are_open='' shell_keepers=''
}
