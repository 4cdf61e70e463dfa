#!/bin/bash
# Installs what `make bench` measures against, from the registries that have it: Debian or Ubuntu (root), crates.io, PyPI.
# What cannot be had is said and left out of the tables.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"

tools=$(cache_dir)/bench

packages=(
    # what makes and serves the images, and the driver
    mmdebstrap fdisk dosfstools e2fsprogs qemu-utils nginx-light python3 python3-venv time util-linux
    # the yardstick
    gcc libc6-dev libisal-dev libzstd-dev liblzma-dev liblz4-dev libssl-dev
    # peers
    curl wget gzip isal zstd lz4 xz-utils tabix openssl bmap-tools pigz qemu-block-extra
    # coreos-installer's crates
    pkg-config
)

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}"
    say "installing ${missing[*]}"
    apt-get update || say "some package lists were not updated"
    # A build machine's own web server is not ours to start.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

make_yardstick() {
    mkdir -p "$tools/bin"
    [ ! "$tools/bin/yardstick" -nt "$here/yardstick.c" ] || return 0
    cc -O2 -Wall -Wextra -o "$tools/bin/yardstick" "$here/yardstick.c" -lisal -lzstd -llzma -llz4 -lcrypto -lpthread
}

make_coreos_installer() {
    [ -x "$tools/bin/coreos-installer" ] ||
        CARGO_TARGET_DIR="$tools/target" cargo install coreos-installer --locked --root "$tools"
    rm -rf "$tools/target"
    # It waits for udevd, which build machines and containers do without: in a mount namespace of its own it finds one.
    mkdir -p "$tools/shim"
    printf '#!/bin/sh\nexit 0\n' >"$tools/shim/udevadm"
    cat >"$tools/coreos-installer.sh" <<'RUN'
#!/bin/sh
tools=$(dirname "$0")
exec unshare --mount sh -c 'mount -t tmpfs none /run && mkdir /run/udev && : >/run/udev/control &&
    PATH="$0/shim:$PATH" exec "$0/bin/coreos-installer" "$@"' "$tools" "$@"
RUN
    chmod +x "$tools/shim/udevadm" "$tools/coreos-installer.sh"
}

make_ironic() {
    [ -x "$tools/venv/bin/python" ] || python3 -m venv "$tools/venv"
    "$tools/venv/bin/python" -c 'import ironic_python_agent' 2>/dev/null ||
        "$tools/venv/bin/pip" install -q ironic-python-agent
    [ -z "${FUEL_AGENT:-}" ] || "$tools/venv/bin/python" -c 'import jinja2, six, yaml' 2>/dev/null ||
        "$tools/venv/bin/pip" install -q requests oslo.config oslo.log jinja2 stevedore six pyyaml urllib3
}

main() {
    lock bench-peers
    install_packages
    make_yardstick
    make_ironic || say "ironic-python-agent could not be installed"
    make_coreos_installer || say "coreos-installer could not be built"
}

main
