#!/bin/bash
# Runs shellcheck over every shell script of the repository, found by its first line.
set -euo pipefail

scripts() {
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ -f "$file" ] || continue
        # A template is a script only when it is filled in.
        [ "${file%.jinja2}" = "$file" ] || continue
        case $(head -c 80 "$file" | tr -d '\0' | head -n 1) in
        '#!'*[/\ ]bash* | '#!'*[/\ ]sh* | '# shellcheck shell='*) printf '%s\0' "$file" ;;
        esac
    done
}

scripts | xargs -0 shellcheck --external-sources --source-path=SCRIPTDIR/../..
