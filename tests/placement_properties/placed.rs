//! Which partition each volume of a document must have become, by the rules of the format alone.

use bedplate::layout::{LaidPartition, Layout};
use serde_json::Value;

use super::support::generate::{is_touched, is_wanted, spaces};

/// The largest Ceph journal in MiB.
const MAX_JOURNAL: u64 = 10_240;

/// A volume and one partition that was made for it.
pub struct Placed<'a> {
    pub volume: &'a Value,
    pub partition: &'a LaidPartition,
    /// Size that the partition must have in MiB.
    pub size: u64,
}

/// The disks of a document.
pub fn disks(document: &Value) -> Vec<&Value> {
    spaces(document).as_array().unwrap().iter().filter(|it| it["type"] == "disk").collect()
}

/// The volumes of a disk.
pub fn volumes(disk: &Value) -> impl Iterator<Item = &Value> {
    disk["volumes"].as_array().unwrap().iter()
}

/// Pairs volumes with partitions: those of a disk are in the order of its volumes, behind the two for boot code and
/// before the one for the config drive.
pub fn placed<'a>(document: &'a Value, layout: &'a Layout) -> Vec<Placed<'a>> {
    let mut journals = Journals::of(document);
    let touched: Vec<_> = disks(document).into_iter().filter(|disk| is_touched(disk)).collect();
    assert_eq!(touched.len(), layout.disks.len(), "each disk with something to hold is laid out, and no other");
    let mut pairs = Vec::new();
    for (wanted, disk) in touched.into_iter().zip(&layout.disks) {
        assert_eq!(wanted["name"], disk.ks_name.as_str(), "disks are in the order of the document");
        let mut left = disk.partitions.iter().skip(2).peekable();
        for volume in volumes(wanted).filter(|it| is_wanted(it)) {
            let whole = volume["size"].as_u64().unwrap();
            let is_boot = volume["mount"] == "/boot";
            let sizes = match volume["type"].as_str().unwrap() {
                "boot" | "lvm_meta_pool" => vec![],
                _ if volume["name"] == "cephjournal" => journals.split(volume),
                _ if is_boot && !left.peek().is_some_and(|it| it.role.ends_with(" on /boot")) => vec![],
                _ => vec![whole],
            };
            for size in sizes {
                let partition = left.next().unwrap_or_else(|| panic!("{volume} has no partition on {}", disk.device));
                pairs.push(Placed { volume, partition, size });
            }
        }
        let rest: Vec<_> = left.map(|it| it.role.as_str()).collect();
        assert!(rest.is_empty() || rest == ["configdrive"], "{} has partitions for nothing: {rest:?}", disk.device);
    }
    pairs
}

/// How journals are shared out: as many a volume as there are OSDs for each journal device, rounded up.
struct Journals {
    a_device: u64,
    left: u64,
}

impl Journals {
    fn of(document: &Value) -> Self {
        let named = |name: &str| {
            let volumes =
                disks(document).into_iter().flat_map(volumes).filter(|it| it["name"] == name && is_wanted(it));
            u64::try_from(volumes.count()).unwrap()
        };
        let (osds, devices) = (named("ceph"), named("cephjournal"));
        Self { a_device: if devices == 0 { 0 } else { osds.div_ceil(devices) }, left: osds }
    }

    /// Sizes of the partitions that a journal volume becomes. One that is no partition still uses up its share.
    fn split(&mut self, volume: &Value) -> Vec<u64> {
        let count = self.a_device.min(self.left);
        self.left -= count;
        if count == 0 || volume["type"] != "partition" {
            return vec![];
        }
        let size = (volume["size"].as_u64().unwrap() / self.a_device).min(MAX_JOURNAL);
        vec![size; usize::try_from(count).unwrap()]
    }
}
