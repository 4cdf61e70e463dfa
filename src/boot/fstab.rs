//! /etc/fstab of the installed system.

use crate::request::Mount;

/// A file system and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabEntry {
    /// UUID as blkid tells it.
    pub uuid: String,
    /// Where it is mounted; one that is mounted nowhere gets no line.
    pub mount: Mount,
    /// Type: `ext4`, `xfs`, `vfat`, `swap`.
    pub format: String,
}

/// The text of /etc/fstab, one line an entry, in the order given.
///
/// Options are upstream's: `defaults`, for an ext root `defaults,errors=panic` (a root that is only remounted read-only goes
/// unnoticed for weeks). An EFI system partition is for root alone. No file system is checked at boot, as upstream.
#[must_use]
pub fn fstab(entries: &[FstabEntry]) -> String {
    entries.iter().filter_map(line).collect()
}

fn line(entry: &FstabEntry) -> Option<String> {
    let mount = match &entry.mount {
        Mount::None => return None,
        Mount::Swap => "swap".to_owned(),
        Mount::Path(path) => escaped(path),
    };
    let options = match (mount.as_str(), entry.format.as_str()) {
        // xfs and btrfs refuse to be mounted with an option that they do not know.
        ("/", "ext2" | "ext3" | "ext4") => "defaults,errors=panic",
        (_, "vfat") => "umask=0077",
        _ => "defaults",
    };
    Some(format!("UUID={} {mount} {} {options} 0 0\n", entry.uuid, entry.format))
}

/// A path as fstab(5) wants it: white space and backslashes as octal numbers.
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for c in path.chars() {
        match c {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\n' => text.push_str("\\012"),
            '\\' => text.push_str("\\134"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uuid: &str, mount: &str, format: &str) -> FstabEntry {
        let mount = match mount {
            "" => Mount::None,
            "swap" => Mount::Swap,
            path => Mount::Path(path.to_owned()),
        };
        FstabEntry { uuid: uuid.into(), mount, format: format.into() }
    }

    #[test]
    fn lines_are_upstreams_with_real_uuids() {
        let entries = [
            entry("b1", "/boot", "ext2"),
            entry("r1", "/", "ext4"),
            entry("s1", "swap", "swap"),
            entry("", "", "xfs"),
            entry("9A-01", "/boot/efi", "vfat"),
            entry("d1", "/srv/my data", "xfs"),
        ];
        assert_eq!(
            fstab(&entries),
            "UUID=b1 /boot ext2 defaults 0 0\n\
             UUID=r1 / ext4 defaults,errors=panic 0 0\n\
             UUID=s1 swap swap defaults 0 0\n\
             UUID=9A-01 /boot/efi vfat umask=0077 0 0\n\
             UUID=d1 /srv/my\\040data xfs defaults 0 0\n"
        );
    }

    #[test]
    fn xfs_root_gets_no_option_that_it_would_refuse() {
        assert_eq!(fstab(&[entry("r1", "/", "xfs")]), "UUID=r1 / xfs defaults 0 0\n");
    }
}
