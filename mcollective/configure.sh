#!/bin/sh
# Configures mcollectived from the kernel line and from the node's id, and has it started with that.
#
# mcollective-configure [ROOT]: ROOT is the system to configure (tests, image builders); nothing is started there.
#
# | kernel line | meaning; default |
# | url=http://HOST:PORT/.. | Nailgun's address; its host is the broker's |
# | mco_host=HOST, mco_port=PORT | the broker, where it is another one; 61613 |
# | mco_user=USER, mco_pass=PASSWORD | its account; mcollective, marionette, as Fuel has them |
# | bedplate.master=URL | beside another mco_ word, without url= and mco_host=, its host is the broker's |
# With neither url= nor one of mco_ nobody drives the node through mcollective, and its daemon is left alone.
set -eu
umask 077

root=${1:-}
template=$root/usr/share/bedplate/mcollective/server.cfg
config=$root/etc/mcollective/server.cfg
facts=$root/etc/mcollective/facts.yaml

say() { echo "mcollective-configure: $*"; }

die() {
    say "$*" >&2
    exit 1
}

# The last of several words with a key counts, as with the kernel's own.
kernel_value() {
    value=
    for word in $line; do
        case $word in "$1="*) value=${word#*=} ;; esac
    done
    printf '%s\n' "$value"
}

# has_conductor: whether the kernel line speaks of one.
has_conductor() {
    for word in $line; do
        case $word in url=* | mco_host=* | mco_port=* | mco_user=* | mco_pass=*) return 0 ;; esac
    done
    return 1
}

# http://user@host:8000/api, http://[fd00::1]:8000/ -> host, fd00::1
host_of() {
    host=${1#*://}
    host=${host%%/*}
    host=${host##*@}
    case $host in
    "["*) host=${host#"["} host=${host%%"]"*} ;;
    *) host=${host%%:*} ;;
    esac
    printf '%s\n' "$host"
}

broker() {
    host=$(kernel_value mco_host)
    [ -n "$host" ] || host=$(host_of "$(kernel_value url)")
    [ -n "$host" ] || host=$(host_of "$(kernel_value bedplate.master)")
    printf '%s\n' "$host"
}

# By the shell itself: in the arguments of another program the password would be for everyone to see.
fill() {
    while IFS= read -r text; do
        case $text in
        *=\ @IDENTITY@) text=${text%@*@}$identity ;;
        *=\ @HOST@) text=${text%@*@}$host ;;
        *=\ @PORT@) text=${text%@*@}$port ;;
        *=\ @USER@) text=${text%@*@}$user ;;
        *=\ @PASSWORD@) text=${text%@*@}$password ;;
        esac
        printf '%s\n' "$text"
    done <"$template"
}

# systemctl ARGUMENT.. on this system alone.
service() { [ -n "$root" ] || systemctl --no-block "$@" mcollective.service; }

# Words are split, and none of them is taken for a pattern of file names.
set -f
line=$(cat "$root/proc/cmdline")
has_conductor || {
    say 'the kernel line has neither url= nor mco_host=: nobody drives this node through mcollective'
    exit 0
}
identity=
[ ! -r "$root/etc/nailgun_uid" ] || identity=$(cat "$root/etc/nailgun_uid")
case $identity in
'')
    say 'the node has no id yet: /etc/nailgun_uid comes with its discovery'
    exit 0
    ;;
*[!0-9]*) die "reading /etc/nailgun_uid: expected digits, found $identity" ;;
esac
host=$(broker)
[ -n "$host" ] || die 'no broker is known: the kernel line names no host by url=, mco_host= or bedplate.master='
port=$(kernel_value mco_port)
user=$(kernel_value mco_user)
password=$(kernel_value mco_pass)
: "${port:=61613}" "${user:=mcollective}" "${password:=marionette}"

mkdir -p "$root/etc/mcollective"
[ -e "$facts" ] || printf -- '---\nbedplate: bootstrap\n' >"$facts"
fill >"$config.new"
# A restart would cost the answers of the commands that run now.
if cmp -s "$config.new" "$config"; then
    rm "$config.new"
    service start
else
    mv "$config.new" "$config"
    say "node $identity is served by $user at $host:$port"
    service restart
fi
