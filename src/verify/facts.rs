//! What is on the medium, as sfdisk, blkid, mdadm and lvm2 read it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::compare::{BootFacts, TableFacts, TablePartitionFacts};
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::TargetMount;
use crate::sys::blkid;
use crate::sys::command::{Call, Tool};
use crate::sys::mount::{Access, Mounts};

/// GRUB's boot.img carries its name here.
const GRUB_NAME: std::ops::Range<usize> = 0..440;

fn json(tool: Tool, arguments: &[&str]) -> Result<Value> {
    let output = Call::new(tool, arguments).run()?;
    serde_json::from_str(&output.stdout)
        .context(Kind::Tool, || format!("reading the output of {} {}", tool.name(), arguments.join(" ")))
}

/// The partition table.
pub fn table(device: &str) -> Result<TableFacts> {
    let document = json(Tool::Sfdisk, &["--json", device])?;
    let table = &document["partitiontable"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    let bytes = |value: &Value| value.as_u64().unwrap_or(0).saturating_mul(sector);
    let partitions = table["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(TableFacts {
        label: text(&table["label"]),
        guid: text(&table["id"]),
        partitions: partitions
            .iter()
            .map(|it| TablePartitionFacts {
                device: it["node"].as_str().unwrap_or_default().to_owned(),
                start: bytes(&it["start"]),
                size: bytes(&it["size"]),
                type_guid: text(&it["type"]),
                guid: text(&it["uuid"]),
                name: it["name"].as_str().unwrap_or_default().to_owned(),
            })
            .collect(),
    })
}

/// What mdadm says of an array.
pub fn array(device: &str) -> Result<BTreeMap<String, String>> {
    Ok(Call::new(Tool::Mdadm, ["--detail", "--export", device]).run()?.assignments())
}

/// The physical volumes of a group.
pub fn physical_volumes(group: &str) -> Result<Vec<String>> {
    let select = format!("vg_name={group}");
    let report = json(Tool::Lvm, &["pvs", "--reportformat", "json", "--options", "pv_name", "--select", &select])?;
    Ok(rows(&report, "pv").filter_map(|row| row["pv_name"].as_str().map(str::to_owned)).collect())
}

/// Size of a logical volume in bytes, if there is such a volume.
pub fn volume_size(group: &str, name: &str) -> Result<Option<u64>> {
    let select = format!("vg_name={group} && lv_name={name}");
    let options =
        ["lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", "lv_size", "--select", &select];
    let report = json(Tool::Lvm, &options)?;
    let sizes: Vec<_> = rows(&report, "lv").filter_map(|row| row["lv_size"].as_str()?.parse().ok()).collect();
    Ok(sizes.first().copied())
}

fn rows<'a>(report: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let reports = report["report"].as_array().map(Vec::as_slice).unwrap_or_default();
    reports.iter().flat_map(move |it| it[kind].as_array().map(Vec::as_slice).unwrap_or_default())
}

/// What libblkid finds on a device, read from the device itself.
pub fn file_system(device: &str) -> Result<BTreeMap<String, String>> {
    blkid::probe([device])
}

/// The installed system's fstab.
pub fn fstab(target_mounts: &[TargetMount], scratch: &Path) -> Result<Vec<String>> {
    let root = target_mounts.iter().find(|it| it.path == "/").ok_or_else(|| Error::bug("a plan without a root"))?;
    let mut mounts = Mounts::default();
    mounts.mount(Path::new(&root.device), scratch, &root.kind, Access::ReadOnly)?;
    let text = fs::read_to_string(scratch.join("etc/fstab"))
        .context(Kind::Verify, || "reading /etc/fstab of the installed system");
    Ok(mounts.unmount_after(text)?.lines().map(str::to_owned).collect())
}

/// The first sector of a disk.
pub fn boot_code(device: &str) -> Result<BootFacts> {
    let what = || format!("reading the first sector of {device}");
    let mut sector = [0; 512];
    File::open(device).and_then(|mut disk| disk.read_exact(&mut sector)).context(Kind::Medium, what)?;
    Ok(BootFacts {
        has_signature: sector[510..] == [0x55, 0xaa],
        has_grub: sector[GRUB_NAME].windows(4).any(|window| window == b"GRUB"),
    })
}
