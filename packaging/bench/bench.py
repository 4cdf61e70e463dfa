#!/usr/bin/env python3
"""Measures how long it takes to bring an image from a web server onto a disk, beside the tools that do so today.

Every run goes through the same: the disk is full of old data, its pages are dropped, the clock runs from the start of the
command until a flush of the device has returned. The first round compares what the device holds afterwards and counts for
nothing else. All rows take turns in each round, so that what else the machine does falls on all of them.

Environment: ROUNDS (3), FORMS and PEERS (regular expressions over images and over names of peers), TARGET (ram, disk,
or a device, which is overwritten), AGENT (instead of that of `make static`), SERVE (where the served images lie), FUEL_AGENT (a tree of it)."""

import fcntl
import hashlib
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(
    os.environ.get("BEDPLATE_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bedplate"
)
TOOLS = CACHE / "bench"
IMAGES = TOOLS / "img"
MEMORY = pathlib.Path("/dev/shm/bedplate-bench")
SERVE = pathlib.Path(os.environ.get("SERVE") or MEMORY / "serve")
ROUNDS = int(os.environ.get("ROUNDS") or 3)
FORMS = re.compile(os.environ.get("FORMS") or "")
PEERS = re.compile(os.environ.get("PEERS") or "")
TARGET = os.environ.get("TARGET") or "ram"
BUILT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parents[1] / "target") / "x86_64-unknown-linux-gnu/release/bedplate"
AGENT = pathlib.Path(os.environ.get("AGENT") or BUILT).resolve()
FUEL_AGENT = os.environ.get("FUEL_AGENT")

CODECS = {"gz": "gz", "bgz": "gz", "zst": "zst", "xz": "xz", "lz4": "lz4"}
# A row that takes longer has hung.
LONGEST = 600
# Which limit one of our rows is measured by: what is read back is added to what is streamed.
LIMITS = {
    "ours: streamed": ["limit: yardstick"],
    "ours: streamed and proved": ["limit: yardstick", "limit: read back alone"],
    "ours: image by sha256, streamed": ["limit: yardstick, image by sha256"],
    "ours: image by sha256, proved": ["limit: yardstick, image by sha256", "limit: read back alone"],
    "ours: image by md5, proved": ["limit: yardstick, image by md5", "limit: read back alone"],
}
# Measured whatever FORMS says, since the limits of all forms need them.
PIECES = ("limit: read back alone", "limit: sha256 alone", "limit: md5 alone")
TICKS = os.sysconf("SC_CLK_TCK")


