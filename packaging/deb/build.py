#!/usr/bin/env python3
"""Builds the Debian packages that [package.metadata.deb] of Cargo.toml describes, in cargo-deb's words.

cargo-deb itself takes longer to compile than all of this project; of what it knows this reads the keys that are used here.
The same inputs and SOURCE_DATE_EPOCH (default: the time of the last commit) give the same packages, byte for byte.
"""

import argparse
import email.utils
import fnmatch
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# What Debian's policy has packed in a package's documentation.
PACKED = ("changelog", "NOTICE")
PACKED_FROM = 4096


def main():
    options = parse_options()
    os.environ.setdefault("SOURCE_DATE_EPOCH", last_commit())
    package = metadata()
    version = options.version or f"{package['version']}-1"
    with tempfile.TemporaryDirectory() as staged:
        subprocess.run([REPOSITORY / "mcollective/install.sh", staged], check=True)
        places = {"target/release/bedplate": options.agent, "target/deb/mcollective": staged}
        of_nodes, of_master = descriptions(package["metadata"]["deb"])
        built = [build(package, deb, version, places, options) for deb in of_nodes]
        if options.master:
            built.append(build_master(package, of_master, version, built, options))
    print(*built, sep="\n")


def build_master(package, deb, version, of_nodes, options):
    """The package of the master brings those of the agent along, for the bootstraps that it builds."""
    with tempfile.TemporaryDirectory() as staged:
        subprocess.run([REPOSITORY / "packaging/master/install.sh", staged, *of_nodes], check=True)
        places = {"target/release/bedplate-master": options.master, "target/deb/master": staged}
        return build(package, deb, version, places, options)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    static = target / "x86_64-unknown-linux-gnu/release/bedplate"
    agent = os.environ.get("AGENT") or static
    parser.add_argument("--agent", type=pathlib.Path, default=agent, help="the binary (default: that of make static)")
    parser.add_argument("--master", type=pathlib.Path, help="the master's binary; without it its package is not built")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "build/deb", help="where the packages go")
    parser.add_argument("--version", help="another version than Cargo.toml's")
    parser.add_argument("--compression", default="xz", help="as dpkg-deb takes it")
    return parser.parse_args()


def last_commit():
    log = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, capture_output=True, text=True)
    return log.stdout.strip() or "0"


def metadata():
    command = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
    told = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return json.loads(told.stdout)["packages"][0]


def descriptions(deb):
    """The packages of nodes, then that of the master. Variants take from the first what they do not say themselves."""
    variants = {name: {**deb, **variant} for name, variant in deb.pop("variants", {}).items()}
    master = variants.pop("master")
    return [deb, *variants.values()], master


def build(package, deb, version, places, options):
    name = deb["name"]
    with tempfile.TemporaryDirectory() as tree:
        tree = pathlib.Path(tree)
        for source, destination, mode in deb["assets"]:
            copy(source, tree, destination, int(mode, 8), places)
        document(tree / "usr/share/doc" / name, name, version, deb)
        settle(tree)
        write_control(tree, package, deb, version)
        date_everything(tree)
        options.out.mkdir(parents=True, exist_ok=True)
        result = options.out / f"{name}_{version}_{deb.get('architecture', 'amd64')}.deb"
        command = ["dpkg-deb", "--root-owner-group", f"-Z{options.compression}", "--build", tree, result]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return result


def copy(source, tree, destination, mode, places):
    """Copies an asset; of a pattern what lies below its fixed part keeps its place there."""
    if destination.endswith("/") and "*" not in source:
        destination += os.path.basename(source)
    for known, real in places.items():
        if source == known or source.startswith(known + "/"):
            source = str(real) + source[len(known):]
    fixed = pathlib.Path(source.split("*")[0].rpartition("/")[0] if "*" in source else os.path.dirname(source))
    found = [path for path in matches(source, fixed) if path.is_symlink() or path.is_file()]
    if not found:
        raise SystemExit(f"build.py: no file matches {source}")
    for path in found:
        target = tree / destination
        if destination.endswith("/"):
            target = target / path.relative_to(REPOSITORY / fixed)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(os.readlink(path))
        else:
            shutil.copyfile(path, target)
            target.chmod(mode)


def matches(source, fixed):
    if "*" not in source:
        return [REPOSITORY / source]
    every = (REPOSITORY / fixed).rglob("*") if "**" in source else (REPOSITORY / fixed).glob("*")
    return sorted(path for path in every if fnmatch.fnmatch(str(path), str(REPOSITORY / source).replace("**/", "")))


def document(folder, name, version, deb):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / deb["license-file"], folder / "copyright")
    when = email.utils.formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    entry = f"{name} ({version}) unstable; urgency=medium\n\n  * What changed is told in the changelog of bedplate.\n\n"
    pack(f"{entry} -- {deb['maintainer']}  {when}\n".encode(), folder / "changelog.Debian.gz")
    for path in folder.iterdir():
        if path.name in PACKED or (path.suffix == ".md" and path.stat().st_size > PACKED_FROM):
            pack(path.read_bytes(), path.with_name(path.name + ".gz"))
            path.unlink()


def pack(content, path):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(content)
    path.write_bytes(packed.getvalue())


def settle(tree):
    """Modes that do not depend on who builds."""
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    for path in tree.glob("usr/share/doc/*/*"):
        if path.is_file():
            path.chmod(0o644)


def write_control(tree, package, deb, version):
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    fields = {
        "Package": deb["name"],
        "Version": version,
        "Architecture": deb.get("architecture", "amd64"),
        "Maintainer": deb["maintainer"],
        "Installed-Size": str(sum((path.stat().st_size + 1023) // 1024 for path in files)),
        "Depends": deb.get("depends", "").replace("$version", version),
        "Recommends": deb.get("recommends", ""),
        "Section": deb["section"],
        "Priority": deb["priority"],
        "Homepage": package.get("homepage") or "",
        "Description": describe(deb["extended-description"]),
    }
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value))
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files)
    (control / "md5sums").write_text("".join(sums))
    if "conf-files" in deb:
        (control / "conffiles").write_text("".join(f"{path}\n" for path in deb["conf-files"]))
    for path in control.iterdir():
        path.chmod(0o644)


def describe(text):
    """The first line is the synopsis; blank lines part paragraphs."""
    synopsis, *rest = text.strip().split("\n")
    return "\n ".join([synopsis] + [line.strip() or "." for line in rest if rest])


def date_everything(tree):
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (when, when), follow_symlinks=False)


if __name__ == "__main__":
    main()
