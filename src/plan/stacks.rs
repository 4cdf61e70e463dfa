//! What is built of several partitions or disks: volume groups, arrays, file systems over several devices.

use std::collections::BTreeMap;

use crate::inventory::{Array, Inventory, VolumeGroup};
use crate::plan::Step;
use crate::plan::before::{ARRAY_MEMBER, LVM_MEMBER};

/// LVM's word for a physical volume that is missing.
const MISSING: &str = "[unknown]";
/// File systems of which every part carries the UUID of the whole, in libblkid's words.
const OVER_SEVERAL: [&str; 2] = ["btrfs", "zfs_member"];

/// Something that is lost as a whole when one of its places is.
pub struct Stack {
    /// What it is, and its name: `volume group data`.
    pub words: String,
    /// The partitions and disks that it lies on.
    pub places: Vec<String>,
    /// Devices that it makes of them, on which something else may lie.
    pub provides: Vec<String>,
    /// Whether a part of it lies nobody knows where.
    pub is_incomplete: bool,
    /// The command that would free its places.
    pub free: String,
    /// What it is to the plan.
    pub kind: Kind,
}

/// What a stack is to the plan.
pub enum Kind {
    /// A volume group, by its name.
    Group {
        /// Its name.
        name: String,
        /// The step that ends its use.
        close: Step,
    },
    /// An array that is assembled.
    Array {
        /// Its device node.
        device: String,
        /// The step that ends its use.
        close: Step,
    },
    /// Something that nobody uses now.
    Idle,
}

/// Everything of the machine that is built of several places; arrays first, since groups may lie on them.
pub fn of(inventory: &Inventory) -> Vec<Stack> {
    let arrays = inventory.arrays.iter().map(running);
    let idle = idle(inventory);
    let groups = inventory.volume_groups.iter().map(|it| group(it, inventory));
    arrays.chain(idle).chain(groups).collect()
}

fn running(array: &Array) -> Stack {
    let close = Step::StopArray { device: array.device.clone(), members: array.members.clone() };
    Stack {
        words: format!("array {}", array.device),
        places: array.members.clone(),
        provides: vec![array.device.clone()],
        is_incomplete: false,
        free: format!("mdadm --stop {}", array.device),
        kind: Kind::Array { device: array.device.clone(), close },
    }
}

fn group(group: &VolumeGroup, inventory: &Inventory) -> Stack {
    // LVM does not see what lies behind a table that the kernel does not see; its UUID tells where it is.
    let located = |uuid: &str| {
        let mut signatures = inventory.disks.iter().flat_map(|disk| &disk.signatures);
        signatures.find(|it| it.kind == LVM_MEMBER && it.uuid.as_deref() == Some(uuid)).map(|it| it.device.clone())
    };
    let places: Vec<_> = group
        .physical_volumes
        .iter()
        .filter_map(|pv| if pv.device == MISSING { located(&pv.uuid) } else { Some(pv.device.clone()) })
        .collect();
    Stack {
        words: format!("volume group {}", group.name),
        is_incomplete: places.len() < group.physical_volumes.len(),
        places,
        provides: group.logical_volumes.iter().flat_map(|volume| nodes(&group.name, &volume.name)).collect(),
        free: format!("vgremove --select vg_uuid={0}, or vgrename {0} NEWNAME", group.uuid),
        kind: Kind::Group {
            name: group.name.clone(),
            close: Step::DeactivateVolumeGroup { name: group.name.clone(), uuid: group.uuid.clone() },
        },
    }
}

/// The device nodes of a logical volume: LVM's link, and the device mapper's own, in which a hyphen is written twice.
pub fn nodes(group: &str, volume: &str) -> [String; 2] {
    let doubled = |name: &str| name.replace('-', "--");
    [format!("/dev/{group}/{volume}"), format!("/dev/mapper/{}-{}", doubled(group), doubled(volume))]
}

/// Arrays that are not assembled, as in a bootstrap, and file systems over several devices.
fn idle(inventory: &Inventory) -> Vec<Stack> {
    let is_running = |device: &str| inventory.arrays.iter().any(|array| array.members.iter().any(|it| it == device));
    let mut found: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for it in inventory.disks.iter().flat_map(|disk| &disk.signatures) {
        let is_part = (it.kind == ARRAY_MEMBER && !is_running(&it.device)) || OVER_SEVERAL.contains(&it.kind.as_str());
        if let Some(uuid) = it.uuid.as_deref().filter(|_| is_part) {
            found.entry((&it.kind, uuid)).or_default().push(it.device.clone());
        }
    }
    let stack = |((kind, uuid), places): ((&str, &str), Vec<String>)| {
        let what = match kind {
            ARRAY_MEMBER => "array that does not run",
            "zfs_member" => "ZFS pool",
            other => other,
        };
        Stack {
            words: format!("{what} {uuid}"),
            free: format!("wipefs --all {}", places.join(" ")),
            places,
            provides: Vec::new(),
            is_incomplete: false,
            kind: Kind::Idle,
        }
    };
    found.into_iter().map(stack).collect()
}
