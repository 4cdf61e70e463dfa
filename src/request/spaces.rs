//! Reads `ks_spaces`: disks with their volumes, volume groups with theirs.

use super::model::{DiskExpect, DiskSpec, EraseMode, LvSpec, Mount, VgSpec, VolumeKind, VolumeSpec};
use super::names;
use super::reader::{Field, Object};
use crate::units::Mib;

/// No file system of a root may be larger (upstream's own limit: 16 TiB, that of ext4 with 4 KiB blocks).
const MAX_ROOT: u64 = 16_777_216;

/// What `size` of a PV must set aside for LVM's metadata at least; upstream's formula needs as much.
const MIN_LVM_META: i64 = 10;

/// Reads the list; nothing when it has a fault. `has_scheme` tells that the document describes its disks elsewhere.
pub fn read(field: &Field<'_>, has_scheme: bool) -> Option<(Vec<DiskSpec>, Vec<VgSpec>)> {
    let (mut disks, mut groups) = (Vec::new(), Vec::new());
    let (mut is_empty, mut is_whole) = (true, true);
    for item in field.list()? {
        is_empty = false;
        match item.variant() {
            Some(("disk", object)) => push(&mut disks, disk(&item, &object), &mut is_whole),
            Some(("vg", object)) => push(&mut groups, group(&item, &object), &mut is_whole),
            _ => is_whole = false,
        }
    }
    if is_empty && has_scheme {
        field.fault(
            "expected at least one disk, found none: the data driver nailgun_simple with $.partitioning is not supported",
        );
    } else if is_whole && disks.is_empty() {
        field.fault("expected at least one disk, found none");
    }
    (is_whole && !disks.is_empty()).then_some((disks, groups))
}

fn push<T>(list: &mut Vec<T>, item: Option<T>, is_whole: &mut bool) {
    *is_whole &= item.is_some();
    list.extend(item);
}

fn disk(item: &Field<'_>, object: &Object<'_>) -> Option<DiskSpec> {
    let device = |key: &str| object.get(key).and_then(|field| device_name(&field));
    let (id, name) = (device("id"), device("name"));
    let size = object.get("size").and_then(|field| size(&field));
    let extra = object.optional("extra", |field| each(field, device_name));
    let is_bootable = object.optional("bootable", Field::flag);
    let expect = object.optional("expect", expect);
    let erase =
        object.optional("erase", |field| field.parsed("quick, discard, sanitize or overwrite", EraseMode::of_word));
    let volumes = object.get("volumes").and_then(|field| each(&field, volume));
    Some(DiskSpec {
        path: item.path().to_owned(),
        name: name?,
        id: id?,
        extra: extra?.unwrap_or_default(),
        size: size?,
        is_bootable: is_bootable?.unwrap_or(false),
        expect: expect?,
        erase: erase?,
        volumes: volumes?,
    })
}

/// The extension clause that says which disk it must be and what may be on it.
fn expect(field: &Field<'_>) -> Option<DiskExpect> {
    let object = field.object()?;
    let text = |key: &str| object.optional(key, Field::word);
    let (serial, wwn) = (text("serial"), text("wwn"));
    let (min_size, max_size) = (object.optional("min_size", bound), object.optional("max_size", bound));
    let is_rotational = object.optional("rotational", Field::flag);
    let content = object.optional("content", |field| field.text().map(|text| text == "empty_or_ours"));
    if let (Some(Some(min)), Some(Some(max))) = (min_size, max_size)
        && min > max
    {
        field.fault(format!("min_size {min} is larger than max_size {max}"));
    }
    Some(DiskExpect {
        serial: serial?,
        wwn: wwn?,
        min_size: min_size?,
        max_size: max_size?,
        is_rotational: is_rotational?,
        is_empty_or_ours: content?.unwrap_or(false),
    })
}

/// All of them, each having been read so that each fault is found.
fn each<T>(list: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<_> = list.list()?.map(|field| read(&field)).collect();
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
    let size = Mib::new(u64::try_from(field.integer()?).unwrap_or(0));
    let fits = size.bytes().is_some();
    if !fits {
        field.expected("a size in MiB below 2^44");
    }
    fits.then_some(size)
}

/// A size that a disk may have.
fn bound(field: &Field<'_>) -> Option<Mib> {
    let size = size(field)?;
    if size == Mib::default() {
        field.expected("a size of 1 MiB and more");
        return None;
    }
    Some(size)
}

