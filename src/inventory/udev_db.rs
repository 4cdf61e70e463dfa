//! udev's database below `/run/udev/data`: what its rules found out about a device.

use std::collections::BTreeMap;

use super::tree::Tree;

/// A record of a busy disk has some dozens of links and properties.
const RECORD_LIMIT: u64 = 256 << 10;

/// What udev knows of a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Links to the device node, whole paths, sorted.
    pub(super) links: Vec<String>,
    properties: BTreeMap<String, String>,
}

impl Record {
    /// The record of a block device; absent when udev has none.
    pub(super) fn of_block(tree: &Tree, (major, minor): (u32, u32)) -> Option<Self> {
        Some(parse(&tree.text(&format!("/run/udev/data/b{major}:{minor}"), RECORD_LIMIT)?))
    }

    /// A property that is set and not empty.
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads a record: `S:` lines are links, `E:` lines properties; the rest is udev's own business.
fn parse(text: &str) -> Record {
    let mut record = Record::default();
    for line in text.lines() {
        if let Some(link) = line.strip_prefix("S:") {
            // A number that counts disks since boot says nothing of the disk, and makes two inventories of one machine differ.
            if link.starts_with("disk/by-diskseq/") {
                continue;
            }
            record.links.push(format!("/dev/{link}"));
        } else if let Some((key, value)) = line.strip_prefix("E:").and_then(|property| property.split_once('=')) {
            record.properties.insert(key.to_owned(), value.to_owned());
        }
    }
    record.links.sort_unstable();
    record.links.dedup();
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_properties_are_read_and_the_rest_is_passed_over() {
        let record = parse(
            "S:disk/by-path/pci-1\nS:disk/by-id/virtio-a\nI:4711\nE:ID_SERIAL=a=b\nE:ID_MODEL=\nG:systemd\nV:1\n",
        );
        assert_eq!(record.links, ["/dev/disk/by-id/virtio-a", "/dev/disk/by-path/pci-1"]);
        assert_eq!(record.property("ID_SERIAL"), Some("a=b"));
        assert_eq!(record.property("ID_MODEL"), None);
    }
}
