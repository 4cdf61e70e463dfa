#!/bin/bash
# Builds the root directory in which the mcollective agents are tested: mcollective with its client, its broker, puppet,
# and what the agent's package depends on. Cached; its path is printed.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=packaging/common.sh
. "$here/../common.sh"
# shellcheck source=packaging/distribution.sh
. "$here/../distribution.sh"
# shellcheck source=packaging/test-root.sh
. "$here/../test-root.sh"

packages=(mcollective mcollective-client rabbitmq-server puppet-agent udev fdisk kmod mount e2fsprogs)

test_root mcollective "${packages[@]}"
