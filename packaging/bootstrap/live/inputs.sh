#!/bin/bash
# Prints what a live bootstrap is made of, for a builder: inputs.sh packages|dpkg-options|distribution|repositories
#
# packages      one a line: what a live system needs (DISTRO, KERNEL, VARIANT)
# dpkg-options  one a line, as dpkg takes them
# distribution  one line: name, suite, file with the archive's keys
# repositories  lines of sources.list: those that this host's apt has of the distribution (DISTRO, SUITE, KEYRING, FIRMWARE)
#
# DISTRO    debian or ubuntu; the host's family
# SUITE     its release; the host's
# KERNEL    generic, cloud, or the name of a kernel's package
# VARIANT   full or small
# FIRMWARE  firmware or plain: whether the repositories are to have firmware
# KEYRING   the archive's keys; /usr/share/keyrings/DISTRO-archive-keyring.gpg
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../../distribution.sh"
# shellcheck source=packaging/bootstrap/parts.sh
. "$here/../parts.sh"
# shellcheck source=packaging/bootstrap/live/packages.sh
. "$here/packages.sh"

choose_distribution
case ${1:-} in
packages) all_packages_of_live "${VARIANT:-full}" | tr ' ' '\n' ;;
dpkg-options) slimming ;;
distribution) printf '%s %s %s\n' "$DISTRO" "$SUITE" "$(archive_keyring)" ;;
repositories) apt_sources "$(components_for "${FIRMWARE:-firmware}")" ;;
*) die "expected packages, dpkg-options, distribution or repositories" ;;
esac
