#!/bin/sh
# Makes the seed corpora from tests/fixtures: documents alone for `request`, and with their machine for `plan`.
# cargo-fuzz finds them in corpus/TARGET. Also makes the dictionary of the format's words.
set -eu
cd "$(dirname "$0")"
fixtures=../tests/fixtures
mkdir -p corpus/request corpus/plan
for document in "$fixtures"/provision/*.json; do
    name=$(basename "$document" .json)
    # White space is nothing that a fuzzer needs to change.
    python3 -c 'import json, sys; json.dump(json.load(sys.stdin), sys.stdout, separators=(",", ":"))' \
        <"$document" >"corpus/request/$name.json"
    { cat "corpus/request/$name.json"; printf '\000'; cat "$fixtures/hardware/$name.json"; } >"corpus/plan/$name"
done
cp "$fixtures"/image-meta/*.yaml corpus/request/
printf 'a: &a [x, *a]\nb: {c: 1, c: 2}\n' >corpus/request/yaml
grep -oh '"[A-Za-z_/][A-Za-z0-9_/.-]*"' "$fixtures"/provision/*.json | sort -u | sed 's/"/\\"/g; s/.*/"&"/' >corpus/words.dict
