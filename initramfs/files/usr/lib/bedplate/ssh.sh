# shellcheck shell=sh disable=SC2154 # the boot script sets log_dir
# The ssh server. Sourced by the boot script.

authorized_keys=/root/.ssh/authorized_keys

# bedplate.ssh-key=: one line of authorized_keys in url-safe base64, without or with padding.
keys_of_kernel_line() {
    option_values bedplate.ssh-key | tr -- '-_' '+/' | while read -r encoded; do
        case $((${#encoded} % 4)) in
        2) encoded="$encoded==" ;;
        3) encoded="$encoded=" ;;
        esac
        echo "$encoded" | base64 -d
        echo
    done
}

start_ssh() {
    mkdir -p /root/.ssh /etc/dropbear
    chmod 0700 /root /root/.ssh
    keys_of_kernel_line >>"$authorized_keys"
    chmod 0600 "$authorized_keys"
    if ! grep -q '[^[:space:]]' "$authorized_keys"; then
        say "ssh is off: neither the image nor bedplate.ssh-key= on the kernel line has a key"
        return
    fi
    # -R: the host key is made at the first connection, so no two nodes share one. -s: by key only.
    clean_environment dropbear -F -E -R -s -j -k -m 2>>"$log_dir/ssh.log" &
}
