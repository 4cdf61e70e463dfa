# shellcheck shell=sh disable=SC2034,SC2154 # TORAM is read, the others are set by /init and live-boot
# The live mode, boot=live: what live-boot does otherwise than a bootstrap wants. Sourced after live-boot's own
# components (9990-*), whose functions of the same names these replace: the port that PXE used is the only one that is
# configured, by the code of the minimal mode; the file is fetched with retries and compared with a digest; a failure ends in
# a message and a shell. Mounting and the overlay are live-boot's.

log_dir=/var/log/bedplate
mkdir -p "$log_dir"
for part in kernel-line console process network ssh fetch; do
    # shellcheck source=/dev/null
    . "/usr/lib/bedplate/$part.sh"
done

# live-boot's first step that is ours.
Select_eth_device() {
    obey_signals
    quiet_kernel
    raise_clock
    hostname bootstrap
}

# With panic= on the kernel line nobody sits in front of the node: it starts anew rather than wait for a person.
network_is_late() {
    [ -z "$panic" ] || panic "no network within $network_seconds s"
    open_shells
}

do_netsetup() { start_network; }

do_httpmount() {
    case ${FETCH-} in
    http://*) ;;
    https://*)
        # busybox's TLS asks for no certificate, and speaks what today's servers refuse.
        why="fetch=$FETCH on the kernel line: this initrd cannot tell who answers: expected http://, and bedplate.squashfs= with the digest of the file"
        return 1
        ;;
    *)
        why="fetch=${FETCH-} on the kernel line: expected an address of http"
        return 1
        ;;
    esac
    say "fetching $FETCH"
    mount -t tmpfs -o mode=755,size=90% tmpfs "$mountpoint"
    mkdir -p "$mountpoint/$LIVE_MEDIA_PATH"
    if ! fetch_squashfs "$FETCH" "$mountpoint/$LIVE_MEDIA_PATH/root.squashfs"; then
        umount "$mountpoint"
        return 1
    fi
    # What earlier attempts said is nobody's reason any more. `toram` would hold the file in memory twice for a while.
    why='' TORAM=''
}

# live-boot's last step that is ours: from here on the live system's own daemon keeps the network.
Netbase() {
    write_network_unit
    stop_dhcp
    close_shells
    say "the live system starts, $(cut -d' ' -f1 /proc/uptime) s after the kernel"
    cp "$log_dir"/*.log "$rootmnt/var/log/bedplate/"
}

# systemd-networkd reads it from /run, which the live system inherits. It asks for the address that is there, by the same
# client identifier. The other ports are left alone.
write_network_unit() {
    mkdir -p /run/systemd/network
    {
        printf '[Match]\nMACAddress=%s\nType=ether\n\n[Network]\n' "$(cat "/sys/class/net/$configured_port/address")"
        if [ -n "$ip_address" ]; then
            echo "Address=$(addresses)"
            [ -z "$ip_gateway" ] || echo "Gateway=$ip_gateway"
        else
            printf 'DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\n'
        fi
    } >/run/systemd/network/10-bedplate.network
    # A unit file that others cannot read is complained of.
    chmod 0644 /run/systemd/network/10-bedplate.network
}

# Everything in live-boot that cannot go on comes here.
panic() {
    # live-boot writes into a log that a process copies to the console.
    if [ -n "${tailpid-}" ]; then
        exec 1>&6 6>&- 2>&7 7>&-
        kill "$tailpid" 2>/dev/null
        tailpid=
    fi
    say "the live system does not start: ${why:-$*}"
    if [ -n "$panic" ] && [ "$panic" != 0 ]; then
        say "restarting in ${panic#-} s, as panic=$panic on the kernel line asks"
        [ "$panic" -lt 0 ] || sleep "$panic"
        reboot -f
    fi
    [ -z "${configured_port-}" ] || start_ssh
    say "here is a shell; logs are in $log_dir; \`reboot -f\` tries again"
    open_shells
    stay
}
