# shellcheck shell=sh disable=SC2154 # the boot script sets log_dir
# The network. Sourced by the boot script.

# How long one port may take to get a lease, and how long a drive round all ports is waited for before a person
# is told. The second is upstream's option ethdevice-timeout=.
lease_seconds=15
network_seconds=$(option_values ethdevice-timeout | tail -n 1)
network_seconds=${network_seconds:-120}
# A driver that loads its firmware first shows its port late; until then BOOTIF= may name a port to come.
late_port_seconds=15

uptime_seconds() { cut -d. -f1 /proc/uptime; }

# Bridges, bonds and the like have no device behind them.
ports() {
    for port in /sys/class/net/*; do
        [ ! -e "$port/device" ] || basename "$port"
    done
}

has_carrier() { [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]; }

# PXELINUX and iPXE write BOOTIF=01-aa-bb-cc-dd-ee-ff: hardware type, then the address.
port_of_bootif() {
    [ -n "$BOOTIF" ] || return 0
    mac=$(echo "${BOOTIF#*-}" | tr 'A-F-' 'a-f:')
    for port in $(ports); do
        [ "$(cat "/sys/class/net/$port/address")" != "$mac" ] || echo "$port"
    done
}

# Ports to try now, in this order: the one that ip= names, the one that PXE used, else all.
candidates() {
    if [ -n "$ip_device" ]; then
        echo "$ip_device"
        return
    fi
    bootif_port=$(port_of_bootif)
    if [ -n "$bootif_port" ]; then
        echo "$bootif_port"
    elif [ -z "$BOOTIF" ] || [ "$(uptime_seconds)" -ge "$bootif_deadline" ]; then
        ports
    fi
}

# Kernel's and klibc's form, ADDRESS:SERVER:GATEWAY:MASK:HOSTNAME:DEVICE:METHOD:DNS:DNS, or the method alone.
parse_ip_option() {
    ip_address='' ip_gateway='' ip_mask='' ip_hostname='' ip_device='' ip_method='' ip_dns=''
    case ${IP-} in
    *:*)
        saved_ifs=$IFS
        IFS=:
        # shellcheck disable=SC2086 # split at colons
        set -- $IP
        IFS=$saved_ifs
        ip_address=${1-} ip_gateway=${3-} ip_mask=${4-} ip_hostname=${5-} ip_device=${6-} ip_method=${7-}
        ip_dns="${8-} ${9-}"
        ;;
    *) ip_method=${IP-} ;;
    esac
}

configure_static() {
    prefix=$(ipcalc -p "$ip_address" "${ip_mask:-255.255.255.255}") || return 1
    ip addr add "$ip_address/${prefix#PREFIX=}" dev "$1" || return 1
    [ -z "$ip_gateway" ] || ip route replace default via "$ip_gateway" dev "$1" || return 1
    for server in $ip_dns; do
        echo "nameserver $server"
    done >/etc/resolv.conf
}

# It stays in the background: a node may wait here for days, and leases end.
configure_dhcp() {
    udhcpc -i "$1" -s /usr/lib/bedplate/udhcpc.script -p "/run/udhcpc.$1.pid" -t $((lease_seconds / 3)) -T 3 -n \
        >>"$log_dir/network.log" 2>&1
}

configure_port() {
    if [ -n "$ip_address" ]; then
        configure_static "$1"
    else
        configure_dhcp "$1"
    fi
}

# One round: each candidate that has a carrier, in turn, until one is configured or the time is over.
bring_up_network() {
    deadline=$(($(uptime_seconds) + network_seconds))
    while [ "$(uptime_seconds)" -lt $deadline ]; do
        for port in $(candidates); do
            ip link set "$port" up 2>>"$log_dir/network.log" || true
        done
        for port in $(candidates); do
            has_carrier "$port" || continue
            if configure_port "$port"; then
                configured_port=$port
                say "$port has $(addresses)"
                return 0
            fi
            say "$port has a carrier, but got no address"
        done
        sleep 0.2
    done
    return 1
}

addresses() { ip -4 -o addr show scope global | awk '{ print $4 }' | xargs; }

describe_ports() {
    for port in $(ports); do
        has_carrier "$port" && state=carrier || state='no carrier'
        echo "$port $(cat "/sys/class/net/$port/address") $state"
    done | xargs echo | sed 's/carrier /carrier, /g'
}

# Gives the port back its silence, for a daemon that takes over. The address stays.
stop_dhcp() {
    [ ! -e "/run/udhcpc.$configured_port.pid" ] || kill "$(cat "/run/udhcpc.$configured_port.pid")"
}

# What a round without success leads to.
network_is_late() { open_shells; }

# Returns only with a network, or where ip= wants none: a node without one can be reached by nobody, while its
# cable, switch or DHCP server may come back.
start_network() {
    ip link set lo up
    parse_ip_option
    [ -z "$ip_hostname" ] || hostname "$ip_hostname"
    case $ip_method in off | none)
        if [ -z "$ip_address" ]; then
            say "no network: ip=$IP"
            return
        fi
        ;;
    esac
    bootif_deadline=$(($(uptime_seconds) + late_port_seconds))
    until bring_up_network; do
        say "no network within $network_seconds s, trying on: ports: $(describe_ports)"
        network_is_late
    done
}
