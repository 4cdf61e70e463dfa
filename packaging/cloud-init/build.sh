#!/bin/bash
# Builds the root directory in which config drives are read by the real cloud-init. Cached; its path is printed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"
# shellcheck source=packaging/test-root.sh
. "$here/../test-root.sh"

packages=(cloud-init python3-jsonschema netplan.io iproute2 udev kmod mount)

test_root cloud-init "${packages[@]}"
