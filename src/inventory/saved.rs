//! Reads a machine that was saved: the output of `inventory --json`, or a bare list of block devices.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Disk, Inventory, MultipathPath, Warning, natural_key};
use crate::error::{Context as _, Error, Kind, Result};
use crate::units::Bytes;

/// An entry of a bare list: what udev knows of a block device.
#[derive(Deserialize)]
struct Listed {
    device: String,
    size_bytes: u64,
    devlinks: Vec<String>,
    major: u32,
    minor: u32,
    #[serde(default)]
    dm_uuid: Option<String>,
}

/// Reads an inventory from JSON.
///
/// An object is taken as the output of `inventory --json`. A list is taken as a list of block devices with `device`,
/// `size_bytes`, `devlinks`, `major`, `minor` and, for device-mapper devices, `dm_uuid`; sectors are then of 512 bytes and
/// the firmware is unknown. A multipath map in such a list takes the disks that are its paths out of it.
///
/// # Errors
/// `Usage` when it is neither, with the place inside the document.
pub fn from_json(bytes: &[u8]) -> Result<Inventory> {
    match serde_json::from_slice(bytes).context(Kind::Usage, || "reading an inventory")? {
        Value::Object(object) => from_object(object),
        Value::Array(list) => from_list(list),
        other => Err(Error::new(
            Kind::Usage,
            format!("reading an inventory: $: expected an object or a list of devices, found {}", kind_of(&other)),
        )),
    }
}

fn from_object(mut object: Map<String, Value>) -> Result<Inventory> {
    if !object.contains_key("disks") {
        return Err(wrong("$", "missing field `disks`"));
    }
    let mut take = |key: &str| object.remove(key);
    let mut inventory = Inventory {
        firmware: one("$.firmware", take("firmware"))?,
        system: one("$.system", take("system"))?,
        cpu: one("$.cpu", take("cpu"))?,
        memory: one("$.memory", take("memory"))?,
        disks: many("$.disks", take("disks"))?,
        interfaces: many("$.interfaces", take("interfaces"))?,
        volume_groups: many("$.volume_groups", take("volume_groups"))?,
        arrays: many("$.arrays", take("arrays"))?,
        warnings: many("$.warnings", take("warnings"))?,
    };
    inventory.disks.sort_by_cached_key(|disk| natural_key(&disk.name));
    refuse_doubles(&inventory.disks)?;
    Ok(inventory)
}

fn from_list(list: Vec<Value>) -> Result<Inventory> {
    let listed: Vec<Listed> = many("$", Some(Value::Array(list)))?;
    let mut disks = Vec::with_capacity(listed.len());
    for (index, entry) in listed.into_iter().enumerate() {
        let Some(name) = entry.device.strip_prefix("/dev/").filter(|name| !name.is_empty()) else {
            return Err(wrong(&format!("$[{index}].device"), format!("{:?} is not below /dev", entry.device)));
        };
        let name = name.to_owned();
        disks.push(bare_disk(&name, entry));
    }
    disks.sort_by_cached_key(|disk| natural_key(&disk.name));
    refuse_doubles(&disks)?;
    let mut inventory = Inventory { disks, ..Inventory::default() };
    assign_paths(&mut inventory);
    Ok(inventory)
}

fn bare_disk(name: &str, entry: Listed) -> Disk {
    let mut links = entry.devlinks;
    links.sort_unstable();
    Disk {
        major: entry.major,
        minor: entry.minor,
        links,
        dm_uuid: entry.dm_uuid,
        ..Disk::unknown(name, Bytes::new(entry.size_bytes))
    }
}

/// Takes the paths of multipath maps out of the candidates.
///
/// A bare list does not say which disks they are. multipathd takes the by-id links away from a disk that becomes a path and
/// a map has the size of its paths, so a disk of a map's size without by-id links is one.
fn assign_paths(inventory: &mut Inventory) {
    let (maps, others): (Vec<_>, Vec<_>) = inventory.disks.drain(..).partition(Disk::is_multipath);
    let mut maps_of_size: BTreeMap<Bytes, Vec<Disk>> = BTreeMap::new();
    for map in maps {
        maps_of_size.entry(map.size).or_default().push(map);
    }
    for disk in others {
        match maps_of_size.get_mut(&disk.size).map(Vec::as_mut_slice) {
            Some([map]) if disk.by_id().next().is_none() => {
                map.paths.push(MultipathPath { name: disk.name, links: disk.links });
            }
            Some(maps) if disk.by_id().next().is_none() => {
                let names: Vec<_> = maps.iter().map(|map| map.name.as_str()).collect();
                let reason = format!("left out: it is a path of one of {}, not told of which", names.join(", "));
                inventory.warnings.push(Warning { source: disk.device, reason });
            }
            _ => inventory.disks.push(disk),
        }
    }
    inventory.disks.extend(maps_of_size.into_values().flatten());
    inventory.disks.sort_by_cached_key(|disk| natural_key(&disk.name));
}

