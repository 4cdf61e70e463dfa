//! The plan as a person reads it: whole texts of real documents, and what a disk cannot do to them.
//!
//! `UPDATE_GOLDEN=1` writes tests/fixtures/plan-text anew.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::Path;

use bedplate::inventory::{Inventory, LogicalVolume, Partition, Signature};
use bedplate::plan::{Plan, Step};
use bedplate::units::Bytes;
use support::planning;

/// Three disks with what people leave on them: a Linux with LVM, a Windows, a file system without a table.
fn leftovers() -> Plan {
    let name = "02-controller-three-disks-raid-boot";
    let mut machine = planning::machine(name);
    let volume =
        |name: &str, gib: u64| LogicalVolume { name: name.to_owned(), size: Bytes::mib(gib << 10), is_active: false };
    machine.volume_groups.push(planning::group(
        "debian-vg",
        &["/dev/sda5".to_owned()],
        vec![volume("root", 200), volume("home", 700), volume("swap", 16)],
    ));
    table(&mut machine, 0, "dos", &[(1, 1, 487), (5, 489, 953_300)]);
    contents(&mut machine, 0, &[("/dev/sda1", "ext2", None), ("/dev/sda5", "LVM2_member", None)]);
    table(&mut machine, 1, "gpt", &[(1, 1, 100), (2, 101, 16), (3, 117, 953_000)]);
    let windows = [("/dev/sdb1", "vfat", Some("SYSTEM")), ("/dev/sdb3", "ntfs", Some("Accounts 2016-2024"))];
    contents(&mut machine, 1, &windows);
    contents(&mut machine, 2, &[("/dev/sdc", "ext4", Some("backup"))]);
    planning::plan(name, &machine)
}

fn table(machine: &mut Inventory, disk: usize, kind: &str, partitions: &[(u32, u64, u64)]) {
    let disk = &mut machine.disks[disk];
    disk.table = Some(kind.to_owned());
    disk.has_data = Some(true);
    disk.partitions = partitions
        .iter()
        .map(|(number, start, size)| Partition {
            number: *number,
            device: format!("{}{number}", disk.device),
            start: Bytes::mib(*start),
            size: Bytes::mib(*size),
        })
        .collect();
}

fn contents(machine: &mut Inventory, disk: usize, signatures: &[(&str, &str, Option<&str>)]) {
    let disk = &mut machine.disks[disk];
    disk.has_data = Some(true);
    disk.signatures = signatures
        .iter()
        .map(|(device, kind, label)| Signature {
            device: (*device).to_owned(),
            kind: (*kind).to_owned(),
            label: label.map(str::to_owned),
            uuid: None,
        })
        .collect();
}