fn volume(item: &Field<'_>) -> Option<VolumeSpec> {
    let (kind, object) = item.variant()?;
    let size = object.get("size").and_then(|field| size(&field));
    let name = object.optional("name", |field| field.text().map(str::to_owned));
    let keep_data = object.optional("keep_data", Field::flag);
    let kind = match kind {
        "boot" => Some(VolumeKind::Boot),
        "lvm_meta_pool" => Some(VolumeKind::LvmMetaPool),
        "pv" => physical_volume(&object, size),
        _ => {
            let content = Content::read(&object, size);
            let type_guid =
                object.optional("partition_guid", |field| field.parsed("a partition type GUID", names::guid));
            content.zip(type_guid).map(|(Content { mount, file_system, label }, type_guid)| match kind {
                "raid" => VolumeKind::Raid { mount, file_system, label, type_guid },
                _ => VolumeKind::Partition { mount, file_system, label, type_guid },
            })
        }
    };
    let path = item.path().to_owned();
    Some(VolumeSpec { path, kind: kind?, size: size?, name: name?, keep_data: keep_data?.unwrap_or(false) })
}

fn physical_volume(object: &Object<'_>, size: Option<Mib>) -> Option<VolumeKind> {
    let vg = object
        .get("vg")
        .and_then(|field| lvm_name(&field, "that is not in /dev already", names::is_reserved_for_groups));
    let meta = object.get("lvm_meta_size").and_then(|field| field.integer().map(|size| (field, size)));
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

fn lvm_name(field: &Field<'_>, free: &str, is_reserved: impl Fn(&str) -> bool) -> Option<String> {
    let name = field.parsed("an LVM name", |text| names::is_lvm_name(text).then(|| text.to_owned()))?;
    if is_reserved(&name) {
        field.expected(&format!("a name {free}"));
        return None;
    }
    Some(name)
}

/// The keys that say what goes on a partition, an array or a logical volume.
struct Content {
    mount: Mount,
    file_system: Option<String>,
    label: Option<String>,
}

impl Content {
    fn read(object: &Object<'_>, size: Option<Mib>) -> Option<Self> {
        let mount = object.optional("mount", mount).map(|mount| mount.unwrap_or(Mount::None));
        let file_system = object.optional("file_system", |field| {
            field.parsed("the name of a file system", |text| {
                let is_name =
                    (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
                is_name.then(|| text.to_owned())
            })
        });
        let label = object.optional("disk_label", |field| {
            field.parsed("a label without control characters", |text| {
                (!text.chars().any(char::is_control)).then(|| text.to_owned())
            })
        });
        let mount = mount?;
        if mount == Mount::Path("/".to_owned())
            && size.is_some_and(|size| size.get() > MAX_ROOT)
            && let Some(field) = object.get("size")
        {
            field.expected("at most 16777216 MiB (16 TiB) for a volume mounted on /");
        }
        Some(Self {
            mount,
            file_system: file_system?.filter(|name| name != "none"),
            label: label?.filter(|label| !label.is_empty()),
        })
    }
}

fn mount(field: &Field<'_>) -> Option<Mount> {
    let mount = field.parsed("\"none\", \"swap\" or an absolute path", |text| match text {
        "none" => Some(Mount::None),
        "swap" => Some(Mount::Swap),
        path => names::is_mount_point(path).then(|| Mount::Path(path.to_owned())),
    })?;
    if let Mount::Path(path) = &mount
        && let Some(hidden) = names::hidden_at_boot(path)
    {
        field.fault(format!(
            "expected a place that stays visible: the kernel's file system on {hidden} would hide {path}"
        ));
    }
    Some(mount)
}

fn group(item: &Field<'_>, object: &Object<'_>) -> Option<VgSpec> {
    let name = object
        .get("id")
        .and_then(|field| lvm_name(&field, "that is not in /dev already", names::is_reserved_for_groups));
    let volumes = object.get("volumes").and_then(|field| each(&field, logical_volume));
    Some(VgSpec { path: item.path().to_owned(), name: name?, volumes: volumes? })
}

fn logical_volume(item: &Field<'_>) -> Option<LvSpec> {
    let (_, object) = item.variant()?;
    let name = object
        .get("name")
        .and_then(|field| lvm_name(&field, "that LVM does not keep for itself", names::is_reserved_for_volumes));
    let size = object.get("size").and_then(|field| size(&field));
    let content = Content::read(&object, size);
    let Content { mount, file_system, label } = content?;
    Some(LvSpec { path: item.path().to_owned(), name: name?, size: size?, mount, file_system, label })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    /// What is said of a document of Fuel that `change` was made to.
    fn faults(change: impl Fn(&mut Value)) -> Vec<String> {
        let path = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
        let mut document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut document);
        let checked = crate::request::check(document.to_string().as_bytes()).unwrap();
        checked.violations.iter().map(ToString::to_string).chain(checked.warnings).collect()
    }

    #[test]
    fn places_that_the_kernel_hides_are_refused() {
        let change =
            |it: &mut Value| it["ks_meta"]["pm_data"]["ks_spaces"][2]["volumes"][0]["mount"] = "/run/data".into();
        assert_eq!(
            faults(change),
            [
                "$.ks_meta.pm_data.ks_spaces[2].volumes[0].mount: expected a place that stays visible: the kernel's file system on /run would hide /run/data"
            ]
        );
    }

    #[test]
    fn disks_that_are_described_for_another_driver_are_refused_by_its_name() {
        let change = |it: &mut Value| {
            it["ks_meta"]["pm_data"]["ks_spaces"] = json!([]);
            it["partitioning"] = json!({"parteds": [], "mds": [], "pvs": [], "vgs": [], "lvs": [], "fss": []});
        };
        assert_eq!(
            faults(change),
            [
                "$.ks_meta.pm_data.ks_spaces: expected at least one disk, found none: the data driver nailgun_simple with $.partitioning is not supported"
            ]
        );
    }

    #[test]
    fn sizes_that_no_disk_can_have_are_refused() {
        let change = |it: &mut Value| {
            it["ks_meta"]["pm_data"]["ks_spaces"][0]["expect"] = json!({"min_size": 5, "max_size": 4});
        };
        assert_eq!(
            faults(change),
            ["$.ks_meta.pm_data.ks_spaces[0].expect: min_size 5 MiB is larger than max_size 4 MiB"]
        );
        let change = |it: &mut Value| {
            it["ks_meta"]["pm_data"]["ks_spaces"][0]["expect"] = json!({"max_size": -1, "serail": "S1"});
        };
        assert_eq!(
            faults(change),
            [
                "$.ks_meta.pm_data.ks_spaces[0].expect.serail: unknown key, expected one of serial, wwn, min_size, max_size, rotational, content",
                "$.ks_meta.pm_data.ks_spaces[0].expect.max_size: expected a size of 1 MiB and more, found the number -1",
            ]
        );
    }

    #[test]
    fn null_means_absent_but_where_it_could_mean_two_things() {
        let disk = "$.ks_meta.pm_data.ks_spaces[0]";
        let change = |it: &mut Value| {
            let disk = &mut it["ks_meta"]["pm_data"]["ks_spaces"][0];
            (disk["bootable"], disk["extra"], disk["free_space"]) = (Value::Null, Value::Null, Value::Null);
            let volume = &mut disk["volumes"][1];
            (volume["disk_label"], volume["partition_guid"], volume["keep_data"]) =
                (Value::Null, Value::Null, Value::Null);
            (volume["mount"], volume["file_system"], volume["name"]) = (Value::Null, Value::Null, Value::Null);
        };
        let expected = ["name", "mount", "file_system"]
            .map(|key| format!("{disk}.volumes[1].{key}: expected a string, found null"));
        assert_eq!(faults(change), expected);
    }

    #[test]
    fn other_versions_keys_are_warnings_and_their_nulls_nothing() {
        let change = |it: &mut Value| {
            (it["power_pass"], it["netboot_enabled"], it["ks_meta"]["mlnx_vf_num"]) =
                (Value::Null, true.into(), "16".into());
            it["interfaces_extra"] = Value::Null;
            it["ks_meta"]["user_accounts"][0]["groups"] = json!(["wheel"]);
            let volumes = &mut it["ks_meta"]["pm_data"]["ks_spaces"][0]["volumes"];
            (volumes[0]["mount"], volumes[1]["orig_size"]) = (7.into(), 200.into());
        };
        assert_eq!(
            faults(change),
            [
                "$.ks_meta.pm_data.ks_spaces[0].volumes[1].orig_size: unknown key, ignored",
                "$.ks_meta.user_accounts[0].groups: unknown key, ignored",
            ]
        );
        let change = |it: &mut Value| {
            (it["power_type"], it["interfaces_extra"]["enp0s3"]) = (json!([]), "yes".into());
        };
        assert_eq!(
            faults(change),
            [
                "$.power_type: expected a string, a number or a boolean, found a list of 0",
                "$.interfaces_extra.enp0s3: expected an object, found the string \"yes\"",
            ]
        );
    }
}
