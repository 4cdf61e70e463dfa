//! Disks for tests.

use super::{Disk, from_json};
use crate::units::Bytes;

/// A disk of which nothing is known but its node and size.
pub(crate) fn disk(device: &str, size: Bytes) -> Disk {
    let list = serde_json::json!([
        {"device": device, "size_bytes": size.get(), "devlinks": [], "major": 8, "minor": 0}
    ]);
    let name = device.strip_prefix("/dev/").unwrap_or(device).to_owned();
    let list = list.to_string().replace(device, "/dev/x");
    let mut disk = from_json(list.as_bytes()).unwrap().disks.remove(0);
    (disk.device, disk.name) = (device.to_owned(), name);
    disk
}
