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

# Images, maps, streams and archives as the real tools make them, small: libFuzzer changes short inputs best.
mkdir -p corpus/qcow2 corpus/bmap corpus/packed corpus/split corpus/archive corpus/sums
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
truncate -s 200K "$made/raw"
seq 2000 | dd of="$made/raw" bs=1K seek=8 conv=notrunc status=none
printf end | dd of="$made/raw" bs=1K seek=180 conv=notrunc status=none
for options in cluster_size=512 compat=0.10,cluster_size=4k cluster_size=512,compression_type=zstd extended_l2=on,cluster_size=16k; do
    qemu-img convert -f raw -O qcow2 -o "$options" "$made/raw" "corpus/qcow2/$options"
    qemu-img convert -c -f raw -O qcow2 -o "$options" "$made/raw" "corpus/qcow2/c,$options"
done
bmaptool -q create "$made/raw" -o corpus/bmap/v2
sed -e 's/version="2.0"/version="1.2"/' -e '/Checksum/d' -e 's/ chksum="[0-9a-f]*"//' corpus/bmap/v2 >corpus/bmap/v1
# The first byte chooses the form, in the order of `Container::ALL`.
seq 300 >"$made/text"
{ printf '\000'; gzip -c "$made/text"; gzip -c "$made/text"; } >corpus/packed/gzip
{ printf '\002'; zstd -qc "$made/text"; zstd -qc --no-check "$made/text"; } >corpus/packed/zstd
{ printf '\003'; xz -c "$made/text"; xz -c --check=crc32 "$made/text"; } >corpus/packed/xz
{ printf '\004'; bzip2 -c "$made/text"; } >corpus/packed/bzip2
{ printf '\005'; lz4 -qc "$made/text" 2>/dev/null || printf '\004\042\115\030'; } >corpus/packed/lz4
# Members and frames large enough to be worth a thread each, of few bytes.
head -c 1200000 /dev/zero >"$made/zeros"
{ printf '\000'; for _ in 1 2 3; do gzip -c "$made/zeros"; done; } >corpus/split/gzip
{ printf '\001'; for _ in 1 2 3; do zstd -qc "$made/zeros"; done; } >corpus/split/zstd
{ printf '\001'; for _ in 1 2 3; do zstd -qc --no-check <"$made/zeros"; done; } >corpus/split/zstd-unsized
mkdir "$made/tree"
cp "$made/text" "$made/tree/text"
cp --sparse=always "$made/raw" "$made/tree/sparse"
ln "$made/tree/text" "$made/tree/hard"
ln -s ../text "$made/tree/soft"
cp "$made/text" "$made/tree/$(printf '%0150d' 1)"
for format in v7 ustar oldgnu gnu pax; do
    # v7 cannot hold the long name, and says so.
    tar -C "$made" --format="$format" -S -cf "corpus/archive/$format" tree 2>/dev/null || true
done
cp "$made/text" "$made/image.img"
(cd "$made" && { sha256sum image.img; md5sum -b image.img; sha1sum --tag image.img; }) >corpus/sums/all

# Answers as Python's XML-RPC writes them, which Cobbler uses.
mkdir -p corpus/xmlrpc
python3 - <<'PYTHON'
import xmlrpc.client as x
system = {"name": "node-1", "netboot_enabled": True, "owners": ["admin"], "depth": 2, "comment": "<a> & \"b\"", "ctime": 1.5,
          "interfaces": {"eth0": {"mac_address": "52:54:00:77:00:01", "static": False}}}
answers = {"system": (system,), "none": ("~",), "token": ("a+b/c==",), "names": (["node-1"],), "fault": x.Fault(1, "login failed (x)")}
for name, answer in answers.items():
    open("corpus/xmlrpc/" + name, "w").write(x.dumps(answer, methodresponse=True))
PYTHON
