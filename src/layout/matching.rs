//! Which disk of the machine a disk of the document is.

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::request::DiskSpec;

/// A disk of the document and the one it is on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Match<'s, 'a> {
    /// What is wanted.
    pub spec: &'s DiskSpec,
    /// Where.
    pub disk: &'a Disk,
}

/// Finds the disk for one entry of the document.
///
/// By the links in `extra`, or by `id` when there are none; else by the kernel name. Several disks with the same link
/// are told apart by the kernel name (NVMe disks of one maker shared a WWN, LP#1436038).
///
/// # Errors
/// `Hardware` when there is none or several; the message lists every disk and why it did not match.
pub fn find<'s, 'a>(spec: &'s DiskSpec, inventory: &'a Inventory, warnings: &mut Vec<String>) -> Result<Match<'s, 'a>> {
    let usable: Vec<&Disk> = inventory.disks.iter().filter(|disk| !disk.is_read_only).collect();
    let wanted = wanted_links(spec);
    let linked: Vec<&Disk> = usable.iter().copied().filter(|disk| has_link(disk, spec, &wanted)).collect();
    let named: Vec<&Disk> = usable.iter().copied().filter(|disk| disk.name == spec.name).collect();
    let disk = match (linked.as_slice(), named.as_slice()) {
        ([disk], _) => disk,
        ([_, _, ..], [disk]) if linked.iter().any(|candidate| candidate.device == disk.device) => {
            let names: Vec<_> = linked.iter().map(|disk| disk.name.as_str()).collect();
            warnings.push(format!(
                "disk {}: {} have the same link ({}); chosen by its kernel name",
                spec.name,
                names.join(" and "),
                wanted.join(", ")
            ));
            disk
        }
        ([], [disk]) => {
            warnings.push(format!(
                "disk {}: no disk has the link {}; chosen by its kernel name alone, which may change from boot to boot: {}",
                spec.name,
                wanted.join(", "),
                describe(disk)
            ));
            disk
        }
        (several, _) => return Err(refuse(spec, inventory, &wanted, several.len())),
    };
    Ok(Match { spec, disk })
}

/// The links that identify the disk, by upstream's rule: `id` counts only when `extra` is empty.
fn wanted_links(spec: &DiskSpec) -> Vec<String> {
    let links = if spec.extra.is_empty() { std::slice::from_ref(&spec.id) } else { spec.extra.as_slice() };
    links.iter().map(|link| format!("/dev/{link}")).collect()
}

fn has_link(disk: &Disk, spec: &DiskSpec, wanted: &[String]) -> bool {
    if spec.extra.is_empty() {
        disk.links.iter().any(|link| wanted.contains(link))
    } else {
        disk.by_id().any(|link| wanted.iter().any(|wanted| wanted == link))
    }
}

fn refuse(spec: &DiskSpec, inventory: &Inventory, wanted: &[String], candidates: usize) -> Error {
    let reasons: Vec<_> = inventory.disks.iter().map(|disk| reason(disk, spec, wanted)).collect();
    let found = if candidates == 0 { "no disk matches" } else { "several disks match" };
    let disks = if reasons.is_empty() { "this machine has no disks".to_owned() } else { reasons.join("; ") };
    Error::new(Kind::Hardware, format!("{}: {found} {} (name {}): {disks}", spec.path, wanted.join(" or "), spec.name))
        .advise("compare `bedplate inventory` with the document's disks; nothing was written")
}

/// One disk in the list of an error: who it is, and why it did or did not match.
fn reason(disk: &Disk, spec: &DiskSpec, wanted: &[String]) -> String {
    let why = if has_link(disk, spec, wanted) {
        "matches"
    } else if disk.is_read_only {
        "is read-only"
    } else {
        "does not match"
    };
    let links: Vec<_> = disk.links.iter().map(String::as_str).collect();
    let links = if links.is_empty() { "no links".to_owned() } else { links.join(" ") };
    format!("{} {why}: {}, {links}", disk.name, describe(disk))
}

/// Model, serial number and size, for a person to recognise the disk by.
fn describe(disk: &Disk) -> String {
    let model = disk.model.as_deref().unwrap_or("model unknown");
    let serial = disk.serial.as_deref().map_or_else(|| "no serial".to_owned(), |serial| format!("serial {serial}"));
    format!("{model}, {serial}, {}", disk.size)
}
