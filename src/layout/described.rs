//! The machine that a request describes, for those who have no other.

use super::resolve;
use crate::error::Result;
use crate::inventory::{Disk, Inventory};
use crate::request::{DiskSpec, Request};
use crate::units::Bytes;

/// Lays the request out on the disks that it describes itself; returns the warnings.
///
/// Finds what is wrong with a request on any machine: volumes that do not fit their disk, groups that LVM could not make.
///
/// # Errors
/// Those of [`resolve`], but for what depends on the machine alone.
pub fn check_described(request: &Request) -> Result<Vec<String>> {
    let mut request = request.clone();
    for spec in &mut request.disks {
        spec.expect = None;
        // Disks that share a link are told apart by their names, of which a run warns; here there is nothing to mistake.
        (spec.id, spec.extra) = (spec.name.clone(), Vec::new());
    }
    let machine = Inventory { disks: request.disks.iter().map(disk).collect(), ..Inventory::default() };
    resolve(&request, &machine, None).map(|resolved| resolved.warnings)
}

fn disk(spec: &DiskSpec) -> Disk {
    // What exceeds 2^64 was refused when the request was read.
    let size = spec.size.bytes().unwrap_or(Bytes::new(u64::MAX));
    Disk { links: vec![format!("/dev/{}", spec.id)], ..Disk::unknown(&spec.name, size) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request;

    fn check(change: impl Fn(&mut serde_json::Value)) -> Result<Vec<String>, String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/provision/01-single-disk-lvm.json");
        let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut document["ks_meta"]["pm_data"]["ks_spaces"]);
        let request = request::parse(document.to_string().as_bytes()).unwrap().request;
        check_described(&request).map_err(|error| error.to_string())
    }

    #[test]
    fn request_that_fits_its_own_disks_has_no_fault() {
        assert_eq!(check(|_| ()), Ok(Vec::new()));
        assert_eq!(check(|spaces| spaces[0]["expect"] = serde_json::json!({"serial": "S1"})), Ok(Vec::new()));
    }

    #[test]
    fn disks_that_share_a_link_are_no_warning_where_there_is_no_machine() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/provision/05-nvme-plus-sata.json");
        let request = request::parse(&std::fs::read(path).unwrap()).unwrap().request;
        let [first, second, ..] = request.disks.as_slice() else { panic!("it has several disks") };
        assert_eq!(first.extra, second.extra);
        assert_eq!(check_described(&request).unwrap(), [""; 0]);
    }

    #[test]
    fn volumes_that_do_not_fit_are_told_without_a_machine() {
        assert_eq!(
            check(|spaces| spaces[0]["size"] = 50_000.into()).unwrap_err(),
            "$.ks_meta.pm_data.ks_spaces[0].volumes[3]: disk /dev/sda is too small: partition 4 (pv of vg os, 59456 MiB) \
             would end at 62792925184 bytes, usable are 52428783104 bytes"
        );
        assert_eq!(
            check(|spaces| spaces[1]["volumes"][0]["size"] = 60_000.into()).unwrap_err(),
            "$.ks_meta.pm_data.ks_spaces[1]: volume group os is too small: its volumes (root 60000 MiB, swap 8192 MiB) \
             need 17048 extents of 4 MiB, its physical volumes have 14849"
        );
    }
}
