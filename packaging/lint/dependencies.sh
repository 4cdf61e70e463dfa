#!/bin/bash
# Licences, bans and sources of deny.toml, by cargo-deny where it is installed.
set -euo pipefail

if command -v cargo-deny >/dev/null; then
    exec cargo deny check bans licenses sources
fi
exec "$(dirname "$0")/dependencies.py"
