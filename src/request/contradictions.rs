//! What each part of a document allows and the whole does not. None of it needs a machine to be seen.

use std::collections::{BTreeMap, BTreeSet};

use super::file_systems::{ADOPTED, fault_of_made, label_fault};
use super::model::{Container, DiskSpec, ImageSpec, Mount, VgSpec, VolumeSpec};
use super::names::shown_uri;
use super::places::{Place, group_of, is_wanted, path_of, places};
use super::reader::Field;

/// Records each contradiction.
pub fn find(field: &Field<'_>, disks: &[DiskSpec], groups: &[VgSpec], images: Option<&[ImageSpec]>) {
    find_twins(field, disks, groups);
    find_groups_without_place(field, disks, groups);
    find_mixed_keeping(field, disks);
    let places = places(disks, groups);
    find_crowded_mounts(field, &places);
    find_odd_file_systems(field, &places, images);
    if let Some(images) = images {
        find_homeless_images(field, &places, images);
    }
}

/// What has the same name, or is the same disk, twice.
fn find_twins(field: &Field<'_>, disks: &[DiskSpec], groups: &[VgSpec]) {
    let disk_names: BTreeSet<_> = disks.iter().map(|disk| &disk.name).collect();
    let mut seen = BTreeMap::new();
    for VgSpec { path, name, volumes } in groups {
        if let Some(first) = seen.insert(name.as_str(), path) {
            field.fault_at(path, format!("volume group {name} is described twice: it is {first}, too"));
        }
        let mut seen = BTreeSet::new();
        for volume in volumes.iter().filter(|volume| !seen.insert(volume.name.as_str())) {
            field.fault_at(&volume.path, format!("volume group {name} has two volumes named {}", volume.name));
        }
        if disk_names.contains(name) {
            field.fault_at(path, format!("volume group {name} cannot have the name of a disk"));
        }
    }
    let (mut names, mut links) = (BTreeMap::new(), BTreeMap::new());
    for disk in disks {
        let DiskSpec { path, name, id, extra, .. } = disk;
        // Two NVMe disks may share what is in `extra` (LP#1503987), but then they have two places.
        let all: BTreeSet<_> = extra.iter().chain([id]).collect();
        let same = names.insert(name, path).or(links.insert(all, path));
        if let Some(first) = same {
            field.fault_at(path, format!("disk {name} is described twice: it is {first}, too"));
        }
    }
}

fn find_groups_without_place(field: &Field<'_>, disks: &[DiskSpec], groups: &[VgSpec]) {
    let wanted = disks.iter().flat_map(|disk| &disk.volumes).filter(|volume| is_wanted(volume.size));
    let placed: BTreeSet<_> = wanted.filter_map(|volume| group_of(&volume.kind)).collect();
    for VgSpec { path, name, volumes } in groups {
        if volumes.iter().any(|volume| is_wanted(volume.size)) && !placed.contains(name.as_str()) {
            field.fault_at(path, format!("volume group {name} has volumes and no physical volume on any disk"));
        }
    }
}

/// Nailgun wants all volumes of one name to be kept or none.
fn find_mixed_keeping(field: &Field<'_>, disks: &[DiskSpec]) {
    let mut first: BTreeMap<&str, &VolumeSpec> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for volume in disks.iter().flat_map(|disk| &disk.volumes).filter(|volume| is_wanted(volume.size)) {
        let Some(name) = volume.name.as_deref().or(group_of(&volume.kind)) else { continue };
        let other = first.entry(name).or_insert(volume);
        if other.keep_data != volume.keep_data && told.insert(name) {
            let (kept, other) = if volume.keep_data { (volume, *other) } else { (*other, volume) };
            let message = format!("keep_data of {name} is set here and not at {}", other.path);
            field.warn_at(&kept.path, &message);
        }
    }
}

