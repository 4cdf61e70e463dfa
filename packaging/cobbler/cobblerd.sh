#!/bin/bash
# cobblerd.sh ENVIRONMENT STATE PORT [SERVER]: becomes a cobblerd that answers XML-RPC on this port of the loopback (root).
# Its paths are fixed, so that it runs in a mount name space of its own where they lie below STATE: STATE/tftpboot is what
# it writes for TFTP. The folders that these are mounted over are made, and stay, empty. STATE/password holds the password
# of the user `cobbler`. SERVER is the address that it tells nodes.
set -euo pipefail
environment=$1 state=$2 port=$3 server=${4:-127.0.0.1}

packaged() { "$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

# Where boot loaders are installed they are handed out; what is tested here does not need them.
loaders() {
    local file
    for file in /usr/lib/PXELINUX/pxelinux.0 /usr/lib/syslinux/modules/bios/*.c32; do
        [ ! -f "$file" ] || cp "$file" "$state/lib/loaders/"
    done
}

prepare() {
    local from event
    from=$(packaged)
    mkdir -p "$state"/{etc,lib,log/tasks,tftpboot,www}
    cp -r "$from/etc/cobbler/." "$state/etc/"
    cp -r "$from/var/lib/cobbler/." "$state/lib/"
    cp -r "$from/var/www/cobbler/." "$state/www/"
    mkdir -p "$state"/lib/{loaders,webcache,backup,grub_config/grub}
    mkdir -p "$state"/lib/collections/{distro,profile,system,repo,image,mgmtclass,package,file,menu}s
    for event in sync add delete install; do
        mkdir -p "$state/lib/triggers/$event"/{pre,post}
    done
    mkdir -p "$state"/www/{images,links,repo_mirror,localmirror,pub,rendered,distro_mirror}
    mkdir -p "$state"/tftpboot/{pxelinux.cfg,grub,images,images2,etc}
    python3 -c 'import hashlib, sys; print("cobbler:Cobbler:" + hashlib.sha3_512(sys.stdin.read().strip("\n").encode()).hexdigest())' \
        <"$state/password" >"$state/etc/users.digest"
    sed -i -e "s/^next_server_v4:.*/next_server_v4: $server/" -e "s/^server:.*/server: $server/" \
        -e "s/^xmlrpc_port:.*/xmlrpc_port: $port/" "$state/etc/settings.yaml"
    loaders
}

state=$(readlink -f "$state")
[ -d "$state/etc" ] || prepare
mkdir -p /etc/cobbler /var/lib/cobbler /var/log/cobbler /srv/tftpboot /var/www/cobbler
# shellcheck disable=SC2016 # the inner shell's own
exec unshare -m bash -c '
    set -e
    mount --make-rprivate /
    mount --bind "$1/etc" /etc/cobbler
    mount --bind "$1/lib" /var/lib/cobbler
    mount --bind "$1/log" /var/log/cobbler
    mount --bind "$1/tftpboot" /srv/tftpboot
    mount --bind "$1/www" /var/www/cobbler
    exec "$2/bin/python" "$2/bin/cobblerd" -F -l INFO
' bash "$state" "$environment"