def output(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


# ---- what is served -----------------------------------------------------------------------------------------------------


def digests(path, algorithms):
    hashes = [hashlib.new(name) for name in algorithms]
    with open(path, "rb") as file:
        while piece := file.read(4 << 20):
            for it in hashes:
                it.update(piece)
    return {it.name: it.hexdigest() for it in hashes}


def serve_images():
    """Copies the images to where they are served from, and tells their sizes and digests."""
    SERVE.mkdir(parents=True, exist_ok=True)
    facts = SERVE / "meta.json"
    meta = json.loads(facts.read_text()) if facts.exists() else {}
    for source in sorted(IMAGES.glob("disk.*")):
        name, copy = source.name, SERVE / source.name
        if name.endswith(".new") or not (name in ("disk.raw", "disk.bmap") or FORMS.search(name)):
            continue
        if not copy.exists() or copy.stat().st_size != source.stat().st_size or copy.stat().st_mtime < source.stat().st_mtime:
            output("cp", "--sparse=always", "--preserve=timestamps", str(source), str(copy))
        stat = copy.stat()
        if meta.get(name, {}).get("mtime") != int(stat.st_mtime):
            wanted = ("sha256", "sha512", "md5") if name == "disk.raw" else ("sha256",)
            meta[name] = {"size": stat.st_size, "mtime": int(stat.st_mtime), **digests(copy, wanted)}
            facts.write_text(json.dumps(meta, indent=1))
    return meta


class WebServer:
    """nginx with one process, on a port of its own."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        scratch = MEMORY / f"nginx-{self.port}"
        scratch.mkdir(parents=True)
        self.scratch = scratch
        places = "".join(f"{kind}_temp_path {scratch}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (scratch / "nginx.conf").write_text(
            f"user root; daemon off; worker_processes 1; pid {scratch}/pid; events {{ }}\n"
            f"http {{ access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; {places}\n"
            f"server {{ listen 127.0.0.1:{self.port}; root {SERVE}; default_type application/octet-stream; }} }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-c", scratch / "nginx.conf", "-e", scratch / "log"])
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            if self.process.poll() is not None:
                sys.exit(f"nginx ended: {(scratch / 'log').read_text()}")
            time.sleep(0.05)

    def cpu(self):
        pid = self.process.pid
        workers = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        fields = [pathlib.Path(f"/proc/{it}/stat").read_text().rsplit(")", 1)[1].split() for it in workers]
        return sum(int(it[11]) + int(it[12]) for it in fields) / TICKS

    def end(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.scratch)


# ---- where it is written ------------------------------------------------------------------------------------------------


class Target:
    """The device that is written: a loop device over a file in memory or on disk, or a device of the caller's."""

    def __init__(self, size):
        self.size, self.file, self.loop = size, None, None
        if TARGET in ("ram", "disk"):
            self.file = (MEMORY if TARGET == "ram" else TOOLS) / "target.img"
            if not self.file.exists() or self.file.stat().st_size != size:
                self.file.unlink(missing_ok=True)
                output("fallocate", "-l", str(size), str(self.file))
            direct = ["--direct-io=on"] if TARGET == "disk" else []
            # `-P`: coreos-installer refuses a loop device that cannot have partitions.
            self.loop = output("losetup", "-P", *direct, "-f", "--show", str(self.file))
        self.device = self.loop or TARGET
        if subprocess.run(["findmnt", "-n", "-S", self.device], stdout=subprocess.DEVNULL).returncode == 0:
            sys.exit(f"{self.device} is mounted")
        if int(output("blockdev", "--getsize64", self.device)) < size:
            sys.exit(f"{self.device} is smaller than the image")
        # Two runs on one device measure nothing.
        self.lock = open(self.file or self.device, "rb")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.end()
            sys.exit(f"another benchmark writes to {self.file or self.device}")

    def fill(self):
        """Old data everywhere: whoever leaves something out is found, and nobody gains by holes that another has made."""
        # Memory of its own pages is aligned as direct writing wants it.
        old = mmap.mmap(-1, 4 << 20)
        old.write(b"\xa5" * len(old))
        device = os.open(self.device, os.O_WRONLY | os.O_DIRECT)
        for _ in range(self.size // len(old)):
            os.write(device, old)
        os.fsync(device)
        os.close(device)

    def prepare(self, is_filled):
        if is_filled or self.file is None or self.file.stat().st_blocks * 512 < self.size:
            self.fill()
        output("sync", self.device)
        output("blockdev", "--flushbufs", self.device)

    def flush(self):
        with open(self.device, "wb", buffering=0) as device:
            os.fsync(device.fileno())

    def holds(self, image, check):
        output("blockdev", "--flushbufs", self.device)
        if check == "full":
            return subprocess.run(["cmp", "-s", "-n", str(self.size), image, self.device]).returncode == 0
        end = 0
        with open(image, "rb", buffering=0) as expected, open(self.device, "rb", buffering=0) as found:
            while True:
                try:
                    at = os.lseek(expected.fileno(), end, os.SEEK_DATA)
                except OSError:
                    return True
                end = os.lseek(expected.fileno(), at, os.SEEK_HOLE)
                while at < end:
                    length = min(4 << 20, end - at)
                    piece = os.pread(expected.fileno(), length, at)
                    if piece != os.pread(found.fileno(), len(piece), at):
                        return False
                    at += len(piece)

    def end(self):
        if self.loop:
            output("losetup", "-d", self.loop)


# ---- rows ---------------------------------------------------------------------------------------------------------------


class Row:
    """A command for one image."""

    def __init__(self, image, name, check, template, values):
        self.image, self.name, self.check = image, name, check
        self.command = re.sub(r"\{(\w+)\}", lambda it: str(values[it.group(1)]), template)
        self.runs, self.failure = [], None

    @property
    def is_ours(self):
        return self.name.startswith("ours: ")

    @property
    def is_limit(self):
        return self.name.startswith("limit: ")

    def median(self, what="wall"):
        return statistics.median(it[what] for it in self.runs)

    def least(self):
        return min(it["wall"] for it in self.runs)


def read_rows(meta, port, device):
    raw = meta["disk.raw"]
    rows = []
    for line in (HERE / "rows.conf").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        # A `|` between other things than spaces belongs to the expression, and all of the last field to the command.
        form, name, check, template = (it.strip() for it in re.split(r"\s\|\s", line, maxsplit=3))
        is_peer = not name.startswith(("ours: ", "limit: "))
        if is_peer and not PEERS.search(name) or "{fuel_agent}" in template and not FUEL_AGENT:
            continue
        for image, facts in meta.items():
            is_wanted = FORMS.search(image) or name in PIECES
            if image == "disk.bmap" or not re.fullmatch(form, image) or not is_wanted:
                continue
            base = f"http://127.0.0.1:{port}"
            values = {
                "url": f"{base}/{image}", "base": base, "port": port, "file": SERVE / image, "image": image,
                "codec": CODECS.get(image.rsplit(".", 1)[1], "raw"), "size": raw["size"], "sha256": facts["sha256"],
                "raw_sha256": raw["sha256"], "raw_sha512": raw["sha512"], "raw_md5": raw["md5"], "raw": SERVE / "disk.raw",
                "bmap": SERVE / "disk.bmap", "dev": device, "agent": AGENT, "tools": TOOLS, "here": HERE, "memory": MEMORY,
                "fuel_agent": FUEL_AGENT,
            }  # fmt: skip
            rows.append(Row(image, name, check, template, values))
    return rows


def machine_cpu():
    """Seconds that all processors were busy, and that the host took from them."""
    fields = [int(it) for it in open("/proc/stat").readline().split()[1:]]
    return sum(fields[it] for it in (0, 1, 2, 5, 6)) / TICKS, fields[7] / TICKS


def run(row, target, server):
    """Runs a row once: its times, or what went wrong."""
    told, log = server.scratch / "time", server.scratch / "words"
    busy, served = machine_cpu(), server.cpu()
    began = time.monotonic()
    with open(log, "w") as words:
        process = subprocess.Popen(
            ["/usr/bin/time", "-o", told, "-f", "%U %S %M", "bash", "-o", "pipefail", "-c", row.command],
            stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            # Also when the benchmark is ended: what goes on writing would hold the device.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    target.flush()
    wall = time.monotonic() - began
    busy = [after - before for after, before in zip(machine_cpu(), busy)]
    served = server.cpu() - served
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["without a word"]
        cause = next((it for it in lines if it.startswith("error")), lines[-1])
        return None, f"exit code {code}: {cause[:160]}"
    user, system, peak = told.read_text().split()[-3:]
    cpu = float(user) + float(system)
    return {
        "wall": round(wall, 3), "user": float(user), "system": float(system), "cpu": round(cpu, 2), "peak_kib": int(peak),
        "server": round(served, 2), "other": round(busy[0] - cpu - served, 2), "steal": round(busy[1], 2),
    }, None  # fmt: skip


def measure(rows, target, server, record):
    for number in range(ROUNDS + 1):
        order = [it for it in rows if not it.failure and (number or it.check != "none")]
        random.Random(number).shuffle(order)
        for row in order:
            is_check = number == 0
            target.prepare(is_check)
            figures, row.failure = run(row, target, server)
            if is_check and not row.failure and not target.holds(SERVE / "disk.raw", row.check):
                row.failure = "the device does not hold the image"
            if number and figures:
                row.runs.append(figures)
            kind = f"round {number}" if number else "check"
            said = row.failure or f"{figures['wall']:.2f} s, CPU {figures['cpu']:.2f} s, others' CPU {figures['other']:.2f} s"
            print(f"{kind}: {row.image}: {row.name}: {said}", file=sys.stderr, flush=True)
            line = {"round": number, "image": row.image, "name": row.name, "target": TARGET, "failure": row.failure}
            record.write(json.dumps(line | (figures or {})) + "\n")
            record.flush()


# ---- tables -------------------------------------------------------------------------------------------------------------


def limit_of(row, by_name, pieces):
    """Seconds of the limit that one of our rows is measured by, where it was measured."""
    parts = [by_name.get(name) or pieces.get(name) for name in LIMITS.get(row.name, ["limit: yardstick"])]
    return sum(it.median() for it in parts) if all(parts) else None


def times(value, of):
    return f"{value / of:.2f}" if of else "-"


def table(image, rows, pieces):
    rows = sorted(rows, key=lambda it: it.median())
    by_name = {it.name: it for it in rows}
    peers = [it for it in rows if not it.is_ours and not it.is_limit]
    best = peers[0] if peers else None
    print(f"\n### {image}, target {TARGET}\n")
    print("| what | median s | least s | CPU s (user + system) | peak MiB | others' CPU s | of its limit | of the best peer |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        limit = None if row.is_limit else limit_of(row, by_name, pieces)
        print(
            f"| {row.name} | {row.median():.2f} | {row.least():.2f} "
            f"| {row.median('cpu'):.2f} ({row.median('user'):.2f} + {row.median('system'):.2f}) "
            f"| {max(it['peak_kib'] for it in row.runs) / 1024:.0f} | {row.median('other'):.2f} "
            f"| {times(row.median(), limit)} | {'-' if row.is_limit else times(row.median(), best and best.median())} |"
        )
    for row in (it for it in rows if it.is_ours):
        limit = limit_of(row, by_name, pieces)
        against = [f"{row.median() / limit:.2f} of its limit ({limit:.2f} s)"] if limit else []
        if best:
            against.append(f"{best.median() / row.median():.2f} times as fast as {best.name}")
        print(f"\n{image}: {row.name}: {', '.join(against) or 'nothing to compare with'}", end="")
    print()


def report(rows):
    measured = [it for it in rows if it.runs]
    pieces = {it.name: it for it in measured if it.image == "disk.raw" and it.is_limit}
    for image in sorted({it.image for it in measured}):
        table(image, [it for it in measured if it.image == image], pieces)
    failed = [it for it in rows if it.failure]
    if failed:
        print("\nfailed, and left out from then on:")
    for row in failed:
        print(f"  {row.image}: {row.name}: {row.failure}")


def main():
    if os.geteuid():
        sys.exit("needs root: loop devices, mount namespaces")
    if not AGENT.is_file():
        sys.exit(f"{AGENT} is missing: make static builds it, AGENT= names another")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    meta = serve_images()
    target = Target(meta["disk.raw"]["size"])
    server = WebServer()
    results = TOOLS / "results"
    results.mkdir(exist_ok=True)
    rows = read_rows(meta, server.port, target.device)
    print(f"{os.cpu_count()} CPUs, target {target.device} ({TARGET}), {len(rows)} rows, {ROUNDS} rounds after the check")
    try:
        with open(results / time.strftime("%Y%m%d-%H%M%S.jsonl"), "w") as record:
            measure(rows, target, server, record)
    except KeyboardInterrupt:
        print("interrupted: what follows is what was measured", file=sys.stderr)
    finally:
        server.end()
        target.end()
    report(rows)
    if any(it.is_ours and it.failure for it in rows):
        sys.exit("a row of ours failed")


main()
