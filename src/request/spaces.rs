//! Reads `ks_spaces`: disks with their volumes, volume groups with theirs.

use std::collections::BTreeMap;

use super::model::{DiskExpect, DiskSpec, LvSpec, Mount, VgSpec, VolumeKind, VolumeSpec};
use super::names;
use super::reader::{Field, Object};
use crate::units::Mib;

/// No file system of a root may be larger (upstream's own limit: 16 TiB, that of ext4 with 4 KiB blocks).
const MAX_ROOT: u64 = 16_777_216;

/// What `size` of a PV must set aside for LVM's metadata at least; upstream's formula needs as much.
const MIN_LVM_META: i64 = 10;

/// Reads the list; nothing when it has a fault.
pub fn read(field: &Field<'_>) -> Option<(Vec<DiskSpec>, Vec<VgSpec>)> {
    let (mut disks, mut groups) = (Vec::new(), Vec::new());
    let mut is_whole = true;
    for item in field.list()? {
        let Some(object) = item.object() else {
            is_whole = false;
            continue;
        };
        let kind = object.required("type").and_then(|kind| kind.string().map(|text| (kind, text)));
        match kind.as_ref().map(|(_, text)| text.as_str()) {
            Some("disk") => match disk(&item, &object) {
                Some(disk) => disks.push(disk),
                None => is_whole = false,
            },
            Some("vg") => match group(&item, &object) {
                Some(group) => groups.push(group),
                None => is_whole = false,
            },
            _ => {
                if let Some((kind, _)) = kind {
                    kind.expected("\"disk\" or \"vg\"");
                }
                is_whole = false;
            }
        }
    }
    if is_whole && disks.is_empty() {
        field.fault("expected at least one disk, found none");
        return None;
    }
    if is_whole {
        find_contradictions(field, &disks, &groups);
    }
    is_whole.then_some((disks, groups))
}

fn disk(item: &Field<'_>, object: &Object<'_>) -> Option<DiskSpec> {
    object.unused(&["free_space"]);
    let device = |key: &str| object.required(key).and_then(|field| device_name(&field));
    let (id, name) = (device("id"), device("name"));
    let size = object.required("size").and_then(|field| size(&field));
    let extra = match object.optional("extra") {
        Some(field) => field.list().and_then(|links| links.iter().map(device_name).collect()),
        None => Some(Vec::new()),
    };
    let is_bootable = object.optional("bootable").and_then(|field| field.flag()).unwrap_or(false);
    let expect = object.optional("expect").map_or(Some(None), |field| expect(&field).map(Some));
    let volumes = object.required("volumes").and_then(|field| field.list());
    let volumes = volumes.and_then(|volumes| collect(volumes.iter().map(volume)));
    Some(DiskSpec {
        path: item.path().to_owned(),
        name: name?,
        id: id?,
        extra: extra?,
        size: size?,
        is_bootable,
        expect: expect?,
        volumes: volumes?,
    })
}

/// The extension clause that says which disk it must be and what may be on it.
fn expect(field: &Field<'_>) -> Option<DiskExpect> {
    let object = field.object()?;
    let text = |key: &str| object.optional(key).map_or(Some(None), |field| field.word().map(Some));
    let mib = |key: &str| object.optional(key).map_or(Some(None), |field| size(&field).map(Some));
    let (serial, wwn) = (text("serial"), text("wwn"));
    let (min_size, max_size) = (mib("min_size"), mib("max_size"));
    let is_rotational = object.optional("rotational").map_or(Some(None), |field| field.flag().map(Some));
    let content = object.optional("content").map_or(Some(false), |field| {
        field.parsed("\"empty_or_ours\"", |text| (text == "empty_or_ours").then_some(true))
    });
    Some(DiskExpect {
        serial: serial?,
        wwn: wwn?,
        min_size: min_size?,
        max_size: max_size?,
        is_rotational: is_rotational?,
        is_empty_or_ours: content?,
    })
}

/// All of them, each having been read so that each fault is found.
fn collect<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<_> = items.collect();
    items.into_iter().collect()
}

fn device_name(field: &Field<'_>) -> Option<String> {
    field.parsed("a device name below /dev", |text| {
        let name = text.strip_prefix("/dev/").unwrap_or(text);
        names::is_device_name(name).then(|| name.to_owned())
    })
}

