#!/usr/bin/env python3
"""Applies deny.toml's licences, bans and sources to what `cargo metadata` reports.

For machines without cargo-deny, which takes three CPU minutes to install. Reads the same file, so that
there is one set of rules: [licenses].allow, [bans].deny and .wildcards, [sources].
"""

import json
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:  # Python before 3.11
    sys.exit("dependencies.py: needs Python 3.11 or cargo-deny")


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1",
               "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def is_licensed(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences (AND binds closer than OR)."""
    # Crates of before 2018 write `MIT/Apache-2.0` for OR.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def any_of():
        met = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = all_of() or met
        return met

    def all_of():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token == "(":
            met = any_of()
            tokens.pop(0)
            return met
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in allowed

    return any_of()


def violations(rules, packages):
    allowed = set(rules["licenses"]["allow"])
    banned = {ban["name"]: ban["reason"] for ban in rules["bans"]["deny"]}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if not licence or not is_licensed(licence, allowed):
            yield f"{name}: licence {licence} is not allowed"
        if package["name"] in banned:
            yield f"{name}: banned: {banned[package['name']]}"
        source = package["source"]
        if source is not None and not source.startswith("registry+"):
            yield f"{name}: comes from {source}, not from the registry"
        if source is None:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and "path" not in dependency:
                    yield f"{name}: depends on any version of {dependency['name']}"
    registries = {p["source"] for p in packages if p["source"]}
    if len(registries) > 1:
        yield f"more than one registry: {', '.join(sorted(registries))}"


def main():
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    report = metadata(rules["graph"]["targets"][0])
    used = {node["id"] for node in report["resolve"]["nodes"]}
    packages = [p for p in report["packages"] if p["id"] in used]
    found = list(violations(rules, packages))
    for line in found:
        print(f"dependencies.py: {line}", file=sys.stderr)
    if not found:
        print(f"dependencies.py: {len(packages)} crates: licences, bans and sources are in order", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
