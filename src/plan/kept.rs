//! Disks whose tables stay: what is on them must be what the request says, or nothing is touched.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory, VolumeGroup};
use crate::layout::{self, LVM_EXTENT, LaidDisk, Layout, Vg};
use crate::plan::{Expectation, PartitionPlace};
use crate::units::{Bytes, Mib};

/// Compares the kept disks with the request as far as the machine tells: numbers, starts and sizes of partitions, what
/// is on those that are kept, volume groups and their volumes. Types and names of partitions do not count: older tools
/// wrote them differently.
///
/// # Errors
/// `Hardware` with both sides of every difference.
pub fn compare(
    layout: &Layout,
    disks: &[&Disk],
    kept: &BTreeSet<String>,
    inventory: &Inventory,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut faults = Vec::new();
    let mut is_all_seen = true;
    for (laid, disk) in layout.disks.iter().zip(disks).filter(|(laid, _)| kept.contains(&laid.device)) {
        is_all_seen &= !disk.lacks_protective_mbr;
        // A bare list of devices says nothing of partitions; a machine that was looked at says whether there is data.
        if disk.partitions.is_empty() && disk.table.is_none() && disk.has_data.is_none() {
            is_all_seen = false;
            warnings.push(format!(
                "disk {}: its partitions are not known; what is to be kept is compared before anything is written",
                disk.device
            ));
            continue;
        }
        faults.extend(compare_disk(layout, laid, disk));
    }
    if let Some(warning) = inventory.warnings.iter().find(|warning| warning.source == super::guards::LVM_SOURCE) {
        is_all_seen = false;
        warnings.push(format!("volume groups are not known ({}); kept ones are compared later", warning.reason));
    }
    if is_all_seen {
        let groups = layout.vgs.iter().filter(|vg| stays(layout, kept, &vg.pvs));
        faults.extend(groups.filter_map(|vg| compare_group(layout, vg, &inventory.volume_groups)));
    }
    Error::join(faults).map_or(Ok(()), Err)
}

/// Whether everything lies on kept disks.
fn stays(layout: &Layout, kept: &BTreeSet<String>, places: &[String]) -> bool {
    let mut disks = layout.disks.iter().filter(|disk| kept.contains(&disk.device));
    let partitions: BTreeSet<_> = disks.by_ref().flat_map(|disk| &disk.partitions).map(|it| &it.device).collect();
    places.iter().all(|place| partitions.contains(place))
}

fn compare_disk(layout: &Layout, laid: &LaidDisk, disk: &Disk) -> Option<Error> {
    let contents = kept_contents(layout);
    let expected_content = |device: &str| contents.iter().find(|(place, _)| *place == device).map(|(_, kind)| *kind);
    let found_content = |device: &str| disk.signatures.iter().find(|it| it.device == device).map(|it| it.kind.as_str());
    let wanted: Vec<_> = kept_partitions(laid);
    let found: Vec<_> = disk
        .partitions
        .iter()
        .map(|it| PartitionPlace { number: it.number, device: it.device.clone(), start: it.start, size: it.size })
        .collect();
    let is_same_place = |(a, b): (&PartitionPlace, &PartitionPlace)| {
        (a.number, a.start, a.size) == (b.number, b.start, b.size)
            && expected_content(&a.device).is_none_or(|kind| found_content(&b.device) == Some(kind))
    };
    if wanted.len() == found.len() && wanted.iter().zip(&found).all(is_same_place) {
        return None;
    }
    let message = format!(
        "disk {} is to be kept and is not as the request says: expected {}; found {}",
        disk.device,
        list(&wanted, expected_content),
        list(&found, found_content)
    );
    let advice = "the request must list the same volumes in the same order as when the disk was prepared";
    Some(Error::new(Kind::Hardware, message).advise(advice))
}

