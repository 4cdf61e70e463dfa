# shellcheck shell=sh
# The kernel command line. Sourced by the boot script.

# has_option NAME: whether NAME or NAME=... stands on it.
has_option() {
    # shellcheck disable=SC2013 # words are meant
    for word in $(cat /proc/cmdline); do
        case $word in "$1" | "$1"=*) return 0 ;; esac
    done
    return 1
}

# option_values NAME: the value of each NAME=..., one a line.
option_values() {
    # shellcheck disable=SC2013 # words are meant
    for word in $(cat /proc/cmdline); do
        case $word in "$1"=*) echo "${word#*=}" ;; esac
    done
}