/// Sizes of zero and below mean that the volume is not wanted.
fn size(field: &Field<'_>) -> Option<Mib> {
    let size = u64::try_from(field.integer()?).unwrap_or(0);
    let fits = Mib::new(size).bytes().is_some();
    if !fits {
        field.expected("a size in MiB below 2^44");
    }
    fits.then(|| Mib::new(size))
}

fn volume(item: &Field<'_>) -> Option<VolumeSpec> {
    let object = item.object()?;
    let kind = object.required("type").and_then(|kind| kind.string().map(|text| (kind, text)));
    let size = object.required("size").and_then(|field| size(&field));
    let name = object.get("name").and_then(|field| field.string());
    let keep_data = object.optional("keep_data").is_some_and(|field| field.flag() == Some(true));
    let (kind, text) = kind?;
    let kind = match text.as_str() {
        "boot" => ignore_content(&object, VolumeKind::Boot),
        "lvm_meta_pool" => ignore_content(&object, VolumeKind::LvmMetaPool),
        "partition" => Content::read(&object).map(|content| VolumeKind::Partition {
            mount: content.mount,
            file_system: content.file_system,
            label: content.label,
            type_guid: content.type_guid,
        }),
        "raid" => Content::read(&object).map(|content| VolumeKind::Raid {
            mount: content.mount,
            file_system: content.file_system,
            label: content.label,
            type_guid: content.type_guid,
        }),
        "pv" => physical_volume(&object, size),
        _ => {
            kind.expected("one of \"boot\", \"lvm_meta_pool\", \"partition\", \"raid\", \"pv\"");
            None
        }
    };
    let (kind, size) = (kind?, size?);
    check_root_size(&object, &kind, size);
    Some(VolumeSpec { path: item.path().to_owned(), kind, size, name, keep_data })
}

/// Reservations may carry the keys of a file system; they mean nothing there.
fn ignore_content(object: &Object<'_>, kind: VolumeKind) -> Option<VolumeKind> {
    object.unused(&["mount", "file_system", "disk_label", "partition_guid", "vg", "lvm_meta_size"]);
    Some(kind)
}

fn check_root_size(object: &Object<'_>, kind: &VolumeKind, size: Mib) {
    let (VolumeKind::Partition { mount, .. } | VolumeKind::Raid { mount, .. }) = kind else { return };
    if let Some(field) = object.get("size") {
        refuse_large_root(&field, mount, size);
    }
}

fn refuse_large_root(field: &Field<'_>, mount: &Mount, size: Mib) {
    if *mount == Mount::Path("/".to_owned()) && size.get() > MAX_ROOT {
        field.expected("at most 16777216 MiB (16 TiB) for a volume mounted on /");
    }
}

fn physical_volume(object: &Object<'_>, size: Option<Mib>) -> Option<VolumeKind> {
    object.unused(&["mount", "file_system", "disk_label", "partition_guid"]);
    let vg = object.required("vg").and_then(|field| lvm_name(&field));
    let meta = object.required("lvm_meta_size").and_then(|field| field.integer().map(|size| (field, size)));
    let (field, meta) = meta?;
    let is_wanted = size.is_some_and(|size| size.get() > 0);
    if is_wanted && meta < MIN_LVM_META {
        field.expected("at least 10 MiB for LVM's metadata");
        return None;
    }
    if is_wanted && size.is_some_and(|size| u64::try_from(meta).is_ok_and(|meta| meta >= size.get())) {
        field.expected("less than the volume's size");
        return None;
    }
    Some(VolumeKind::Pv { vg: vg?, lvm_meta_size: Mib::new(u64::try_from(meta).unwrap_or(0)) })
}

fn lvm_name(field: &Field<'_>) -> Option<String> {
    field.parsed("an LVM name", |text| names::is_lvm_name(text).then(|| text.to_owned()))
}

/// The keys that say what goes on a partition, an array or a logical volume.
struct Content {
    mount: Mount,
    file_system: Option<String>,
    label: Option<String>,
    type_guid: Option<String>,
}

impl Content {
    fn read(object: &Object<'_>) -> Option<Self> {
        let mount = match object.get("mount") {
            None => Some(Mount::None),
            Some(field) => field.parsed("\"none\", \"swap\" or an absolute path", |text| match text {
                "none" => Some(Mount::None),
                "swap" => Some(Mount::Swap),
                path => names::is_mount_point(path).then(|| Mount::Path(path.to_owned())),
            }),
        };
        let file_system = match object.get("file_system") {
            None => Some(None),
            Some(field) => field
                .parsed("the name of a file system", |text| {
                    let is_name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                    is_name.then(|| text.to_owned())
                })
                .map(|name| (name != "none").then_some(name)),
        };
        let label = object.optional("disk_label").map_or(Some(None), |field| {
            field
                .parsed("a label without control characters", |text| {
                    (!text.chars().any(char::is_control)).then(|| text.to_owned())
                })
                .map(|label| (!label.is_empty()).then_some(label))
        });
        let type_guid = object
            .optional("partition_guid")
            .map_or(Some(None), |field| field.parsed("a partition type GUID", names::guid).map(Some));
        Some(Self { mount: mount?, file_system: file_system?, label: label?, type_guid: type_guid? })
    }
}

