//! Tables of plans, written to sparse media and read back by the tools that administrators use.
//!
//! The media are sparse files in memory (`memfd_create`): ext4 ends at 16 TiB a file, and disks go to 100 TiB. sgdisk
//! and sfdisk take a file for a disk of 512-byte sectors, so that they read the others through a loop device, which
//! needs root; fdisk can be told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedplate::inventory::{self, FirmwareMode, Inventory};
use bedplate::plan::{self, DiskIdentity, Plan, Step, TablePartition};
use bedplate::request;
use bedplate::sys::gpt;
use bedplate::units::{Bytes, Lba, SectorSize};
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::Value;
use uuid::Uuid;

use support::generate::{cases, read};

/// Random machines whose tables are written.
const MACHINES: usize = 24;
/// Tables a random machine gives at most; the fixtures give all of theirs.
const TABLES: usize = 4;

/// A table as a plan has it.
struct Planned {
    disk: DiskIdentity,
    guid: String,
    partitions: Vec<TablePartition>,
}

/// A partition as it is compared: number, first sector, sectors, type, identity, name.
type Row = (u64, u64, u64, String, String, String);

impl Planned {
    fn rows(&self) -> Vec<Row> {
        let sector = self.disk.sector_size.get();
        let row = |it: &TablePartition| {
            let (type_guid, guid) = (it.type_guid.to_uppercase(), it.guid.to_uppercase());
            (u64::from(it.number), it.start.get() / sector, it.size.get() / sector, type_guid, guid, it.name.clone())
        };
        self.partitions.iter().map(row).collect()
    }

    fn entries(&self) -> Vec<gpt::Entry> {
        let lba = |offset: Bytes| self.disk.sector_size.lba_at(offset).unwrap();
        let entry = |it: &TablePartition| gpt::Entry {
            number: it.number,
            first: lba(it.start),
            last: Lba::new(lba(it.start.checked_add(it.size).unwrap()).get() - 1),
            type_guid: Uuid::parse_str(&it.type_guid).unwrap(),
            guid: Uuid::parse_str(&it.guid).unwrap(),
            name: it.name.clone(),
        };
        self.partitions.iter().map(entry).collect()
    }

    fn write(&self, medium: &mut File) {
        let guid = Uuid::parse_str(&self.guid).unwrap();
        let (size, sector_size) = (self.disk.size, self.disk.sector_size);
        gpt::write(medium, size, sector_size, guid, &self.entries(), [0; 440]).unwrap();
    }
}

fn tables(plan: Plan) -> Vec<Planned> {
    let table = |step| match step {
        Step::WriteTable { disk, guid, partitions } => Some(Planned { disk, guid, partitions }),
        _ => None,
    };
    plan.steps.into_iter().filter_map(table).collect()
}

/// The tables of all documents in a folder of fixtures, on disks of these sectors.
fn of_fixtures(sector_size: SectorSize) -> Vec<Planned> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut names: Vec<_> =
        std::fs::read_dir(folder.join("provision")).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() >= 11);
    let plan = |name| {
        let text = std::fs::read_to_string(folder.join("provision").join(&name)).unwrap();
        // What is kept gets no table; here every disk is to have one.
        let request =
            request::parse(text.replace("\"keep_data\": true", "\"keep_data\": false").as_bytes()).unwrap().request;
        let mut machine = inventory::from_json(&std::fs::read(folder.join("hardware").join(&name)).unwrap()).unwrap();
        machine.disks.iter_mut().for_each(|disk| disk.sector_size = sector_size);
        [FirmwareMode::Bios, FirmwareMode::Uefi].map(|mode| {
            machine.firmware.mode = mode;
            tables(plan::make(&request, &machine, None, None).unwrap_or_else(|error| panic!("{name:?}: {error}")))
        })
    };
    names.into_iter().flat_map(plan).flatten().collect()
}

/// Tables of random machines on disks of these sectors. The generator starts from one state: a failure comes back.
fn of_random_machines(sector_size: SectorSize) -> Vec<Planned> {
    let mut runner = TestRunner::deterministic();
    let strategy = cases();
    let mut tables_of = |_| {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        let machine: Inventory = case.machine;
        let plan = plan::make(&read(&case.fresh), &machine, None, None).unwrap();
        let mut found: Vec<_> = tables(plan).into_iter().filter(|it| it.disk.sector_size == sector_size).collect();
        // The largest disks and the fullest tables say most.
        found.sort_by_key(|it| (it.disk.size, it.partitions.len()));
        found.into_iter().rev().take(TABLES)
    };
    (0..MACHINES).flat_map(|machine| tables_of(machine).collect::<Vec<_>>()).collect()
}

/// A file of this size in memory, and a path by which other programs open it.
fn medium(size: Bytes) -> (File, PathBuf) {
    let file = File::from(memfd_create("disk", MFdFlags::empty()).unwrap());
    file.set_len(size.get()).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    (file, PathBuf::from(path))
}

