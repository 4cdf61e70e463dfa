//! Saved machines give the inventories that they gave when they were saved.
//!
//! `tests/fixtures/machines/capture.sh` saves one; `UPDATE_GOLDEN=1` writes its inventory beside it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what it expects by failing")]

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
    let holder = |by: &str, name: &str, volume: &str| {
        let uuid = Some(format!("LVM-kGzeWA6jdElXtgO6o3fijeLkGjmcXi14{volume}"));
        Use::Holder { device: "/dev/vda3".to_owned(), by: by.to_owned(), name: name.to_owned(), uuid }
    };
    let mount = |device: &str, path: &str| Use::Mount { device: device.to_owned(), path: path.to_owned() };
    let expected = [
        mount("/dev/vda2", "/mnt/root/boot"),
        holder("dm-0", "os-root", "r9wAU97t8zLoCiZu32KoCHRpd8YjVZus"),
        mount("/dev/mapper/os-root", "/mnt/root"),
        holder("dm-1", "os-swap", "IU4EnilRF7e1MSvaeqyMeup86l6b513J"),
        Use::Swap { device: "/dev/mapper/os-swap".to_owned() },
    ];
    let vda = disk(&inventory, "vda");
    assert_eq!(vda.uses, expected);
    assert_eq!((vda.serial.as_deref(), vda.transport.as_deref()), (Some("ROOT01"), Some("virtio")));
    let starts: Vec<_> = vda.partitions.iter().map(|part| (part.number, part.start, part.size)).collect();
    let mib = Bytes::mib;
    assert_eq!(starts, [(1, mib(1), mib(24)), (2, mib(25), mib(200)), (3, mib(225), mib(1024))]);
    let on_array = [
        Use::Holder { device: "/dev/vdc".to_owned(), by: "md0".to_owned(), name: "md0".to_owned(), uuid: None },
        mount("/dev/md0", "/mnt/data"),
    ];
    assert_eq!(disk(&inventory, "vdc").uses, on_array);
    assert_eq!(disk(&inventory, "vdd").uses.len(), 2);
}