fn find_crowded_mounts(field: &Field<'_>, places: &[Place<'_>]) {
    let mut counts = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for place in places {
        if let Mount::Path(path) = place.mount
            && (!place.is_shared || shared.insert(path))
        {
            *counts.entry(path).or_insert(0_usize) += 1;
        }
    }
    for (mount, count) in counts.into_iter().filter(|&(_, count)| count > 1) {
        field.fault(format!("{count} file systems are to be mounted on {mount}"));
    }
}

/// File systems that are to be made and cannot, labels that they cannot hold, and swap where there is none.
fn find_odd_file_systems(field: &Field<'_>, places: &[Place<'_>], images: Option<&[ImageSpec]>) {
    let images = images.into_iter().flatten().filter(|image| !image.is_archive());
    let imaged: BTreeSet<_> = images.map(|image| image.mount.as_str()).collect();
    for Place { path, mount, kind, size, label, is_kept, is_array, .. } in places {
        let is_imaged = matches!(mount, Mount::Path(path) if imaged.contains(path.as_str()));
        if !is_kept && !is_imaged {
            fault_of_made(kind, *size, *is_array).into_iter().for_each(|fault| field.fault_at(path, fault));
        }
        // Also where it is kept: on a disk that was replaced it is made all the same.
        if let Some(fault) = label.and_then(|label| label_fault(kind, label, is_imaged)) {
            field.fault_at(&format!("{path}.disk_label"), fault);
        }
        match mount {
            Mount::Swap if *kind != "swap" => {
                field.fault_at(path, format!("it is to be mounted as swap, but its file system is {kind}"));
            }
            Mount::Path(mount) if *kind == "swap" => {
                field.fault_at(path, format!("it is to be mounted on {mount}, but its file system is swap"));
            }
            _ => {}
        }
    }
}