fn output(program: &str, arguments: &[&str], path: &Path) -> String {
    let run = Command::new(program).args(arguments).arg(path).output();
    let output = run.unwrap_or_else(|error| panic!("{program} (packages gdisk and fdisk): {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What sfdisk reads; it learns the size of sectors from the kernel, and takes 512 bytes for a file.
fn sfdisk_rows(path: &Path, sector_size: SectorSize) -> (String, Vec<Row>) {
    let dump: Value = serde_json::from_str(&output("/usr/sbin/sfdisk", &["--json"], path)).unwrap();
    let table = &dump["partitiontable"];
    assert_eq!((table["label"].as_str(), table["unit"].as_str()), (Some("gpt"), Some("sectors")));
    assert_eq!(table["sectorsize"].as_u64(), Some(sector_size.get()));
    let row = |it: &Value| {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        let (start, size) = (it["start"].as_u64().unwrap(), it["size"].as_u64().unwrap());
        (number(&text("node"), path), start, size, text("type"), text("uuid"), text("name"))
    };
    (table["id"].as_str().unwrap().to_owned(), table["partitions"].as_array().unwrap().iter().map(row).collect())
}

/// What fdisk reads; it can be told the size of sectors (sfdisk only since util-linux 2.39), and has no JSON.
fn fdisk_rows(path: &Path, sector_size: SectorSize) -> (String, Vec<Row>) {
    let sector = sector_size.get().to_string();
    let columns = "Device,Start,Sectors,Type-UUID,UUID,Name";
    let text = output("/usr/sbin/fdisk", &["--sector-size", &sector, "--list", "--output", columns], path);
    let id = text.lines().find_map(|line| line.strip_prefix("Disk identifier: ")).unwrap().to_owned();
    let rows = text.lines().skip_while(|line| !line.starts_with("Device ")).skip(1);
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap().to_owned();
        let (node, start, size) = (next(), next().parse().unwrap(), next().parse().unwrap());
        let (type_guid, guid) = (next(), next());
        (number(&node, path), start, size, type_guid, guid, words.collect::<Vec<_>>().join(" "))
    };
    (id, rows.map(row).collect())
}

/// The number in the name of a partition.
fn number(node: &str, disk: &Path) -> u64 {
    node.strip_prefix(disk.to_str().unwrap()).unwrap().trim_start_matches('p').parse().unwrap()
}

fn sgdisk_verifies(path: &Path) {
    let said = output("/usr/sbin/sgdisk", &["--verify"], path);
    assert!(said.contains("No problems found"), "{said}");
}

/// Writes each table to a file and reads it back by our reader and the tools that can.
fn write_and_read(tables: &[Planned]) {
    for table in tables {
        let sector_size = table.disk.sector_size;
        let (mut file, path) = medium(table.disk.size);
        table.write(&mut file);
        assert_eq!(gpt::read(&mut file, sector_size).unwrap().entries, table.entries(), "{}", table.disk.device);
        let expected = (table.guid.to_uppercase(), table.rows());
        assert_eq!(fdisk_rows(&path, sector_size), expected, "{}", table.disk.device);
        if sector_size == SectorSize::B512 {
            assert_eq!(sfdisk_rows(&path, sector_size), expected, "{}", table.disk.device);
            sgdisk_verifies(&path);
        }
    }
}

fn sizes(tables: &[Planned]) -> BTreeSet<u64> {
    tables.iter().map(|it| it.disk.size.get()).collect()
}

#[test]
fn tables_of_all_fixtures_are_read_by_sgdisk_and_sfdisk() {
    write_and_read(&of_fixtures(SectorSize::B512));
}

#[test]
fn tables_of_all_fixtures_are_read_by_fdisk_on_4kn_disks() {
    write_and_read(&of_fixtures(SectorSize::B4096));
}

#[test]
fn tables_of_random_machines_are_read_by_sgdisk_and_sfdisk() {
    let tables = of_random_machines(SectorSize::B512);
    // 2^32 sectors, and the most that is tried.
    let sizes = sizes(&tables);
    assert!(sizes.first().unwrap() < &(2 << 40) && sizes.last() == Some(&(100 << 40)), "{sizes:?}");
    write_and_read(&tables);
}

#[test]
fn tables_of_random_machines_are_read_by_fdisk_on_4kn_disks() {
    let tables = of_random_machines(SectorSize::B4096);
    assert!(sizes(&tables).last() > Some(&(16 << 40)));
    write_and_read(&tables);
}

#[test]
fn tables_on_4kn_block_devices_are_read_by_sgdisk_and_sfdisk_needs_root() {
    let mut tables = of_fixtures(SectorSize::B4096);
    tables.extend(of_random_machines(SectorSize::B4096));
    for table in &tables {
        let (_kept_open, path) = medium(table.disk.size);
        let device = Attached::new(&path, SectorSize::B4096);
        let mut file = File::options().read(true).write(true).open(&device.0).unwrap();
        table.write(&mut file);
        file.sync_all().unwrap();
        sgdisk_verifies(&device.0);
        assert_eq!(sfdisk_rows(&device.0, SectorSize::B4096), (table.guid.to_uppercase(), table.rows()));
    }
}

/// A loop device over a file that is there already; it is detached when dropped.
struct Attached(PathBuf);

impl Attached {
    fn new(file: &Path, sector_size: SectorSize) -> Self {
        let sector = sector_size.get().to_string();
        let device = output("losetup", &["--find", "--show", "--sector-size", &sector], file);
        Self(PathBuf::from(device.trim()))
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.0).status();
        // A panic while panicking would hide the first.
        if !std::thread::panicking() {
            assert!(detached.unwrap().success());
        }
    }
}