fn list<'a>(partitions: &[PartitionPlace], content: impl Fn(&str) -> Option<&'a str>) -> String {
    if partitions.is_empty() {
        return "no partitions".to_owned();
    }
    let one = |it: &PartitionPlace| {
        let content = content(&it.device).map_or_else(String::new, |content| format!(" with {content}"));
        format!("{} at byte {} of {}{content}", it.number, it.start.get(), it.size.exact())
    };
    partitions.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What libblkid must find on the partitions that hold something kept.
fn kept_contents(layout: &Layout) -> Vec<(&str, &str)> {
    let file_systems = layout.filesystems.iter().filter(|it| it.keep_data);
    let groups = layout.vgs.iter().filter(|vg| layout::keeps_group(layout, vg)).flat_map(|vg| &vg.pvs);
    let arrays = layout.mds.iter().filter(|md| layout::keeps_array(layout, md)).flat_map(|md| &md.devices);
    let members = arrays.filter(|device| layout::is_kept_partition(layout, device));
    file_systems
        .map(|it| (it.device.as_str(), it.kind.as_str()))
        .chain(groups.map(|device| (device.as_str(), super::before::LVM_MEMBER)))
        .chain(members.map(|device| (device.as_str(), super::before::ARRAY_MEMBER)))
        .collect()
}

fn kept_partitions(laid: &LaidDisk) -> Vec<PartitionPlace> {
    let bytes = |size: Mib| size.bytes().unwrap_or(Bytes::new(u64::MAX));
    let one = |it: &layout::LaidPartition| PartitionPlace {
        number: it.number,
        device: it.device.clone(),
        start: bytes(it.start_mib),
        size: bytes(it.size_mib),
    };
    laid.partitions.iter().map(one).collect()
}

fn compare_group(layout: &Layout, vg: &Vg, found: &[VolumeGroup]) -> Option<Error> {
    let rounded = |size: Mib| size.get().checked_next_multiple_of(LVM_EXTENT.get()).and_then(|it| Mib::new(it).bytes());
    let volumes = layout.lvs.iter().filter(|lv| lv.vg == vg.name);
    let wanted: BTreeSet<_> = volumes.map(|lv| (lv.name.as_str(), rounded(lv.size_mib).unwrap_or_default())).collect();
    let wanted_places: BTreeSet<_> = vg.pvs.iter().map(String::as_str).collect();
    let is_on =
        |group: &&VolumeGroup| group.physical_volumes.iter().any(|pv| wanted_places.contains(pv.device.as_str()));
    let group = found.iter().find(|group| group.name == vg.name && is_on(group));
    let shown = |volumes: &BTreeSet<(&str, Bytes)>, places: &BTreeSet<&str>| {
        let places: Vec<_> = places.iter().copied().collect();
        let volumes: Vec<_> = volumes.iter().map(|(name, size)| format!("{name} of {}", size.exact())).collect();
        format!(
            "{} with {}",
            places.join(", "),
            if volumes.is_empty() { "no volumes".to_owned() } else { volumes.join(", ") }
        )
    };
    let present = group.map(|group| {
        let places: BTreeSet<_> = group.physical_volumes.iter().map(|pv| pv.device.as_str()).collect();
        let volumes: BTreeSet<_> = group.logical_volumes.iter().map(|lv| (lv.name.as_str(), lv.size)).collect();
        (volumes, places)
    });
    if present.as_ref() == Some(&(wanted.clone(), wanted_places.clone())) {
        return None;
    }
    let present = present.map_or_else(|| "no such group".to_owned(), |(volumes, places)| shown(&volumes, &places));
    let expected = shown(&wanted, &wanted_places);
    Some(Error::new(
        Kind::Hardware,
        format!("volume group {} lies on disks that are kept: expected {expected}; found {present}", vg.name),
    ))
}

/// What must be true of the kept disks before the first byte is written, and still when all is done.
pub fn expectations(layout: &Layout, kept: &BTreeSet<String>) -> Vec<Expectation> {
    let disks = layout.disks.iter().filter(|disk| kept.contains(&disk.device));
    let tables =
        disks.map(|laid| Expectation::Partitions { device: laid.device.clone(), partitions: kept_partitions(laid) });
    let volumes =
        layout.lvs.iter().filter(|lv| layout.vgs.iter().any(|vg| vg.name == lv.vg && stays(layout, kept, &vg.pvs)));
    let volumes =
        volumes.map(|lv| Expectation::LogicalVolume { group: lv.vg.clone(), name: lv.name.clone(), size: lv.size_mib });
    let contents = layout.filesystems.iter().filter(|it| it.keep_data);
    let contents = contents.map(|it| Expectation::Content { device: it.device.clone(), kind: it.kind.clone() });
    tables.chain(volumes).chain(contents).collect()
}
