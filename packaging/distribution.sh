# shellcheck shell=bash
# Which distribution an image is built of, and where its packages come from. Sourced after common.sh.

os_release() { (
    # shellcheck disable=SC1091
    . /etc/os-release
    printf '%s\n' "${!1-}"
); }

# A derivative counts as the family that it names first among those that are supported.
host_family() {
    local word
    for word in $(os_release ID) $(os_release ID_LIKE); do
        case $word in debian | ubuntu)
            printf '%s\n' "$word"
            return
            ;;
        esac
    done
}

# Sets DISTRO, SUITE and MIRROR where the caller left them empty. An empty MIRROR means: the archives that
# this host's apt uses, or, for another distribution, those that mmdebstrap knows for the suite.
choose_distribution() {
    DISTRO=${DISTRO:-$(host_family)}
    case ${DISTRO:-} in
    debian) : "${SUITE:=$(suite_of_host stable)}" ;;
    ubuntu) : "${SUITE:=$(suite_of_host noble)}" ;;
    '') die "this host is neither Debian nor Ubuntu: name the image's with DISTRO=debian or DISTRO=ubuntu" ;;
    *) die "DISTRO=$DISTRO is not supported: debian, ubuntu" ;;
    esac
    MIRROR=${MIRROR:-}
}

suite_of_host() {
    local codename=''
    [ "$DISTRO" != "$(os_release ID)" ] || codename=$(os_release VERSION_CODENAME)
    printf '%s\n' "${codename:-$1}"
}

# The keyring is named rather than taken from apt's trusted set: a foreign distribution's is not in there.
archive_keyring() {
    local file
    for file in "${KEYRING:-}" "/usr/share/keyrings/$DISTRO-archive-keyring".{gpg,pgp}; do
        [ -z "$file" ] || [ ! -r "$file" ] || {
            printf '%s\n' "$file"
            return
        }
    done
    die "no keyring of $DISTRO in /usr/share/keyrings: install it, or name the file with KEYRING="
}

# Lines "URI RELEASE COMPONENT" of the distribution's own repositories in this host's apt; third-party ones
# have another origin.
host_repositories() {
    local origin=Debian
    [ "$DISTRO" = debian ] || origin=Ubuntu
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' "Origin: $origin" 'Architecture: amd64' | sort -u
}

# components_for VARIANT: firmware is free neither of licence nor of weight, so only what runs on real
# hardware asks for it.
components_for() {
    case $DISTRO in
    debian) [ "$1" = firmware ] && printf 'main non-free-firmware' || printf 'main' ;;
    ubuntu) printf 'main restricted universe' ;;
    esac
}

# apt_sources COMPONENTS: sources.list lines for the image, its security and stable updates included.
apt_sources() {
    local signed
    signed="[signed-by=$(archive_keyring)]"
    if [ -n "$MIRROR" ]; then
        printf 'deb %s %s %s %s\n' "$signed" "$MIRROR" "$SUITE" "$1"
        return
    fi
    [ "$DISTRO" = "$(host_family)" ] || return 0
    local codename
    codename=$(os_release VERSION_CODENAME)
    host_repositories | while read -r uri release _; do
        case $release in "$codename" | "$codename-updates" | "$codename-security")
            printf 'deb %s %s %s %s\n' "$signed" "$uri" "${release/#$codename/$SUITE}" "$1"
            ;;
        esac
    done | sort -u
}
