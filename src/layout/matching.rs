//! Which disk of the machine a disk of the document is, and why.

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::layout::findings::Findings;
use crate::request::DiskSpec;

/// A disk of the document and the one it is on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Match<'s, 'a> {
    /// What is wanted.
    pub spec: &'s DiskSpec,
    /// Where.
    pub disk: &'a Disk,
    /// Whether nothing but the kernel's name speaks for it.
    pub is_by_name: bool,
}

/// Finds the disk for one entry of the document.
///
/// By the links in `extra`, or by `id` when there are none; else by the kernel name. Several disks with the same link
/// are told apart by the kernel name (NVMe disks of one maker shared a WWN, LP#1436038). Names change from boot to boot:
/// a disk that is recognised by its name alone is a warning. It is another disk when `id` leads elsewhere, or when it has
/// other by-id links than the document's and another size as well.
///
/// # Errors
/// `Hardware` when there is none or several; the message lists every disk and why it did or did not match.
pub fn find<'s, 'a>(spec: &'s DiskSpec, inventory: &'a Inventory, findings: &mut Findings) -> Result<Match<'s, 'a>> {
    let usable: Vec<&Disk> = inventory.disks.iter().filter(|disk| !disk.is_read_only).collect();
    let wanted = Wanted::of(spec);
    let linked: Vec<&Disk> = usable.iter().copied().filter(|disk| wanted.is_link_of(disk)).collect();
    let named: Vec<&Disk> = usable.iter().copied().filter(|disk| disk.name == spec.name).collect();
    let (disk, is_by_name) = match (linked.as_slice(), named.as_slice()) {
        ([disk], _) => (*disk, false),
        ([_, _, ..], [disk]) if linked.iter().any(|candidate| candidate.device == disk.device) => {
            let names: Vec<_> = linked.iter().map(|disk| disk.name.as_str()).collect();
            findings.warn(format!(
                "disk {}: {} each have one of its links ({}); chosen by its kernel name",
                spec.name,
                names.join(" and "),
                wanted.links.join(", ")
            ));
            (*disk, true)
        }
        ([], [disk]) if !wanted.is_contradicted_by(disk, spec, &usable) => {
            findings.warn(format!(
                "disk {}: no disk has the link {}; chosen by its kernel name alone, which may change from boot to boot: {}",
                spec.name,
                wanted.links.join(", "),
                describe(disk)
            ));
            (*disk, true)
        }
        (several, _) => return Err(wanted.refuse(spec, inventory, several.len())),
    };
    if disk.size.floor_mib() != spec.size {
        findings.warn(format!(
            "disk {}: the request says {}, {} has {}",
            spec.name,
            spec.size,
            disk.device,
            disk.size.floor_mib()
        ));
    }
    Ok(Match { spec, disk, is_by_name })
}

/// The links that identify a disk, by upstream's rule: `id` counts only when `extra` is empty.
struct Wanted {
    links: Vec<String>,
    are_by_id: bool,
}

impl Wanted {
    fn of(spec: &DiskSpec) -> Self {
        let links = if spec.extra.is_empty() { std::slice::from_ref(&spec.id) } else { spec.extra.as_slice() };
        Self { links: links.iter().map(|link| format!("/dev/{link}")).collect(), are_by_id: !spec.extra.is_empty() }
    }

    fn is_link_of(&self, disk: &Disk) -> bool {
        let is_wanted = |link: &str| self.links.iter().any(|wanted| wanted == link);
        if self.are_by_id { disk.by_id().any(is_wanted) } else { disk.links.iter().any(|link| is_wanted(link)) }
    }

    /// Whether everything but the name says that it is another disk.
    fn is_contradicted_by(&self, disk: &Disk, spec: &DiskSpec, usable: &[&Disk]) -> bool {
        let place = format!("/dev/{}", spec.id);
        let is_elsewhere = usable.iter().any(|it| it.device != disk.device && it.links.contains(&place));
        let is_other = disk.by_id().next().is_some() && disk.size.floor_mib() != spec.size;
        self.are_by_id && (is_elsewhere || is_other)
    }

    fn refuse(&self, spec: &DiskSpec, inventory: &Inventory, candidates: usize) -> Error {
        let reasons: Vec<_> = inventory.disks.iter().map(|disk| self.reason(disk, spec)).collect();
        let found = if candidates == 0 { "no disk matches" } else { "several disks match" };
        let disks = if reasons.is_empty() { "this machine has no disks".to_owned() } else { reasons.join("; ") };
        Error::new(
            Kind::Hardware,
            format!("{}: {found} {} (name {}, {}): {disks}", spec.path, self.links.join(" or "), spec.name, spec.size),
        )
        .advise("compare `bedplate inventory` with the document's disks; nothing was written")
    }

    /// One disk in the list of an error: who it is, and why it did or did not match.
    fn reason(&self, disk: &Disk, spec: &DiskSpec) -> String {
        let why = match (self.is_link_of(disk), disk.is_read_only, disk.name == spec.name) {
            (true, false, true) => "has the link and the name".to_owned(),
            (true, false, false) => "has the link".to_owned(),
            (true, true, _) => "has the link and is read-only".to_owned(),
            (false, true, true) => "has the name and is read-only".to_owned(),
            (false, false, true) => format!("has the name, without the link and with {}", disk.size.floor_mib()),
            (false, _, false) => "has neither link nor name".to_owned(),
        };
        format!("{} {why} ({}, {})", disk.name, describe(disk), links(disk))
    }
}

