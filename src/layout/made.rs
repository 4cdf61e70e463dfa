//! File systems that are made although the document wishes to keep them: their disks are new ones.

use crate::error::{Error, Kind};
use crate::layout::capacity::device_size;
use crate::layout::findings::Findings;
use crate::layout::model::{FileSystem, Layout};
use crate::request::{LVM_EXTENT, Request, file_systems};
use crate::units::Mib;

/// Checks that what is made can be made. Of what the document does not wish to keep this is known since it was read.
pub fn check(request: &Request, layout: &Layout, findings: &mut Findings) {
    for it in layout.filesystems.iter().filter(|it| it.mkfs) {
        // The size of an array is what md leaves of its members already.
        let fault = size(layout, it).and_then(|size| file_systems::fault_of_made(&it.kind, size, false));
        if let Some(fault) = fault {
            let path = path(request, layout, it);
            findings.fault(Error::new(Kind::Request, format!("{path}: {fault}, for {}", it.device)));
        }
    }
}

/// Room for the file system; a logical volume has whole extents.
fn size(layout: &Layout, it: &FileSystem) -> Option<Mib> {
    let size = device_size(layout, &it.device)?;
    let is_volume = layout.lvs.iter().any(|lv| lv.device == it.device);
    let extents = || size.get().checked_next_multiple_of(LVM_EXTENT.get()).map(Mib::new);
    if is_volume { extents() } else { Some(size) }
}

/// Where the document describes it: the logical volume, or the disk that it lies on.
fn path<'a>(request: &'a Request, layout: &Layout, it: &FileSystem) -> &'a str {
    let on_volume = || {
        let lv = layout.lvs.iter().find(|lv| lv.device == it.device)?;
        let group = request.volume_groups.iter().find(|group| group.name == lv.vg)?;
        group.volumes.iter().find(|volume| volume.name == lv.name).map(|volume| volume.path.as_str())
    };
    let on_disk = || {
        let array = layout.mds.iter().find(|md| md.name == it.device);
        let device = array.and_then(|md| md.devices.first()).unwrap_or(&it.device);
        let laid = layout.disks.iter().find(|laid| laid.partitions.iter().any(|part| part.device == *device))?;
        request.disks.iter().find(|disk| disk.name == laid.ks_name).map(|disk| disk.path.as_str())
    };
    on_volume().or_else(on_disk).unwrap_or("$.ks_meta.pm_data.ks_spaces")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::inventory::Inventory;
    use crate::{inventory, layout, request};

    /// What is said of a document that `change` was made to, on a machine of which one disk came empty.
    fn fault(change: impl Fn(&mut Value)) -> String {
        let read = |folder: &str| {
            let folder = format!("{}/tests/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read(format!("{folder}/02-controller-three-disks-raid-boot.json")).unwrap()
        };
        let mut document: Value = serde_json::from_slice(&read("provision")).unwrap();
        let spaces = &mut document["ks_meta"]["pm_data"]["ks_spaces"];
        // On what is left of its group when the other disks hold something else.
        spaces[5]["volumes"][0]["size"] = 500.into();
        change(spaces);
        let request = request::parse(document.to_string().as_bytes()).unwrap().request;
        let mut machine: Inventory = inventory::from_json(&read("hardware")).unwrap();
        machine.disks[2].has_data = Some(false);
        layout::resolve(&request, &machine, None).map(|_| ()).unwrap_err().to_string()
    }

    fn keep(disk: &mut Value, kind: &str, volume: &Value) {
        let volumes = disk["volumes"].as_array_mut().unwrap();
        volumes.pop();
        let mut kept = json!({"type": kind, "size": 200, "keep_data": true});
        kept.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
        volumes.push(kept);
    }

    #[test]
    fn kept_file_system_that_nobody_can_make_is_told_where_its_disk_was_replaced() {
        let message = fault(|spaces| {
            keep(&mut spaces[1], "partition", &json!({"mount": "/srv/1", "file_system": "reiserfs"}));
            keep(&mut spaces[2], "partition", &json!({"mount": "/srv/2", "file_system": "reiserfs"}));
        });
        assert_eq!(
            message,
            "$.ks_meta.pm_data.ks_spaces[2]: file system reiserfs is not one that can be made: expected one of ext2, \
             ext3, ext4, xfs, btrfs, vfat, swap, for /dev/sdc3"
        );
    }

    #[test]
    fn kept_file_system_that_is_too_small_to_be_made_is_told_where_its_disk_was_replaced() {
        let message = fault(|spaces| {
            for disk in [1, 2] {
                keep(&mut spaces[disk], "partition", &json!({"mount": format!("/srv/{disk}"), "file_system": "xfs"}));
            }
        });
        assert_eq!(
            message,
            "$.ks_meta.pm_data.ks_spaces[2]: xfs cannot be made in 200 MiB: expected at least 300 MiB, for /dev/sdc3"
        );
    }

    #[test]
    fn image_of_another_kind_than_the_boot_that_is_made_is_told() {
        let message = fault(|spaces| spaces[0]["volumes"][1]["file_system"] = "ext4".into());
        assert_eq!(
            message,
            "$.ks_meta.image_data[\"/boot\"]: the image for /boot holds ext2, the volume asks for ext4"
        );
    }
}
