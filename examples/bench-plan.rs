//! `plan` for a machine with 60 disks: wall time, CPU time and memory, beside Python's JSON reader in the same run.
//!
//! `cargo run --release --example bench-plan`; `make bench` calls it. It measures the `bedplate` that was built beside it
//! and fails past 50 ms (median) or 32 MiB.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot go on stops")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

/// Disks, as the specification has it.
const DISKS: usize = 60;
/// The first disk carries the system, these the journals, the last ones a group; all others are OSDs.
const JOURNALS: std::ops::RangeInclusive<usize> = 1..=5;
const GROUP: std::ops::Range<usize> = 56..DISKS;
/// MiB of every disk.
const SIZE: u64 = 3_815_447;
/// Runs of each program.
const RUNS: usize = 21;
/// What a plan may take.
const LIMIT: Duration = Duration::from_millis(50);
const LIMIT_MIB: i64 = 32;

fn main() {
    let folder = std::env::temp_dir().join(format!("bedplate-bench-plan-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, content: &Value| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, serde_json::to_vec(content).unwrap()).unwrap();
        path
    };
    let request = write("provision.json", &request());
    let machine = write("inventory.json", &inventory());
    let kib = |path: &Path| std::fs::metadata(path).unwrap().len() >> 10;
    println!("plan of {DISKS} disks: request {} KiB, inventory {} KiB, {RUNS} runs", kib(&request), kib(&machine));

    let own = std::env::current_exe().unwrap();
    let bedplate = own.ancestors().nth(2).unwrap().join("bedplate");
    let plan = |options: &[&str]| {
        let mut command = Command::new(&bedplate);
        command.arg("plan").arg(&request).arg("--inventory").arg(&machine).arg("--offline").args(options);
        command
    };
    show_plan(&plan(&["--json"]).output().unwrap());
    let nothing = measure("true", Command::new("true"));
    let json = measure("bedplate plan --json", plan(&["--json"]));
    let text = measure("bedplate plan", plan(&[]));
    // The largest of all children so far; nothing else that was run is larger.
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() >> 10;
    // Not a wrapper of it that comes first in PATH.
    let mut python = Command::new("/usr/bin/python3");
    let reading = "import json, sys; [json.load(open(path)) for path in sys.argv[1:]]";
    python.arg("-c").arg(reading).arg(&request).arg(&machine);
    let python = measure("python3, json.load of both files", python);
    std::fs::remove_dir_all(&folder).unwrap();

    let ratio = |other: Duration| json.as_secs_f64() / other.as_secs_f64();
    println!("plan --json takes {:.2} of Python's reading, {:.1} of starting true", ratio(python), ratio(nothing));
    println!("peak memory {peak} MiB");
    let slowest = json.max(text);
    assert!(slowest <= LIMIT, "a plan takes {slowest:?}, the limit is {LIMIT:?}");
    assert!(peak <= LIMIT_MIB, "a plan takes {peak} MiB, the limit is {LIMIT_MIB} MiB");
}

/// Makes sure that what is measured is a plan of all disks.
fn show_plan(output: &std::process::Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(count(&plan["layout"]["disks"]), DISKS);
    println!("{} steps, {} losses", count(&plan["steps"]), count(&plan["destroys"]));
}

/// Runs a program and tells its median wall time and its mean CPU time.
fn measure(name: &str, mut command: Command) -> Duration {
    command.stdout(Stdio::null());
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        [usage.user_time(), usage.system_time()].map(|it| it.tv_sec() * 1_000_000 + it.tv_usec()).iter().sum::<i64>()
    };
    let before = cpu();
    let mut walls: Vec<_> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            let status = command.status().unwrap_or_else(|error| panic!("starting {name}: {error}"));
            assert!(status.success(), "{name}: {status}");
            began.elapsed()
        })
        .collect();
    walls.sort_unstable();
    let median = walls[RUNS / 2];
    let mean = (cpu() - before) / i64::try_from(RUNS).unwrap();
    println!(
        "{name}: median {:.1} ms, CPU {:.1} ms",
        median.as_secs_f64() * 1e3,
        Duration::from_micros(mean.unsigned_abs()).as_secs_f64() * 1e3
    );
    median
}

/// `sda` to `sdz`, then `sdaa`.
fn name(index: usize) -> String {
    let letter = |index: usize| char::from(b'a' + u8::try_from(index % 26).unwrap());
    match index {
        0..26 => format!("sd{}", letter(index)),
        _ => format!("sd{}{}", letter(index / 26 - 1), letter(index)),
    }
}

fn wwn(index: usize) -> String {
    format!("0x5000c5000000{index:04x}")
}