/// The links that a document would name.
fn links(disk: &Disk) -> String {
    let links: Vec<_> = disk.by_id().chain(disk.by_path()).collect();
    if links.is_empty() { "no links".to_owned() } else { links.join(" ") }
}

/// Model, serial number and size, for a person to recognise the disk by.
fn describe(disk: &Disk) -> String {
    let model = disk.model.as_deref().unwrap_or("model unknown");
    let serial = disk.serial.as_deref().map_or_else(|| "no serial".to_owned(), |serial| format!("serial {serial}"));
    format!("{model}, {serial}, {}", disk.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Mib;

    fn spec(extra: &[&str], id: &str) -> DiskSpec {
        DiskSpec {
            path: "$.d".to_owned(),
            name: "sda".to_owned(),
            id: id.to_owned(),
            extra: extra.iter().map(|&link| link.to_owned()).collect(),
            size: Mib::new(1024),
            is_bootable: false,
            expect: None,
            erase: None,
            volumes: Vec::new(),
        }
    }

    /// Disks with a name, a link, a size in MiB.
    fn machine(disks: &[(&str, &str, u64)]) -> Inventory {
        let list: Vec<_> = disks
            .iter()
            .map(|(name, link, mib)| {
                serde_json::json!({"device": format!("/dev/{name}"), "size_bytes": mib << 20,
                    "devlinks": [format!("/dev/{link}")], "major": 8, "minor": 0})
            })
            .collect();
        crate::inventory::from_json(serde_json::Value::from(list).to_string().as_bytes()).unwrap()
    }

    fn outcome(spec: &DiskSpec, machine: &Inventory) -> (Result<String, String>, Vec<String>) {
        let mut findings = Findings::default();
        let found = find(spec, machine, &mut findings);
        (found.map(|it| it.disk.name.clone()).map_err(|error| error.to_string()), findings.into_warnings())
    }

    #[test]
    fn link_decides_whatever_the_name() {
        let machine = machine(&[("sda", "disk/by-id/ata-B", 1024), ("sdb", "disk/by-id/ata-A", 1024)]);
        assert_eq!(outcome(&spec(&["disk/by-id/ata-A"], "x"), &machine), (Ok("sdb".to_owned()), vec![]));
    }

    #[test]
    fn id_counts_without_extra_alone() {
        let machine = machine(&[("sdb", "disk/by-path/pci-1", 1024)]);
        assert_eq!(outcome(&spec(&[], "disk/by-path/pci-1"), &machine).0, Ok("sdb".to_owned()));
        let told = outcome(&spec(&["disk/by-id/ata-A"], "disk/by-path/pci-1"), &machine).0.unwrap_err();
        assert_eq!(
            told,
            "$.d: no disk matches /dev/disk/by-id/ata-A (name sda, 1024 MiB): \
             sdb has neither link nor name (model unknown, no serial, 1 GiB, /dev/disk/by-path/pci-1)"
        );
    }

    #[test]
    fn name_alone_is_a_warning_and_against_links_and_size_no_match() {
        let wanted = spec(&["disk/by-id/ata-A"], "x");
        let (found, warnings) = outcome(&wanted, &machine(&[("sda", "disk/by-id/ata-B", 1024)]));
        assert_eq!(found, Ok("sda".to_owned()));
        assert_eq!(
            warnings,
            ["disk sda: no disk has the link /dev/disk/by-id/ata-A; chosen by its kernel name alone, \
              which may change from boot to boot: model unknown, no serial, 1 GiB"]
        );
        let (found, warnings) = outcome(&spec(&[], "disk/by-path/x"), &machine(&[("sda", "disk/by-id/ata-B", 2048)]));
        assert_eq!((found, warnings.len()), (Ok("sda".to_owned()), 2));
        let neighbours = machine(&[("sda", "disk/by-id/ata-B", 1024), ("sdb", "disk/by-path/pci-1", 1024)]);
        let by_place = spec(&["disk/by-id/ata-A"], "disk/by-path/pci-1");
        assert!(outcome(&by_place, &neighbours).0.unwrap_err().starts_with("$.d: no disk matches"));
        let (found, _) = outcome(&wanted, &machine(&[("sda", "disk/by-id/ata-B", 2048)]));
        assert_eq!(
            found.unwrap_err(),
            "$.d: no disk matches /dev/disk/by-id/ata-A (name sda, 1024 MiB): sda has the name, without the link and \
             with 2048 MiB (model unknown, no serial, 2 GiB, /dev/disk/by-id/ata-B)"
        );
    }

    #[test]
    fn disks_with_one_link_and_no_name_to_tell_them_apart_are_all_listed() {
        let machine = machine(&[("sdb", "disk/by-id/ata-A", 1024), ("sdc", "disk/by-id/ata-A", 1024)]);
        assert_eq!(
            outcome(&spec(&["disk/by-id/ata-A"], "x"), &machine).0.unwrap_err(),
            "$.d: several disks match /dev/disk/by-id/ata-A (name sda, 1024 MiB): \
             sdb has the link (model unknown, no serial, 1 GiB, /dev/disk/by-id/ata-A); \
             sdc has the link (model unknown, no serial, 1 GiB, /dev/disk/by-id/ata-A)"
        );
    }

    #[test]
    fn another_size_than_the_documents_is_told() {
        let (found, warnings) = outcome(&spec(&["disk/by-id/ata-A"], "x"), &machine(&[("sdb", "disk/by-id/ata-A", 9)]));
        assert_eq!(found, Ok("sdb".to_owned()));
        assert_eq!(warnings, ["disk sda: the request says 1024 MiB, /dev/sdb has 9 MiB"]);
    }
}
