//! LVM volume groups, from lvm2's own report: their metadata is not the kernel's.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::tree::Tree;
use super::{Disk, LogicalVolume, PhysicalVolume, VolumeGroup};
use crate::error::{Context as _, Kind, Result};
use crate::sys::command::{Call, Tool};
use crate::units::Bytes;

/// libblkid's name of a physical volume.
const MEMBER: &str = "LVM2_member";

/// Volume groups, by name; lvm2 is asked only when a disk carries a physical volume or something is built on one.
pub(super) fn volume_groups(tree: &Tree, disks: &[Disk]) -> Vec<VolumeGroup> {
    let is_member = |disk: &Disk| disk.signatures.iter().any(|signature| signature.kind == MEMBER);
    let has_mapped = |disk: &Disk| disk.uses.iter().any(|used| matches!(used, super::Use::Holder { .. }));
    if !disks.iter().any(|disk| is_member(disk) || has_mapped(disk)) {
        return Vec::new();
    }
    if !tree.is_live() {
        tree.warn("lvm", "volume groups are not told of by a saved tree");
        return Vec::new();
    }
    let report = Call::new(Tool::Lvm, arguments()).run().and_then(|output| parse(output.stdout.as_bytes()));
    report.unwrap_or_else(|error| {
        tree.warn("lvm", error.to_string());
        Vec::new()
    })
}

fn arguments() -> Vec<&'static str> {
    let mut arguments = vec!["fullreport", "--reportformat", "json", "--units", "b", "--nosuffix"];
    for (report, columns) in [
        ("vg", "vg_name,vg_uuid"),
        ("pv", "pv_name,pv_uuid"),
        ("lv", "lv_name,lv_size,lv_active"),
        ("pvseg", "pvseg_start"),
        ("seg", "seg_type"),
    ] {
        arguments.extend(["--configreport", report, "-o", columns]);
    }
    arguments
}

#[derive(Deserialize)]
struct FullReport {
    report: Vec<GroupReport>,
}

#[derive(Deserialize)]
struct GroupReport {
    #[serde(default)]
    vg: Vec<Row>,
    #[serde(default)]
    pv: Vec<Row>,
    #[serde(default)]
    lv: Vec<Row>,
}

/// lvm2 reports every value as text.
type Row = BTreeMap<String, String>;

fn parse(json: &[u8]) -> Result<Vec<VolumeGroup>> {
    let full: FullReport = serde_json::from_slice(json).context(Kind::Tool, || "reading lvm's report")?;
    let field = |row: &Row, key: &str| row.get(key).cloned().unwrap_or_default();
    let mut groups = Vec::new();
    for report in full.report {
        // Physical volumes of no group come in a report of their own without a group.
        let Some(group) = report.vg.first().filter(|group| !field(group, "vg_name").is_empty()) else { continue };
        groups.push(VolumeGroup {
            name: field(group, "vg_name"),
            uuid: field(group, "vg_uuid"),
            physical_volumes: report
                .pv
                .iter()
                .map(|row| PhysicalVolume { device: field(row, "pv_name"), uuid: field(row, "pv_uuid") })
                .collect(),
            logical_volumes: report
                .lv
                .iter()
                .map(|row| {
                    let size = field(row, "lv_size");
                    let size =
                        size.parse().context(Kind::Tool, || format!("reading lvm's report: lv_size {size:?}"))?;
                    let is_active = !field(row, "lv_active").is_empty();
                    Ok(LogicalVolume { name: field(row, "lv_name"), size: Bytes::new(size), is_active })
                })
                .collect::<Result<_>>()?,
        });
    }
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_becomes_volume_groups() {
        let json = br#"{"report": [
            {"vg": [{"vg_name":"os", "vg_uuid":"u1"}], "pv": [{"pv_name":"/dev/vda4", "pv_uuid":"p1"}],
             "lv": [{"lv_name":"root", "lv_size":"1073741824", "lv_active":"active"}, {"lv_name":"swap", "lv_size":"4194304", "lv_active":""}],
             "pvseg": [], "seg": []},
            {"vg": [], "pv": [{"pv_name":"/dev/vdb", "pv_uuid":"p2"}]}]}"#;
        let expected = VolumeGroup {
            name: "os".to_owned(),
            uuid: "u1".to_owned(),
            physical_volumes: vec![PhysicalVolume { device: "/dev/vda4".to_owned(), uuid: "p1".to_owned() }],
            logical_volumes: vec![
                LogicalVolume { name: "root".to_owned(), size: Bytes::new(1 << 30), is_active: true },
                LogicalVolume { name: "swap".to_owned(), size: Bytes::new(4 << 20), is_active: false },
            ],
        };
        assert_eq!(parse(json).unwrap(), [expected]);
        assert_eq!(parse(b"<html>").unwrap_err().kind(), Kind::Tool);
    }
}