fn group(item: &Field<'_>, object: &Object<'_>) -> Option<VgSpec> {
    object.unused(&["label", "min_size", "_allocate_size"]);
    let name = object.required("id").and_then(|field| lvm_name(&field));
    let volumes = object.required("volumes").and_then(|field| field.list());
    let volumes = volumes.and_then(|volumes| collect(volumes.iter().map(logical_volume)));
    Some(VgSpec { path: item.path().to_owned(), name: name?, volumes: volumes? })
}

fn logical_volume(item: &Field<'_>) -> Option<LvSpec> {
    let object = item.object()?;
    // Nailgun sends it with ceph and cinder groups; a logical volume's own flag has no meaning (elevation sets it).
    object.unused(&["keep_data", "partition_guid"]);
    let kind = object.required("type").and_then(|kind| kind.parsed("\"lv\"", |text| (text == "lv").then_some(())));
    let name = object.required("name").and_then(|field| lvm_name(&field));
    let size_field = object.required("size");
    let size = size_field.as_ref().and_then(size);
    let content = Content::read(&object);
    let (name, size, content) = (name?, size?, content?);
    kind?;
    if let Some(field) = size_field {
        refuse_large_root(&field, &content.mount, size);
    }
    Some(LvSpec {
        path: item.path().to_owned(),
        name,
        size,
        mount: content.mount,
        file_system: content.file_system,
        label: content.label,
    })
}

/// What each part allows and the whole does not.
fn find_contradictions(field: &Field<'_>, disks: &[DiskSpec], groups: &[VgSpec]) {
    let mut seen = BTreeMap::new();
    for group in groups {
        if let Some(first) = seen.insert(group.name.as_str(), group.path.as_str()) {
            field.fault(format!("volume group {} is described twice: at {first} and at {}", group.name, group.path));
        }
        let mut volumes = BTreeMap::new();
        for volume in &group.volumes {
            if volumes.insert(volume.name.as_str(), ()).is_some() {
                field.fault(format!("volume group {} has two volumes named {}", group.name, volume.name));
            }
        }
    }
    let mut names = BTreeMap::new();
    for disk in disks {
        if let Some(first) = names.insert(disk.name.as_str(), disk.path.as_str()) {
            field.fault(format!("disk {} is described twice: at {first} and at {}", disk.name, disk.path));
        }
    }
    for (mount, count) in mounts(disks, groups).into_iter().filter(|&(_, count)| count > 1) {
        field.fault(format!("{count} file systems are to be mounted on {mount}"));
    }
}

/// How many file systems go to each mount point. Members of one array are one; of several `/boot` only one is made.
fn mounts<'a>(disks: &'a [DiskSpec], groups: &'a [VgSpec]) -> BTreeMap<&'a str, usize> {
    let mut mounts = BTreeMap::new();
    let mut shared = BTreeMap::new();
    let on_disks = disks.iter().flat_map(|disk| &disk.volumes).filter(|volume| volume.size > Mib::default());
    for volume in on_disks {
        match &volume.kind {
            VolumeKind::Partition { mount: Mount::Path(path), .. } if path != "/boot" => {
                *mounts.entry(path.as_str()).or_insert(0) += 1;
            }
            // Of several /boot on disks one is made; members of one array are one.
            VolumeKind::Raid { mount: Mount::Path(path), .. }
            | VolumeKind::Partition { mount: Mount::Path(path), .. } => {
                shared.insert(path.as_str(), ());
            }
            _ => {}
        }
    }
    let in_groups = groups.iter().flat_map(|group| &group.volumes).filter(|volume| volume.size > Mib::default());
    for volume in in_groups {
        if let Mount::Path(path) = &volume.mount {
            *mounts.entry(path.as_str()).or_insert(0) += 1;
        }
    }
    for path in shared.into_keys() {
        *mounts.entry(path).or_insert(0) += 1;
    }
    mounts
}
