//! Disks whose tables stay: what is on them must be what the request says, or nothing is touched.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory, VolumeGroup};
use crate::layout::{self, LVM_EXTENT, LaidDisk, Layout, Lv, Md, Vg};
use crate::plan::before::{ARRAY_MEMBER, LVM_MEMBER};
use crate::plan::{Expectation, PartitionPlace};
use crate::units::{Bytes, Mib};

/// The kernel's word for a mirror, the only level that a request can ask for.
const LEVEL: &str = "raid1";
/// What to do about a difference.
const ADVICE: &str = "the request must list the same volumes in the same order as when the disk was prepared; a new disk \
                      on which an earlier run was cut off is new again after: bedplate erase --disk DISK";

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
    let mut unseen = BTreeSet::new();
    for (laid, disk) in layout.disks.iter().zip(disks).filter(|(laid, _)| kept.contains(&laid.device)) {
        if disk.lacks_protective_mbr {
            unseen.extend(laid.partitions.iter().map(|it| it.device.as_str()));
        }
        // A bare list of devices says nothing of partitions; a machine that was looked at says whether there is data.
        if disk.partitions.is_empty() && disk.table.is_none() && disk.has_data.is_none() {
            unseen.extend(laid.partitions.iter().map(|it| it.device.as_str()));
            warnings.push(format!(
                "disk {}: its partitions are not known; what is to be kept is compared before anything is written",
                disk.device
            ));
            continue;
        }
        faults.extend(compare_disk(layout, laid, disk));
    }
    let is_seen = |places: &[String]| !places.iter().any(|place| unseen.contains(place.as_str()));
    let arrays = layout.mds.iter().filter(|md| layout::keeps_array(layout, md) || stays(layout, kept, &md.devices));
    faults.extend(arrays.filter(|md| is_seen(&md.devices)).filter_map(|md| compare_array(layout, kept, md, inventory)));
    if let Some(warning) = inventory.warnings.iter().find(|warning| warning.source == super::guards::LVM_SOURCE) {
        warnings.push(format!("volume groups are not known ({}); kept ones are compared later", warning.reason));
    } else {
        let groups = layout.vgs.iter().filter(|vg| stays(layout, kept, &vg.pvs) && is_seen(&vg.pvs));
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
    if let Some(table) = disk.table.as_deref().filter(|table| *table != "gpt") {
        let message = format!("disk {} is to be kept: expected a table gpt, found {table}", disk.device);
        return Some(Error::new(Kind::Hardware, message).advise(ADVICE));
    }
    if wanted.len() == found.len() && wanted.iter().zip(&found).all(is_same_place) {
        return None;
    }
    let message = format!(
        "disk {} is to be kept and is not as the request says: expected {}; found {}",
        disk.device,
        list(&wanted, expected_content),
        list(&found, found_content)
    );
    Some(Error::new(Kind::Hardware, message).advise(ADVICE))
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
        .chain(groups.map(|device| (device.as_str(), LVM_MEMBER)))
        .chain(members.map(|device| (device.as_str(), ARRAY_MEMBER)))
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

/// The group must lie where the request says and hold the volumes that it lists. Others are nobody's business here:
/// Cinder makes its own, an operator a snapshot.
fn compare_group(layout: &Layout, vg: &Vg, found: &[VolumeGroup]) -> Option<Error> {
    let rounded = |size: Mib| size.get().checked_next_multiple_of(LVM_EXTENT.get()).and_then(|it| Mib::new(it).bytes());
    let volumes = layout.lvs.iter().filter(|lv| lv.vg == vg.name);
    let wanted: BTreeSet<_> = volumes.map(|lv| (lv.name.as_str(), rounded(lv.size_mib).unwrap_or_default())).collect();
    let wanted_places: BTreeSet<_> = vg.pvs.iter().map(String::as_str).collect();
    let is_on =
        |group: &&VolumeGroup| group.physical_volumes.iter().any(|pv| wanted_places.contains(pv.device.as_str()));
    let present = found.iter().find(|group| group.name == vg.name && is_on(group)).map(|group| {
        let places: BTreeSet<_> = group.physical_volumes.iter().map(|pv| pv.device.as_str()).collect();
        let volumes: BTreeSet<_> = group.logical_volumes.iter().map(|lv| (lv.name.as_str(), lv.size)).collect();
        (volumes, places)
    });
    let is_same =
        |(volumes, places): &(BTreeSet<_>, BTreeSet<_>)| wanted.is_subset(volumes) && *places == wanted_places;
    if present.as_ref().is_some_and(is_same) {
        return None;
    }
    let present = present.map_or_else(|| "no such group".to_owned(), |(volumes, places)| shown(&volumes, &places));
    let expected = shown(&wanted, &wanted_places);
    let message = format!("volume group {} lies on disks that are kept: expected {expected}; found {present}", vg.name);
    Some(Error::new(Kind::Hardware, message).advise(ADVICE))
}

fn shown(volumes: &BTreeSet<(&str, Bytes)>, places: &BTreeSet<&str>) -> String {
    let volumes: Vec<_> = volumes.iter().map(|(name, size)| format!("{name} of {}", size.exact())).collect();
    let volumes = if volumes.is_empty() { "no volumes".to_owned() } else { volumes.join(", ") };
    format!("{} with {volumes}", join(places))
}

fn join(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// The members must be those of one array and of no larger one; where it runs, it is a mirror.
fn compare_array(layout: &Layout, kept: &BTreeSet<String>, md: &Md, inventory: &Inventory) -> Option<Error> {
    let members: BTreeSet<_> = present_members(layout, kept, md).collect();
    let parts: Vec<_> =
        inventory.disks.iter().flat_map(|disk| &disk.signatures).filter(|it| it.kind == ARRAY_MEMBER).collect();
    let ours = parts.iter().filter(|it| members.contains(it.device.as_str()));
    let uuids: BTreeSet<_> = ours.filter_map(|it| it.uuid.as_deref()).collect();
    let running: Vec<_> =
        inventory.arrays.iter().filter(|array| array.members.iter().any(|it| members.contains(it.as_str()))).collect();
    let of_same_uuid = parts.iter().filter(|it| it.uuid.as_deref().is_some_and(|uuid| uuids.contains(uuid)));
    let of_same_run = running.iter().flat_map(|array| array.members.iter().map(String::as_str));
    let together: BTreeSet<_> = of_same_uuid.map(|it| it.device.as_str()).chain(of_same_run).collect();
    let levels: BTreeSet<_> = running.iter().filter_map(|array| array.level.as_deref()).collect();
    let count = uuids.len().max(running.len());
    let is_whole = together.is_empty() || together == members;
    if count < 2 && is_whole && levels.iter().all(|level| *level == LEVEL) {
        return None;
    }
    let level = if levels.is_empty() { String::new() } else { format!(" ({})", join(&levels)) };
    let found = if count > 1 { format!("{count} arrays") } else { "one array".to_owned() };
    let message = format!(
        "array {} lies on disks that are kept: expected one array ({LEVEL}) of {}; found {found}{level} of {}",
        md.name,
        join(&members),
        join(&together)
    );
    Some(Error::new(Kind::Hardware, message).advise(ADVICE))
}

/// Members of an array that are there: not those on disks that are prepared.
fn present_members<'a>(layout: &'a Layout, kept: &BTreeSet<String>, md: &'a Md) -> impl Iterator<Item = &'a str> {
    let disks = layout.disks.iter().filter(|disk| kept.contains(&disk.device));
    let there: BTreeSet<_> = disks.flat_map(|disk| &disk.partitions).map(|it| it.device.as_str()).collect();
    md.devices.iter().map(String::as_str).filter(move |device| there.contains(device))
}

/// What must be true of the kept disks before the first byte is written, and still when all is done.
pub fn expectations(layout: &Layout, kept: &BTreeSet<String>) -> Vec<Expectation> {
    let disks = layout.disks.iter().filter(|disk| kept.contains(&disk.device));
    let tables =
        disks.map(|laid| Expectation::Partitions { device: laid.device.clone(), partitions: kept_partitions(laid) });
    let groups = layout.vgs.iter().filter(|vg| stays(layout, kept, &vg.pvs));
    let group = |vg: &Vg| Expectation::VolumeGroup { name: vg.name.clone(), physical_volumes: vg.pvs.clone() };
    let volume =
        |lv: &Lv| Expectation::LogicalVolume { group: lv.vg.clone(), name: lv.name.clone(), size: lv.size_mib };
    let groups = groups.flat_map(|vg| {
        let volumes = layout.lvs.iter().filter(|lv| lv.vg == vg.name).map(volume);
        std::iter::once(group(vg)).chain(volumes).collect::<Vec<_>>()
    });
    let contents = kept_contents(layout).into_iter();
    let contents =
        contents.map(|(device, kind)| Expectation::Content { device: device.to_owned(), kind: kind.to_owned() });
    tables.chain(groups).chain(contents).collect()
}