#[test]
fn devices_built_on_disks_are_no_disks() {
    let inventory = collect(&folder().join("qemu-bios-virtio"));
    assert_eq!(names(&inventory), ["nvme0n1", "sda", "vda", "vdb", "vdc", "vdd"]);
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

/// A tree made for a test, which goes away with it.
struct Made(PathBuf);

impl Made {
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

    /// A block device with these attributes, as the kernel's documentation of sysfs describes them.
    fn block(&self, name: &str, number: &str, attributes: &[(&str, &str)]) {
        let base = format!("sys/block/{name}");
        for (attribute, value) in [("dev", number), ("size", "2097152"), ("queue/logical_block_size", "512")] {
            self.file(&format!("{base}/{attribute}"), value);
        }
        for (attribute, value) in attributes {
            self.file(&format!("{base}/{attribute}"), value);
        }
    }

    /// Stacks a device on another, both ways as the kernel shows it.
    fn stack(&self, upper: &str, lower: &str) {
        self.file(&format!("sys/block/{upper}/slaves/{lower}"), "");
        self.file(&format!("sys/block/{lower}/holders/{upper}"), "");
    }

    fn udev(&self, number: &str, record: &str) {
        self.file(&format!("run/udev/data/b{number}"), record);
    }
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.disks.iter().map(|disk| disk.name.as_str()).collect()
}

#[test]
fn a_multipath_map_stands_for_its_paths() {
    let tree = Made::new("multipath");
    let lun = "36001405aaaa0000000000000000000001";
    let uuid = format!("mpath-{lun}");
    tree.block("dm-0", "252:0", &[("dm/name", lun), ("dm/uuid", &uuid)]);
    tree.block("dm-1", "252:1", &[("dm/name", &format!("{lun}-part1")), ("dm/uuid", &format!("part1-{uuid}"))]);
    tree.block("dm-2", "252:2", &[("dm/name", "os-root"), ("dm/uuid", "LVM-xyz")]);
    tree.stack("dm-1", "dm-0");
    tree.stack("dm-2", "dm-1");
    for (name, number, link) in [("sda", "8:0", "pci-1-lun-0"), ("sdb", "8:16", "pci-2-lun-0")] {
        tree.block(name, number, &[(&format!("{name}1/partition"), "1"), (&format!("{name}1/start"), "2048")]);
        tree.file(&format!("sys/block/{name}/{name}1/dev"), format!("{number}1"));
        tree.file(&format!("sys/block/{name}/{name}1/size"), "4096");
        tree.stack("dm-0", name);
        tree.udev(number, &format!("S:disk/by-path/{link}\nE:DM_MULTIPATH_DEVICE_PATH=1\n"));
    }
    tree.block("sdc", "8:32", &[]);
    tree.udev("252:0", &format!("S:mapper/{lun}\nS:disk/by-id/dm-name-{lun}\nE:DM_UUID={uuid}\n"));
    tree.file("proc/self/mountinfo", "26 1 252:2 / /srv rw - ext4 /dev/mapper/os-root rw\n");
    let inventory = collect(&tree.0);
    let map = format!("mapper/{lun}");
    assert_eq!(names(&inventory), [map.as_str(), "sdc"]);
    let map = disk(&inventory, &map);
    assert_eq!(map.device, format!("/dev/mapper/{lun}"));
    let paths: Vec<_> = map.paths.iter().map(|path| (path.name.as_str(), path.links.join(" "))).collect();
    let link = |name: &str| format!("/dev/disk/by-path/{name}");
    assert_eq!(paths, [("sda", link("pci-1-lun-0")), ("sdb", link("pci-2-lun-0"))]);
    let part = format!("/dev/mapper/{lun}-part1");
    let parts: Vec<_> = map.partitions.iter().map(|one| (one.number, one.device.as_str(), one.start)).collect();
    assert_eq!(parts, [(1, part.as_str(), Bytes::mib(1))]);
    let expected = [
        Use::Holder {
            device: part,
            by: "dm-2".to_owned(),
            name: "os-root".to_owned(),
            uuid: Some("LVM-xyz".to_owned()),
        },
        Use::Mount { device: "/dev/mapper/os-root".to_owned(), path: "/srv".to_owned() },
    ];
    assert_eq!(map.uses, expected);
}

#[test]
fn a_firmware_raid_volume_stands_for_its_members() {
    let tree = Made::new("firmware-raid");
    let volume = [("md/metadata_version", "external:/md127/0"), ("md/level", "raid1"), ("md/array_state", "clean")];
    tree.block("md126", "9:126", &volume);
    tree.block("md127", "9:127", &[("md/metadata_version", "external:imsm"), ("md/array_state", "inactive")]);
    tree.block("md0", "9:0", &[("md/metadata_version", "1.2"), ("md/level", "raid1"), ("md/array_state", "clean")]);
    for (name, number) in [("sda", "8:0"), ("sdb", "8:16")] {
        tree.block(name, number, &[]);
        tree.stack("md126", name);
        tree.stack("md127", name);
    }
    tree.block("sdc", "8:32", &[]);
    tree.stack("md0", "sdc");
    let inventory = collect(&tree.0);
    assert_eq!(names(&inventory), ["md126", "sdc"]);
    let arrays: Vec<_> = inventory
        .arrays
        .iter()
        .map(|array| (array.device.as_str(), array.level.as_deref(), array.is_active, array.is_firmware))
        .collect();
    let expected = [
        ("/dev/md0", Some("raid1"), true, false),
        ("/dev/md126", Some("raid1"), true, true),
        ("/dev/md127", Some("container"), false, true),
    ];
    assert_eq!(arrays, expected);
}

#[test]
fn what_is_no_disk_to_install_to_is_left_out() {
    let tree = Made::new("no-disks");
    tree.block("vda", "254:0", &[]);
    tree.block("cciss!c0d0", "104:0", &[]);
    tree.block("sda", "8:0", &[("removable", "1")]);
    tree.block("sdb", "8:16", &[("removable", "1"), ("device/vendor", "Adaptec ")]);
    tree.block("sdc", "8:32", &[("size", "0")]);
    tree.block("sdd", "8:48", &[]);
    tree.udev("8:48", "E:ID_BUS=usb\n");
    tree.block("nvme0c0n1", "259:7", &[("hidden", "1")]);
    for (name, number) in
        [("loop0", "7:0"), ("ram0", "1:0"), ("sr0", "11:0"), ("zram0", "251:0"), ("nbd0", "43:0"), ("fd0", "2:0")]
    {
        tree.block(name, number, &[]);
    }
    let inventory = collect(&tree.0);
    assert_eq!(names(&inventory), ["cciss/c0d0", "sdb", "sdd", "vda"]);
    assert_eq!(disk(&inventory, "cciss/c0d0").device, "/dev/cciss/c0d0");
    let context = Context { mode: Mode::Bootstrap, master: Vec::new(), runtime_uuid: None, report_usb: false };
    let with_port = Inventory { interfaces: collect(&folder().join("qemu-bios-virtio")).interfaces, ..inventory };
    let payload = nailgun::payload(&with_port, &context).unwrap();
    let reported: Vec<_> =
        payload["meta"]["disks"].as_array().unwrap().iter().map(|disk| disk["name"].clone()).collect();
    assert_eq!(reported, ["cciss/c0d0", "sdb", "vda"], "installer sticks are USB disks");
}

#[test]
fn a_bonds_port_keeps_its_own_address() {
    let tree = Made::new("bond");
    let port = |name: &str, path: &str, attributes: &[(&str, &str)]| {
        for (attribute, value) in attributes {
            tree.file(&format!("sys/devices/{path}/net/{name}/{attribute}"), value);
        }
        fs::create_dir_all(tree.0.join("sys/class/net")).unwrap();
        symlink(format!("../../devices/{path}/net/{name}"), tree.0.join(format!("sys/class/net/{name}"))).unwrap();
    };
    let shared = ("address", "52:54:00:00:00:aa");
    let own = ("bonding_slave/perm_hwaddr", "52:54:00:00:00:BB");
    port("eth1", "pci0000:00/0000:02:00.1", &[("type", "1"), ("operstate", "up"), shared, own]);
    port("eth0", "pci0000:00/0000:02:00.0", &[("type", "1"), ("operstate", "lowerlayerdown"), shared]);
    port("bond0", "virtual", &[("type", "1"), shared]);
    port("ib0", "pci0000:00/0000:03:00.0", &[("type", "32"), shared]);
    port("wlan0", "pci0000:00/0000:04:00.0", &[("type", "1"), shared, ("phy80211/name", "phy0")]);
    port("eth9", "pci0000:00/0000:05:00.0", &[("type", "1"), ("address", "00:00:00:00:00:00")]);
    tree.file("proc/cmdline", "quiet BOOTIF=01-52-54-00-00-00-bb\n");
    let inventory = collect(&tree.0);
    let ports: Vec<_> = inventory
        .interfaces
        .iter()
        .map(|port| (port.name.as_str(), port.mac.as_str(), port.state.as_str(), port.is_pxe))
        .collect();
    let expected = [("eth0", "52:54:00:00:00:aa", "unknown", false), ("eth1", "52:54:00:00:00:bb", "up", true)];
    assert_eq!(ports, expected);
}

impl Drop for Made {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn an_empty_tree_gives_reasons_instead_of_values() {
    let tree = Made::new("empty");
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
    let tree = Made::new("hostile");
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
    assert_eq!(names(&inventory), ["sda"]);
    assert_eq!((inventory.disks[0].size, inventory.disks[0].model.as_deref()), (Bytes::mib(1), None));
    let warned = |source: &str| inventory.warnings.iter().any(|warning| warning.source == source);
    for source in ["/sys/block/sda/ro", "/sys/block/sda/device/model", "/sys/block/sdb", "/sys/block/sdc"] {
        assert!(warned(source), "{source} is not among {:?}", inventory.warnings);
    }
}
