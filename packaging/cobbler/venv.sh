#!/bin/bash
# Prints the folder of a Python environment with the cobblerd that tests speak to; makes it when it is missing. Programs
# in it are to be started as FOLDER/bin/python FOLDER/bin/NAME: it was made under another name.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/../common.sh"

make_environment() {
    say "making a Python environment with cobblerd"
    python3 -m venv "$1"
    # Without what cobbler asks for and does not need here: LDAP and Apache's module, which are compiled.
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        -r "$repository/packaging/cobbler/requirements.txt" >&2
    [ -f "$1/bin/cobblerd" ] || die "the package cobbler has no cobblerd"
}

main() {
    local environment
    environment=$(cache_dir)/cobbler-$(digest_of "$(python3 --version)" -- packaging/cobbler/requirements.txt packaging/cobbler/venv.sh)
    lock cobbler
    if [ -n "${REFRESH:-}" ] || [ ! -d "$environment" ]; then
        # shellcheck disable=SC2064 # the name as it is now
        trap "rm -rf '$environment.new.$$'" EXIT
        make_environment "$environment.new.$$"
        publish "$environment"
        forget_older "$(cache_dir)/cobbler-" "$environment"
    else
        say_cached cobblerd "$environment"
    fi
    printf '%s\n' "$environment"
}

main
