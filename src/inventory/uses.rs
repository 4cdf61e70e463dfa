//! What uses a disk now: mounted file systems, swap, and devices built on it.

use super::Use;
use super::block::{Device, Devices};
use super::tree::{TABLE_LIMIT, Tree};
use crate::sys::mount::unescape;

/// Everything mounted or swapped on, with the kernel name of its device.
pub(super) struct Usage {
    mounts: Vec<(String, String)>,
    swaps: Vec<String>,
}

impl Usage {
    /// Reads `/proc/self/mountinfo` and `/proc/swaps`.
    pub(super) fn read(tree: &Tree, devices: &Devices) -> Self {
        let mountinfo = tree.text("/proc/self/mountinfo", TABLE_LIMIT);
        if mountinfo.is_none() {
            tree.warn("/proc/self/mountinfo", "it could not be read: what is mounted is unknown");
        }
        let find = |mount: Mount| {
            // btrfs shows an anonymous device number; there the source tells.
            let device = devices.numbered(mount.major, mount.minor).or_else(|| devices.at(&mount.source))?;
            Some((device.kernel_name.clone(), mount.path))
        };
        let mounts = mountinfo.unwrap_or_default().lines().filter_map(parse_mount).filter_map(find).collect();
        let swaps = tree.text("/proc/swaps", TABLE_LIMIT).unwrap_or_default();
        let swapped = |line: &str| {
            let path = unescape(line.split_whitespace().next()?);
            Some(devices.at(&path)?.kernel_name.clone())
        };
        Self { mounts, swaps: swaps.lines().skip(1).filter_map(swapped).collect() }
    }

    /// What uses a disk, its partitions, and what is built on them.
    pub(super) fn of(&self, devices: &Devices, disk: &Device, partitions: &[&Device]) -> Vec<Use> {
        let mut uses = Vec::new();
        for bottom in partitions.iter().copied().chain(std::iter::once(disk)) {
            self.add(&mut uses, bottom);
            for holder in devices.holders_of(bottom) {
                let by = &holder.kernel_name;
                let is_known = uses.iter().any(|known| matches!(known, Use::Holder { by: known, .. } if known == by));
                // The partitions of a multipath map are devices on top of it, and what is on them was told with them.
                let is_whole = std::ptr::eq(bottom, disk);
                if partitions.iter().any(|part| part.kernel_name == *by) || (is_whole && is_known) {
                    continue;
                }
                let uuid = holder.dm.as_ref().map(|(_, uuid)| uuid.clone()).filter(|uuid| !uuid.is_empty());
                uses.push(Use::Holder { device: bottom.node(), by: by.clone(), name: holder.label(), uuid });
                if !is_known {
                    self.add(&mut uses, holder);
                    let parts = devices.partitions_of(holder).into_iter().filter(|part| part.partition.is_some());
                    parts.for_each(|part| self.add(&mut uses, part));
                }
            }
        }
        uses
    }

    /// What is mounted or swapped on this very device.
    fn add(&self, uses: &mut Vec<Use>, device: &Device) {
        let mounted = self.mounts.iter().filter(|(name, _)| *name == device.kernel_name);
        uses.extend(mounted.map(|(_, path)| Use::Mount { device: device.node(), path: path.clone() }));
        if self.swaps.contains(&device.kernel_name) {
            uses.push(Use::Swap { device: device.node() });
        }
    }
}

struct Mount {
    major: u32,
    minor: u32,
    path: String,
    source: String,
}

/// Reads a line of mountinfo, proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
fn parse_mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let mut fields = head.split(' ');
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    Some(Mount {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        path: unescape(fields.nth(1)?),
        source: unescape(tail.split(' ').nth(1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read_with_their_escapes() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two rw,noatime master:1 - ext3 /dev/mapper/os-root rw,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.major, mount.minor), (98, 0));
        assert_eq!((mount.path.as_str(), mount.source.as_str()), ("/mnt two", "/dev/mapper/os-root"));
        assert!(parse_mount("36 35 98:0 /mnt1").is_none());
        assert_eq!(unescape(r"a\13"), r"a\13");
    }
}