/// A document of Fuel with its disks multiplied: every kind of volume that Fuel knows.
fn request() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/provision/03-ceph-osd-with-journal-ssd.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut spaces: Vec<_> = (0..DISKS).map(disk_of_request).collect();
    spaces.extend([
        group("os", &[("root", "/", 51_200, "ext4"), ("swap", "swap", 32_768, "swap")]),
        group("logs", &[("log", "/var/log", 10_240, "ext4")]),
        group("mysql", &[("root", "/var/lib/mysql", 20_480, "ext4")]),
        group("horizon", &[("horizontmp", "/var/lib/horizon", 11_264, "xfs")]),
        group("image", &[("glance", "/var/lib/glance", 15_000_000, "xfs")]),
    ]);
    document["ks_meta"]["pm_data"]["ks_spaces"] = json!(spaces);
    document
}

fn disk_of_request(index: usize) -> Value {
    let system = index == 0;
    let pv = |vg: &str, size: u64, wanted: bool| {
        let (size, meta) = if wanted { (size, 64) } else { (0, 0) };
        json!({ "type": "pv", "vg": vg, "size": size, "lvm_meta_size": meta })
    };
    let ceph = |name: &str, guid: &str, size: u64, wanted: bool| {
        json!({
            "type": "partition", "name": name, "partition_guid": guid, "mount": "none", "file_system": "none",
            "disk_label": null, "size": if wanted { size } else { 0 },
        })
    };
    let is_journal = JOURNALS.contains(&index);
    let is_osd = !system && !is_journal && !GROUP.contains(&index);
    json!({
        "type": "disk", "name": name(index), "size": SIZE, "free_space": 0, "bootable": system,
        "id": format!("disk/by-path/pci-0000:03:00.0-sas-phy{index}-lun-0"),
        "extra": [format!("disk/by-id/scsi-{}", &wwn(index)[2..]), format!("disk/by-id/wwn-{}", wwn(index))],
        "volumes": [
            { "type": "boot", "size": 300 },
            { "type": "raid", "name": "Boot", "mount": "/boot", "size": 200, "file_system": "ext2" },
            { "type": "lvm_meta_pool", "size": 64 },
            ceph("cephjournal", "45b0969e-9b03-4f30-b4c6-b4b80ceff106", 102_400, is_journal),
            ceph("ceph", "4fbd7e29-9d25-41b8-afd0-062c0ceff05d", 3_814_883, is_osd),
            pv("os", 84_032, system),
            pv("logs", 10_304, system),
            pv("mysql", 20_544, system),
            pv("horizon", 11_328, system),
            pv("image", 3_814_883, GROUP.contains(&index)),
        ],
    })
}

fn group(id: &str, volumes: &[(&str, &str, u64, &str)]) -> Value {
    let volume = |(name, mount, size, kind): &(&str, &str, u64, &str)| json!({ "type": "lv", "name": name, "mount": mount, "size": size, "file_system": kind });
    let volumes: Vec<_> = volumes.iter().map(volume).collect();
    json!({ "type": "vg", "id": id, "label": id, "min_size": 1, "_allocate_size": "all", "volumes": volumes })
}

/// The machine with an earlier installation on every disk.
fn inventory() -> Value {
    let disks: Vec<_> = (0..DISKS).map(disk_of_machine).collect();
    let groups: Vec<_> = (0..DISKS)
        .map(|index| {
            json!({
                "name": format!("old{index}"), "uuid": format!("group-{index}"),
                "physical_volumes": [{ "device": format!("/dev/{}4", name(index)), "uuid": format!("pv-{index}") }],
                "logical_volumes": [
                    { "name": "data", "size": 1_u64 << 40, "is_active": false },
                    { "name": "home", "size": 1_u64 << 39, "is_active": false },
                ],
            })
        })
        .collect();
    json!({ "disks": disks, "volume_groups": groups })
}

fn disk_of_machine(index: usize) -> Value {
    let name = name(index);
    let partition = |number: u64, start: u64, size: u64| json!({ "number": number, "device": format!("/dev/{name}{number}"), "start": start << 20, "size": size << 20 });
    let signature = |number: u64, kind: &str| {
        json!({
            "device": format!("/dev/{name}{number}"), "kind": kind, "label": format!("label{number}"),
            "uuid": format!("uuid-{index}-{number}"),
        })
    };
    json!({
        "name": name, "device": format!("/dev/{name}"), "size": SIZE << 20, "sector_size": 512, "major": 8,
        "minor": 16 * index,
        "model": "ST4000NM0023", "serial": format!("Z1Z{index:05}"), "wwn": wwn(index), "transport": "sas",
        "is_rotational": true, "has_data": true, "table": "gpt",
        "links": [
            format!("/dev/disk/by-id/scsi-{}", &wwn(index)[2..]),
            format!("/dev/disk/by-id/wwn-{}", wwn(index)),
            format!("/dev/disk/by-path/pci-0000:03:00.0-sas-phy{index}-lun-0"),
        ],
        "partitions": [partition(1, 1, 24), partition(2, 25, 200), partition(3, 225, 200), partition(4, 425, 3_800_000)],
        "signatures": [signature(3, "ext2"), signature(4, "LVM2_member")],
    })
}