fn compare(golden: &str, plan: &Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan-text").join(format!("{golden}.txt"));
    let text = plan.text(false);
    // The digest is over what is not shown, too: it stands last, and what it is others test.
    let last = format!("\nplan digest {}\n", plan.digest);
    let text = text.strip_suffix(&last).unwrap().to_owned();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

fn of(name: &str) -> Plan {
    planning::plan(name, &planning::machine(name))
}

#[test]
fn empty_machine_loses_nothing() {
    compare("01-empty", &of("01-single-disk-lvm"));
}

#[test]
fn kept_disks_say_what_stays_and_what_is_made_anew() {
    compare("04-kept", &of(planning::KEPT));
}

#[test]
fn array_is_kept_stays_or_is_new() {
    let mut plan = of("07-centos65-md-root-grub1");
    let text = |plan: &Plan, start: &str| {
        let text = plan.text(false);
        let lines: Vec<_> = text.lines().filter(|line| line.contains(start)).map(str::to_owned).collect();
        lines.join("\n")
    };
    let array = "ext4 on /, from image: mirror of /dev/sda4, /dev/sdb3";
    assert_eq!(text(&plan, "array /dev/md0  "), format!("new array /dev/md0  {array}"));
    let members = plan.layout.mds[0].devices.clone();
    plan.steps.insert(0, Step::AssembleArray { device: "/dev/md0".to_owned(), members });
    assert_eq!(text(&plan, "array /dev/md0 "), format!("array /dev/md0 stays  {array}"));
    for it in plan.layout.filesystems.iter_mut().filter(|it| it.device == "/dev/md0") {
        it.keep_data = true;
    }
    // The other member is new.
    for it in plan.layout.disks[0].partitions.iter_mut().filter(|it| it.device == "/dev/sda4") {
        it.keep_data = true;
    }
    let array = "ext4 on /, kept: mirror of /dev/sda4, /dev/sdb3";
    assert_eq!(text(&plan, "array /dev/md0  "), format!("kept array /dev/md0  {array}"));
    let rows = text(&plan, "member of /dev/md0");
    assert_eq!(rows.matches("kept: member of /dev/md0").count(), 1, "{rows}");
}

#[test]
fn array_says_where_it_lies() {
    compare("07-array", &of("07-centos65-md-root-grub1"));
}

#[test]
fn long_names_of_multipath_maps_leave_the_table_whole() {
    compare("08-multipath", &of("08-fc-multipath"));
}

#[test]
fn leftovers_are_told_first_and_beside_what_replaces_them() {
    compare("leftovers", &leftovers());
}

#[test]
fn image_without_a_digest_is_marked() {
    let text = of("10-plain-partitions-labels-raw-image").text(false);
    assert!(text.contains(", size not known, NOT PROVED: no digest is known\n"), "{text}");
}

/// The text without what colours it.
fn without_colour(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |text, piece| {
        let (code, rest) = piece.split_once('m').unwrap();
        assert!(["0", "1", "1;31", "32", "33"].contains(&code), "{code}");
        text + rest
    })
}

#[test]
fn colour_changes_no_word_and_losses_are_red() {
    for plan in [leftovers(), of(planning::KEPT), of("10-plain-partitions-labels-raw-image")] {
        let coloured = plan.text(true);
        assert_ne!(coloured.starts_with("\x1b[1;31m"), plan.destroys.is_empty(), "{coloured}");
        assert_eq!(without_colour(&coloured), plan.text(false));
    }
}

#[test]
fn words_from_disks_and_documents_control_nothing() {
    let mut machine = planning::machine("01-single-disk-lvm");
    let evil = "\x1b[2J\r\n\u{9b}31m\u{202e}\u{200b}NOTHING IS LOST\t\u{7f}";
    machine.disks[0].model = Some(evil.to_owned());
    machine.disks[0].serial = Some(evil.to_owned());
    table(&mut machine, 0, evil, &[(1, 1, 100)]);
    contents(&mut machine, 0, &[("/dev/sda1", evil, Some(evil))]);
    let mut plan = planning::plan("01-single-disk-lvm", &machine);
    plan.warnings.push(evil.to_owned());
    plan.layout.untouched_disks.push(evil.to_owned());
    plan.layout.vgs[0].name = evil.to_owned();
    plan.layout.disks[0].partitions[0].role = evil.to_owned();
    let text = plan.text(false);
    let lines = text.lines().count();
    assert!(text.chars().all(|it| it == '\n' || (' '..='~').contains(&it)), "{text:?}");
    assert!(text.contains("warning: ?[2J???31m??NOTHING IS LOST??\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("NOTHING IS LOST")), "{text}");
    // In colour there is nothing but the colours.
    assert_eq!(without_colour(&plan.text(true)), text);
    for name in [&mut plan.layout.vgs[0].name, &mut plan.layout.untouched_disks[0]] {
        *name = "harmless".to_owned();
    }
    assert_eq!(plan.text(false).lines().count(), lines);
}

#[test]
fn no_line_is_wider_than_a_hundred_columns() {
    for name in planning::NAMES {
        for line in of(name).text(false).lines() {
            // A single long name is not broken.
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
}
