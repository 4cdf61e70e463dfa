//! Where partitions lie.

use std::collections::BTreeSet;

use bedplate::error::Kind;
use bedplate::inventory::FirmwareMode;
use bedplate::layout::{self, LaidPartition};
use bedplate::plan::{Step, TablePartition};
use bedplate::units::{Bytes, SectorSize};
use proptest::prelude::*;

use serde_json::json;

use super::placed::{disks, placed, volumes};
use super::support::generate::{cases, partition_node, read};
use super::{config, plan};

/// First and last sector of a disk that a partition may have: behind the protective MBR, the header and 128 entries of
/// 128 bytes, and before a second copy of entries and header (UEFI 2.10, section 5.3.1).
fn usable(size: Bytes, sector_size: SectorSize) -> (u64, u64) {
    let array = 128 * 128 / sector_size.get();
    (2 + array, size.get() / sector_size.get() - 1 - 1 - array)
}

/// What a table and a layout say of a partition: number, node, start, size, type.
type Row = (u32, String, Bytes, Bytes, String);

fn written(it: &TablePartition) -> Row {
    (it.number, it.device.clone(), it.start, it.size, it.type_guid.clone())
}

fn laid(it: &LaidPartition) -> Row {
    let (start, size) = (it.start_mib.bytes().unwrap(), it.size_mib.bytes().unwrap());
    (it.number, it.device.clone(), start, size, it.type_guid.clone())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn partitions_follow_each_other_with_a_gap_of_1_mib_inside_what_the_table_leaves(case in cases()) {
        let plan = plan(&case.fresh, &case.machine);
        for (laid, now) in plan.layout.disks.iter().zip(&plan.disks) {
            let (first, last) = usable(now.disk.size, now.disk.sector_size);
            let mut begin = 1;
            for (number, it) in (1..).zip(&laid.partitions) {
                prop_assert_eq!((it.number, it.start_mib.get()), (number, begin), "{}", it.device);
                prop_assert_eq!(&it.device, &partition_node(&laid.device, number));
                prop_assert_eq!(it.end_mib.get(), begin + it.size_mib.get());
                prop_assert_eq!((it.first_sector_512, it.last_sector_512), (begin * 2048, it.end_mib.get() * 2048 - 1));
                let (start, end) = (it.start_mib.bytes().unwrap(), it.end_mib.bytes().unwrap());
                let sector = |offset| now.disk.sector_size.lba_at(offset).unwrap().get();
                prop_assert!(first <= sector(start) && sector(end) - 1 <= last, "{} is outside", it.device);
                begin = it.end_mib.get() + 1;
            }
        }
    }

    #[test]
    fn partitions_are_those_of_the_document_in_its_order_and_of_its_sizes(case in cases()) {
        let plan = plan(&case.fresh, &case.machine);
        for it in placed(&case.fresh, &plan.layout) {
            prop_assert_eq!(it.partition.size_mib.get(), it.size, "{} for {}", it.partition.device, it.volume);
            if let (Some(guid), true) = (it.volume["partition_guid"].as_str(), it.volume["type"] == "partition") {
                prop_assert_eq!(&it.partition.type_guid, &guid.to_lowercase());
            }
        }
        for laid in &plan.layout.disks {
            let first_two = laid.partitions.iter().take(2);
            let sizes: Vec<_> = first_two.map(|it| (it.size_mib.get(), it.role.as_str())).collect();
            let second = match plan.firmware {
                FirmwareMode::Uefi => "efi system partition",
                FirmwareMode::Bios | FirmwareMode::Unknown => "reserved for EFI",
            };
            prop_assert_eq!(sizes, [(24, "bios_grub"), (200, second)]);
        }
    }

    #[test]
    fn tables_that_are_written_are_those_of_the_layout(case in cases()) {
        let plan = plan(&case.fresh, &case.machine);
        let written: Vec<_> = plan.steps.iter()
            .filter_map(|step| match step {
                Step::WriteTable { disk, partitions, .. } => {
                    Some((&disk.device, partitions.iter().map(written).collect()))
                }
                _ => None,
            })
            .collect();
        let laid: Vec<(_, Vec<_>)> =
            plan.layout.disks.iter().map(|disk| (&disk.device, disk.partitions.iter().map(laid).collect())).collect();
        prop_assert_eq!(written, laid);
    }

    #[test]
    fn there_is_one_boot_where_one_is_listed_and_one_config_drive(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let is_listed = disks(&case.fresh).into_iter().flat_map(volumes).any(|it| it["mount"] == "/boot");
        let on_boot = layout.filesystems.iter().filter(|it| it.mount.as_deref() == Some("/boot"));
        let partitions: Vec<_> = layout.disks.iter().flat_map(|it| &it.partitions).collect();
        let roles = |wanted: &str| partitions.iter().filter(|it| it.role.ends_with(wanted)).count();
        prop_assert_eq!((on_boot.count(), roles(" on /boot")), (usize::from(is_listed), usize::from(is_listed)));
        prop_assert_eq!(roles("configdrive"), 1);
        let drive = partitions.iter().find(|it| it.role == "configdrive").unwrap();
        prop_assert_eq!(Some(&drive.device), layout.configdrive_device.as_ref());
        prop_assert_eq!(drive.size_mib.get(), 20);
        let mounts = layout.filesystems.iter().filter_map(|it| it.mount.as_deref());
        let mounts: Vec<_> = mounts.filter(|it| *it != "swap").collect();
        prop_assert_eq!(mounts.iter().collect::<BTreeSet<_>>().len(), mounts.len(), "{:?}", mounts);
    }

    #[test]
    fn disk_that_ends_with_its_last_partition_and_the_table_holds_it_and_no_smaller_one_does(
        case in cases(),
        which in any::<prop::sample::Index>(),
    ) {
        let planned = plan(&case.fresh, &case.machine).layout;
        let laid = which.get(&planned.disks);
        let last = laid.partitions.last().unwrap();
        let end = last.end_mib.bytes().unwrap();
        let at = case.machine.disks.iter().position(|it| it.device == laid.device).unwrap();
        let sector = case.machine.disks[at].sector_size.get();
        let resize = |size: u64| {
            let mut machine = case.machine.clone();
            machine.disks[at].size = Bytes::new(size);
            let mut document = case.fresh.clone();
            let disks = document["ks_meta"]["pm_data"]["ks_spaces"].as_array_mut().unwrap();
            disks.iter_mut().find(|it| it["name"] == laid.ks_name.as_str()).unwrap()["size"] = json!(size >> 20);
            layout::resolve(&read(&document), &machine, None).map(|it| it.layout)
        };
        let least = end.get() + 128 * 128 + sector;
        prop_assert_eq!(&resize(least).unwrap().filesystems, &planned.filesystems);
        for size in [least - sector, least - (1 << 20)] {
            let error = resize(size).unwrap_err();
            prop_assert_eq!(error.kind(), Kind::Hardware);
            let usable = size / sector * sector - 128 * 128 - sector;
            let expected = format!(
                "disk {} is too small: partition {} ({}, {}) would end at {} bytes, usable are {usable} bytes",
                laid.device, last.number, last.role, last.size_mib, end.get()
            );
            // Before it stands where in the document the disk is.
            let told = error.to_string();
            prop_assert_eq!(told.split_once(": ").map(|(_, told)| told), Some(expected.as_str()));
        }
    }
}
