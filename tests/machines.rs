//! Saved machines give the inventories that they gave when they were saved.
//!
//! `tests/fixtures/machines/capture.sh` saves one; `UPDATE_GOLDEN=1` writes its inventory beside it.

#![allow(clippy::panic, reason = "a test says what it expects by failing")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bedplate::inventory::nailgun::{self, Context, Mode};
use bedplate::inventory::{Disk, Inventory, Use, collect, from_json};
use bedplate::units::{Bytes, SectorSize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines")
}

fn disk<'a>(inventory: &'a Inventory, name: &str) -> &'a Disk {
    inventory.disks.iter().find(|disk| disk.name == name).unwrap_or_else(|| panic!("no disk {name}"))
}

#[test]
fn every_saved_machine_gives_its_golden_inventory() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let root = entry.unwrap().path();
        if !root.is_dir() {
            continue;
        }
        let golden = root.with_extension("json");
        let inventory = collect(&root);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, serde_json::to_string_pretty(&inventory).unwrap() + "\n").unwrap();
        }
        let expected = from_json(&fs::read(&golden).unwrap()).unwrap();
        assert_eq!(inventory, expected, "{}", root.display());
        count += 1;
    }
    assert_ne!(count, 0);
}

#[test]
fn a_disk_in_use_says_by_what() {
    let inventory = collect(&folder().join("qemu-bios-virtio"));
    let holder =
        |by: &str, name: &str| Use::Holder { device: "/dev/vda3".to_owned(), by: by.to_owned(), name: name.to_owned() };
    let mount = |device: &str, path: &str| Use::Mount { device: device.to_owned(), path: path.to_owned() };
    let expected = [
        mount("/dev/vda2", "/mnt/root/boot"),
        holder("dm-0", "os-root"),
        mount("/dev/mapper/os-root", "/mnt/root"),
        holder("dm-1", "os-swap"),
        Use::Swap { device: "/dev/mapper/os-swap".to_owned() },
    ];
    let vda = disk(&inventory, "vda");
    assert_eq!(vda.uses, expected);
    assert_eq!((vda.serial.as_deref(), vda.transport.as_deref()), (Some("ROOT01"), Some("virtio")));
    let starts: Vec<_> = vda.partitions.iter().map(|part| (part.number, part.start, part.size)).collect();
    let mib = Bytes::mib;
    assert_eq!(starts, [(1, mib(1), mib(24)), (2, mib(25), mib(200)), (3, mib(225), mib(1024))]);
    let on_array = [
        Use::Holder { device: "/dev/vdc".to_owned(), by: "md0".to_owned(), name: "md0".to_owned() },
        mount("/dev/md0", "/mnt/data"),
    ];
    assert_eq!(disk(&inventory, "vdc").uses, on_array);
    assert_eq!(disk(&inventory, "vdd").uses.len(), 2);
}

#[test]
fn devices_built_on_disks_are_no_disks() {
    let inventory = collect(&folder().join("qemu-bios-virtio"));
    let names: Vec<_> = inventory.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["nvme0n1", "sda", "vda", "vdb", "vdc", "vdd"]);
    assert_eq!(disk(&inventory, "vdb").sector_size, SectorSize::B4096);
    assert_eq!(disk(&inventory, "sda").wwn.as_deref(), Some("0x5000c50015ea71aa"));
    let [array] = inventory.arrays.as_slice() else { panic!("{:?}", inventory.arrays) };
    assert_eq!((array.level.as_deref(), array.is_active), (Some("raid1"), true));
    assert_eq!(array.members, ["/dev/vdc", "/dev/vdd"]);
}

#[test]
fn a_saved_machine_has_the_same_payload_every_time() {
    let context =
        || Context { mode: Mode::Bootstrap, master: vec![[10, 0, 2, 2].into()], runtime_uuid: None, report_usb: false };
    let payload = || nailgun::payload(&collect(&folder().join("qemu-bios-virtio")), &context()).unwrap();
    assert_eq!(payload(), payload());
    assert_eq!(payload()["mac"], "52:54:00:00:42:01");
    assert_eq!(payload()["ip"], "10.0.2.15");
    assert_eq!(payload()["meta"]["system"]["uuid"], "0C2041CE-0000-453D-95DD-000000000042");
}

/// A folder that goes away with the test.
struct Hostile(PathBuf);

impl Hostile {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("bedplate-machine-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn an_empty_tree_gives_reasons_instead_of_values() {
    let tree = Hostile::new("empty");
    let inventory = collect(&tree.0);
    assert_eq!(inventory.disks, []);
    assert_eq!(inventory.cpu.threads, 0);
    let sources: Vec<_> = inventory.warnings.iter().map(|warning| warning.source.as_str()).collect();
    for source in ["/run/udev/data", "/proc/self/mountinfo", "/sys/firmware", "/proc/cpuinfo", "/proc/meminfo"] {
        assert!(sources.contains(&source), "{source} is not among {sources:?}");
    }
}

#[test]
fn a_hostile_tree_neither_hangs_nor_breaks_the_rest() {
    let tree = Hostile::new("hostile");
    let disk = |name: &str| {
        for (attribute, value) in [("dev", "8:0"), ("size", "2048"), ("queue/logical_block_size", "512")] {
            tree.file(&format!("sys/block/{name}/{attribute}"), value);
        }
    };
    disk("sda");
    // A device that hangs, a megabyte of garbage, a loop of links, numbers out of range.
    nix::unistd::mkfifo(&tree.0.join("sys/block/sda/ro"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    tree.file("sys/block/sda/device/model", vec![b'x'; 1 << 20]);
    tree.file("sys/block/sda/holders/sda", "");
    symlink("loop", tree.0.join("sys/block/loop")).unwrap();
    tree.file("sys/block/sdb/dev", "eight:zero");
    tree.file("sys/block/sdc/dev", "8:32");
    tree.file("sys/block/sdc/size", u64::MAX.to_string());
    tree.file("sys/block/sda/sda1/partition", "99999999999");
    tree.file("sys/block/sda/sda1/start", "1");
    tree.file("proc/self/mountinfo", [0xff, 0xfe, b'\n', b' ', b'-']);
    tree.file("proc/cpuinfo", "processor");
    tree.file("run/udev/data/b8:0", "E:\nS:\nE:=\n\0\n");
    let inventory = collect(&tree.0);
    let names: Vec<_> = inventory.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["sda"]);
    assert_eq!((inventory.disks[0].size, inventory.disks[0].model.as_deref()), (Bytes::mib(1), None));
    let warned = |source: &str| inventory.warnings.iter().any(|warning| warning.source == source);
    for source in ["/sys/block/sda/ro", "/sys/block/sda/device/model", "/sys/block/sdb", "/sys/block/sdc"] {
        assert!(warned(source), "{source} is not among {:?}", inventory.warnings);
    }
}