/// Images without a file system to go to, or with one that is not what they hold.
fn find_homeless_images(field: &Field<'_>, places: &[Place<'_>], images: &[ImageSpec]) {
    let mut targets: BTreeMap<&str, Vec<&Place<'_>>> = BTreeMap::new();
    for place in places {
        if let Some(mount) = path_of(place.mount) {
            targets.entry(mount).or_default().push(place);
        }
    }
    // So many that a person still reads them.
    let mounts = targets.keys().copied().take(50).collect::<Vec<_>>().join(", ");
    for image in images {
        let ImageSpec { path, mount, uri, format, .. } = image;
        let targets = targets.get(mount.as_str()).map_or(&[][..], Vec::as_slice);
        if image.is_archive() && image.bmap.is_some() {
            field.fault_at(path, "an archive of files (tar) has no map of blocks (bmap)");
        }
        if image.container == Container::Qcow2 && image.bmap.is_some() {
            field.fault_at(path, "a qcow2 image tells itself what holds data: it has no map of blocks (bmap)");
        }
        if image.container == Container::Qcow2 && image.minisign_key.is_some() {
            field.fault_at(
                path,
                "a qcow2 image is read in parts, and a signature (minisign_key) is over the whole file",
            );
        }
        let message = if !image.is_archive() && !ADOPTED.contains(&format.as_str()) {
            let (uri, adopted) = (shown_uri(uri), ADOPTED.join(", "));
            format!("image {uri} holds {format}, which cannot be given a UUID of its own: expected one of {adopted}")
        } else if let Some(Place { path: target, kind, .. }) = targets.first() {
            // Of several /boot the disks decide which is made: any of them may be it.
            if !image.is_archive() && targets.iter().all(|it| it.kind != format) {
                format!("the image for {mount} holds {format}, the volume asks for {kind}")
            } else if targets.iter().all(|it| it.is_kept) {
                format!("the image would overwrite {target}, which is to be kept (keep_data)")
            } else {
                continue;
            }
        } else {
            format!("expected the mount point of a file system ({mounts}), found {mount}")
        };
        field.fault_at(path, message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    /// What is said of a document whose `ks_spaces` and images are `spaces` and `images`.
    fn faults(spaces: Value, images: Value) -> Vec<String> {
        let path = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        document["ks_meta"]["pm_data"]["ks_spaces"] = spaces;
        document["ks_meta"]["image_data"] = images;
        let checked = crate::request::check(document.to_string().as_bytes()).unwrap();
        let violations = checked.violations.iter().map(|it| it.to_string().replace("$.ks_meta.pm_data.ks_spaces", "S"));
        violations.chain(checked.warnings).collect()
    }

    fn image(format: &str) -> Value {
        json!({"/": {"uri": "http://m/a.img", "format": format, "container": "raw"}})
    }

    fn disk(name: &str, volumes: Value) -> Value {
        json!({"type": "disk", "id": format!("disk/by-path/{name}"), "name": name, "size": 99999, "volumes": volumes})
    }

    fn root() -> Value {
        json!({"type": "partition", "size": 1000, "mount": "/", "file_system": "ext4"})
    }

    fn on_root_disk(volumes: &[Value]) -> Vec<String> {
        let volumes: Vec<_> = std::iter::once(root()).chain(volumes.iter().cloned()).collect();
        faults(json!([disk("sda", json!(volumes))]), image("ext4"))
    }

    #[test]
    fn what_is_described_twice_is_named_with_both_places() {
        let pv = json!({"type": "pv", "vg": "os", "size": 100, "lvm_meta_size": 64});
        let lv = json!({"type": "lv", "name": "a", "size": 1});
        let group = json!({"type": "vg", "id": "os", "volumes": [lv, lv]});
        let mut twin = disk("sdb", json!([]));
        twin["id"] = "disk/by-path/sda".into();
        assert_eq!(
            faults(
                json!([disk("sda", json!([root(), pv])), disk("sda", json!([])), twin, group, group]),
                image("ext4")
            ),
            [
                "S[3].volumes[1]: volume group os has two volumes named a",
                "S[4]: volume group os is described twice: it is S[3], too",
                "S[4].volumes[1]: volume group os has two volumes named a",
                "S[1]: disk sda is described twice: it is S[0], too",
                "S[2]: disk sdb is described twice: it is S[1], too",
            ]
        );
    }

    #[test]
    fn disks_that_share_their_by_id_links_alone_are_two() {
        let mut disks = [disk("nvme0n1", json!([root()])), disk("nvme1n1", json!([]))];
        for disk in &mut disks {
            disk["extra"] = json!(["disk/by-id/wwn-0x65cd2e4080864356"]);
        }
        assert_eq!(faults(json!(disks), image("ext4")), [""; 0]);
    }

    #[test]
    fn groups_need_a_place_and_a_name_of_their_own() {
        let groups = json!([
            disk("sda", json!([root(), {"type": "pv", "vg": "a", "size": 0, "lvm_meta_size": 0}])),
            {"type": "vg", "id": "a", "volumes": [{"type": "lv", "name": "x", "size": 1}]},
            {"type": "vg", "id": "b", "volumes": [{"type": "lv", "name": "x", "size": 0}]},
            {"type": "vg", "id": "sda", "volumes": []},
            {"type": "vg", "id": "mapper", "volumes": []},
            {"type": "vg", "id": "c", "volumes": [{"type": "lv", "name": "snapshot1", "size": 0}]},
        ]);
        assert_eq!(
            faults(groups, image("ext4")),
            [
                "S[4].id: expected a name that is not in /dev already, found the string \"mapper\"",
                "S[5].volumes[0].name: expected a name that LVM does not keep for itself, found the string \"snapshot1\"",
            ],
            "contradictions are looked for once every part is right"
        );
        let groups = json!([
            disk("sda", json!([root(), {"type": "pv", "vg": "a", "size": 0, "lvm_meta_size": 0}])),
            {"type": "vg", "id": "a", "volumes": [{"type": "lv", "name": "x", "size": 1}]},
            {"type": "vg", "id": "b", "volumes": [{"type": "lv", "name": "x", "size": 0}]},
            {"type": "vg", "id": "sda", "volumes": []},
        ]);
        assert_eq!(
            faults(groups, image("ext4")),
            [
                "S[3]: volume group sda cannot have the name of a disk",
                "S[1]: volume group a has volumes and no physical volume on any disk",
            ]
        );
    }

    #[test]
    fn file_systems_that_cannot_be_made_are_named_unless_they_are_kept() {
        let volume = |kind: &str| json!({"type": "partition", "size": 9, "mount": "/srv", "file_system": kind});
        let mut kept = volume("reiserfs");
        kept["keep_data"] = true.into();
        assert_eq!(on_root_disk(&[kept]), [""; 0]);
        assert_eq!(
            on_root_disk(&[volume("reiserfs")]),
            [
                "S[0].volumes[1]: file system reiserfs is not one that can be made: expected one of ext2, ext3, ext4, xfs, btrfs, vfat, swap"
            ]
        );
        assert_eq!(
            on_root_disk(&[volume("swap"), json!({"type": "partition", "size": 300, "mount": "swap"})]),
            [
                "S[0].volumes[1]: it is to be mounted on /srv, but its file system is swap",
                "S[0].volumes[2]: it is to be mounted as swap, but its file system is xfs",
            ]
        );
    }

    #[test]
    fn labels_that_do_not_fit_are_told_where_they_stand_whether_kept_or_not() {
        let volume = |kind: &str, label: &str, keep_data: bool| {
            json!({"type": "partition", "size": 400, "mount": "none", "file_system": kind, "disk_label": label,
                "keep_data": keep_data})
        };
        let long = "zwölfte größe"; // Its twelve first letters are fourteen bytes.
        let fault = "expected a label of at most 12 bytes, which is what xfs holds, found \"zwölfte größ\" (15 bytes)";
        assert_eq!(
            on_root_disk(&[volume("xfs", long, false), volume("xfs", long, true), volume("ext4", long, false)]),
            [format!("S[0].volumes[1].disk_label: {fault}"), format!("S[0].volumes[2].disk_label: {fault}")]
        );
        let mut labelled = root();
        (labelled["file_system"], labelled["disk_label"]) = ("xfs".into(), "my root".into());
        assert_eq!(
            faults(json!([disk("sda", json!([labelled]))]), image("xfs")),
            [
                "S[0].volumes[0].disk_label: expected a label that xfs_admin can give to an image (letters, digits and ._-+:@%=,/), found \"my root\" (7 bytes)"
            ]
        );
    }

    #[test]
    fn label_of_an_array_is_that_of_its_first_member() {
        let member = |label: &str| json!({"type": "raid", "size": 400, "mount": "/srv", "disk_label": label});
        let disks = |first: &str, second: &str| {
            let disks = json!([disk("sda", json!([root(), member(first)])), disk("sdb", json!([member(second)]))]);
            faults(disks, image("ext4"))
        };
        assert_eq!(disks("srv", "größe größe"), [""; 0]);
        assert_eq!(disks("größe größe", "srv").len(), 1);
    }

    #[test]
    fn volumes_that_are_too_small_for_their_file_system_are_told_unless_nothing_is_made_there() {
        let volume = |size: u64, keep_data: bool| json!({"type": "partition", "size": size, "mount": "/srv", "file_system": "xfs", "keep_data": keep_data});
        let fault = |size: u64| format!("xfs cannot be made in {size} MiB: expected at least 300 MiB");
        assert_eq!(on_root_disk(&[volume(299, false)]), [format!("S[0].volumes[1]: {}", fault(299))]);
        assert_eq!(on_root_disk(&[volume(300, false)]), [""; 0]);
        assert_eq!(on_root_disk(&[volume(299, true)]), [""; 0]);
        let mut small = root();
        (small["size"], small["file_system"]) = (100.into(), "xfs".into());
        assert_eq!(faults(json!([disk("sda", json!([small]))]), image("xfs")), [""; 0], "the image decides");
        let in_group = |size: u64| {
            faults(
                json!([
                    disk("sda", json!([root(), {"type": "pv", "vg": "a", "size": 500, "lvm_meta_size": 64}])),
                    {"type": "vg", "id": "a", "volumes": [{"type": "lv", "name": "x", "size": size, "mount": "/srv"}]},
                ]),
                image("ext4"),
            )
        };
        assert_eq!(in_group(296), [format!("S[1].volumes[0]: {}", fault(296))]);
        assert_eq!(in_group(297), [""; 0], "LVM makes 75 extents");
    }

    #[test]
    fn images_need_a_file_system_of_their_kind() {
        let with = |images: Value| faults(json!([disk("sda", json!([root()]))]), images);
        let path = "$.ks_meta.image_data[\"/\"]";
        assert_eq!(with(image("xfs")), [format!("{path}: the image for / holds xfs, the volume asks for ext4")]);
        assert_eq!(
            with(image("vfat")),
            [format!(
                "{path}: image http://m/a.img holds vfat, which cannot be given a UUID of its own: expected one of ext2, ext3, ext4, xfs, btrfs"
            )]
        );
        let mut images = image("ext4");
        images["/srv"] = images["/"].clone();
        assert_eq!(
            with(images),
            ["$.ks_meta.image_data[\"/srv\"]: expected the mount point of a file system (/), found /srv"]
        );
        let mut kept = root();
        kept["keep_data"] = true.into();
        assert_eq!(
            faults(json!([disk("sda", json!([kept]))]), image("ext4")),
            [format!("{path}: the image would overwrite S[0].volumes[0], which is to be kept (keep_data)")]
        );
    }

    #[test]
    fn archives_go_to_any_file_system_that_can_be_made() {
        let with = |root: Value| faults(json!([disk("sda", json!([root]))]), image("tar"));
        let mut root = root();
        assert_eq!(with(root.clone()), [""; 0]);
        let mut mapped = image("tar");
        mapped["/"]["bmap"] = "http://m/a.bmap".into();
        assert_eq!(
            faults(json!([disk("sda", json!([root]))]), mapped),
            ["$.ks_meta.image_data[\"/\"]: an archive of files (tar) has no map of blocks (bmap)"]
        );
        let mut mapped = image("ext4");
        (mapped["/"]["bmap"], mapped["/"]["container"]) = ("http://m/a.bmap".into(), "qcow2".into());
        assert_eq!(
            faults(json!([disk("sda", json!([self::root()]))]), mapped.clone()),
            ["$.ks_meta.image_data[\"/\"]: a qcow2 image tells itself what holds data: it has no map of blocks (bmap)"]
        );
        mapped["/"].as_object_mut().unwrap().remove("bmap");
        mapped["/"]["minisign_key"] = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".into();
        assert_eq!(
            faults(json!([disk("sda", json!([self::root()]))]), mapped),
            [
                "$.ks_meta.image_data[\"/\"]: a qcow2 image is read in parts, and a signature (minisign_key) is over the whole file"
            ]
        );
        (root["size"], root["file_system"]) = (299.into(), "xfs".into());
        assert_eq!(
            with(root.clone()),
            ["S[0].volumes[0]: xfs cannot be made in 299 MiB: expected at least 300 MiB"],
            "no image decides"
        );
        (root["size"], root["keep_data"]) = (1000.into(), true.into());
        assert_eq!(
            with(root),
            ["$.ks_meta.image_data[\"/\"]: the image would overwrite S[0].volumes[0], which is to be kept (keep_data)"]
        );
    }

    #[test]
    fn volumes_of_one_name_are_kept_or_not_together() {
        let volume = |keep_data: bool| json!({"type": "partition", "size": 9, "name": "ceph", "mount": "none", "file_system": "none", "keep_data": keep_data});
        assert_eq!(on_root_disk(&[volume(true), volume(true)]), [""; 0]);
        let space = "$.ks_meta.pm_data.ks_spaces[0]";
        assert_eq!(
            on_root_disk(&[volume(false), volume(true), volume(false)]),
            [format!("{space}.volumes[2]: keep_data of ceph is set here and not at {space}.volumes[1]")]
        );
    }
}