fn refuse_doubles(disks: &[Disk]) -> Result<()> {
    match disks.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => {
            Err(Error::new(Kind::Usage, format!("reading an inventory: it lists the disk {} twice", pair[0].name)))
        }
        None => Ok(()),
    }
}

/// The value at `path`, its default when the key is absent.
fn one<T: DeserializeOwned + Default>(path: &str, value: Option<Value>) -> Result<T> {
    value.map_or_else(|| Ok(T::default()), |value| serde_json::from_value(value).map_err(|error| wrong(path, error)))
}

/// The list at `path`, element by element, so that an error names the element.
fn many<T: DeserializeOwned>(path: &str, value: Option<Value>) -> Result<Vec<T>> {
    let elements = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(elements)) => elements,
        Some(other) => return Err(wrong(path, format!("expected a list, found {}", kind_of(&other)))),
    };
    let read = |(index, element)| {
        serde_json::from_value(element).map_err(|error: serde_json::Error| wrong(&format!("{path}[{index}]"), error))
    };
    elements.into_iter().enumerate().map(read).collect()
}

fn wrong(path: &str, cause: impl ToString) -> Error {
    Error::new(Kind::Usage, format!("reading an inventory: {path}: {}", cause.to_string()))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SectorSize;

    fn fixture(name: &str) -> Inventory {
        let path = format!("{}/tests/fixtures/hardware/{name}.json", env!("CARGO_MANIFEST_DIR"));
        from_json(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn bare_list_becomes_disks_with_sectors_of_512_bytes() {
        let inventory = fixture("01-single-disk-lvm");
        let [disk] = inventory.disks.as_slice() else { panic!("{:?}", inventory.disks) };
        assert_eq!((disk.name.as_str(), disk.device.as_str()), ("sda", "/dev/sda"));
        assert_eq!((disk.size, disk.sector_size), (Bytes::new(500_107_862_016), SectorSize::B512));
        assert_eq!((disk.major, disk.minor), (8, 0));
        let by_id: Vec<_> = disk.by_id().collect();
        assert_eq!(by_id, ["/dev/disk/by-id/ata-EXAMPLE_SSD_0001", "/dev/disk/by-id/wwn-0x5000000000000001"]);
        assert_eq!(inventory.firmware.mode, crate::inventory::FirmwareMode::Unknown);
        assert_eq!(disk.has_data, None);
    }

    #[test]
    fn paths_of_a_multipath_map_are_no_disks_of_their_own() {
        let inventory = fixture("08-fc-multipath");
        let names: Vec<_> = inventory.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["mapper/36001405aaaa0000000000000000000001", "sdc"]);
        let paths: Vec<_> = inventory.disks[0].paths.iter().map(|path| path.name.as_str()).collect();
        assert_eq!(paths, ["sda", "sdb"]);
        assert_eq!(inventory.warnings, []);
    }

    #[test]
    fn every_saved_list_is_read_and_survives_the_way_through_json() {
        let folder = format!("{}/tests/fixtures/hardware", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let inventory = from_json(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
            let saved = serde_json::to_vec(&inventory).unwrap();
            assert_eq!(from_json(&saved).unwrap(), inventory);
            count += 1;
        }
        assert_eq!(count, 11);
    }

    #[test]
    fn error_names_the_place_in_the_document() {
        let message = |text: &str| from_json(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(message(r#"[{"device": "/dev/sda"}]"#), "reading an inventory: $[0]: missing field `size_bytes`");
        assert_eq!(message(r#"{"disks": {}}"#), "reading an inventory: $.disks: expected a list, found an object");
        assert_eq!(
            message(r#"{"disks": [{"name": "sda"}]}"#),
            "reading an inventory: $.disks[0]: missing field `device`"
        );
        assert_eq!(message("{}"), "reading an inventory: $: missing field `disks`");
        assert_eq!(message("7"), "reading an inventory: $: expected an object or a list of devices, found a number");
        let bare =
            |name: &str| format!(r#"{{"device": "{name}", "size_bytes": 1, "devlinks": [], "major": 8, "minor": 0}}"#);
        assert_eq!(
            message(&format!("[{}]", bare("sda"))),
            "reading an inventory: $[0].device: \"sda\" is not below /dev"
        );
        let twice = format!("[{0},{0}]", bare("/dev/sda"));
        assert_eq!(message(&twice), "reading an inventory: it lists the disk sda twice");
        assert_eq!(from_json(b"{").unwrap_err().kind(), Kind::Usage);
    }
}
