//! Which file systems can be made or brought by an image, and what each of them can hold.

use super::findings::shown;
use crate::units::Mib;

/// File systems that this program makes.
pub const MADE: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap"];
/// File systems that an image may bring: those whose UUID can be changed.
pub const ADOPTED: [&str; 5] = ["ext2", "ext3", "ext4", "xfs", "btrfs"];
/// The format of an image that is no file system, but an archive of files for one that is made (extension).
pub const ARCHIVE: &str = "tar";
/// What a file system is when the document does not say.
pub const DEFAULT: &str = "xfs";
/// What `/boot` is when a `raid` volume does not say.
pub const DEFAULT_BOOT: &str = "ext2";

/// Upstream cuts every label, whatever the file system would hold.
const LABEL_LENGTH: usize = 12;
/// What FAT has no place for in a label (mkfs.fat 4.2, `validate_volume_label`).
const FAT_REFUSED: &str = "*?.,;:/\\|+=<>[]\"";
/// What a label for `xfs_admin` may have beside letters and digits: it is a script that lets a shell evaluate the label
/// (xfsprogs 6.1).
const XFS_ADMIN_ALLOWED: &str = "._-+:@%=,/";
/// Bytes in front of an array's data: mdadm's record and its bitmap of changes (mdadm 4.2, `validate_geometry1`: 1 MiB
/// for members below 1 GiB; metadata 0.90 takes less).
const ARRAY_RECORD: Mib = Mib::new(1);

/// The label as it is written: cut as upstream does, and without the blanks at its end, which nobody reads back.
#[must_use]
pub fn written_label(asked: &str) -> String {
    let cut: String = asked.chars().take(LABEL_LENGTH).collect();
    cut.trim_end().to_owned()
}

/// Why a file system of this kind cannot have this label, if so. Without a word of kinds that are not known.
#[must_use]
pub fn label_fault(kind: &str, asked: &str, is_from_image: bool) -> Option<String> {
    let label = written_label(asked);
    let found = format!("found {} ({} bytes)", shown(&label), label.len());
    if let Some(room) = label_room(kind).filter(|&room| label.len() > room) {
        return Some(format!("expected a label of at most {room} bytes, which is what {kind} holds, {found}"));
    }
    let is_fat = |letter: char| letter.is_ascii() && !FAT_REFUSED.contains(letter);
    if kind == "vfat" && (label.starts_with(' ') || !label.chars().all(is_fat)) {
        let what = format!("ASCII without {FAT_REFUSED} and not with a blank in front");
        return Some(format!("expected a label that vfat takes ({what}), {found}"));
    }
    let is_harmless = |letter: char| letter.is_ascii_alphanumeric() || XFS_ADMIN_ALLOWED.contains(letter);
    // `--` takes a label away.
    if kind == "xfs" && is_from_image && (label == "--" || !label.chars().all(is_harmless)) {
        let what = format!("letters, digits and {XFS_ADMIN_ALLOWED}");
        return Some(format!("expected a label that xfs_admin can give to an image ({what}), {found}"));
    }
    None
}

/// Bytes that a label may have.
fn label_room(kind: &str) -> Option<usize> {
    match kind {
        // `s_volume_name`; mke2fs cuts what is longer, with a warning alone.
        "ext2" | "ext3" | "ext4" => Some(16),
        // `sb_fname`; mkfs.xfs refuses what is longer.
        "xfs" => Some(12),
        // `BTRFS_LABEL_SIZE` with its end.
        "btrfs" => Some(255),
        // `BS_VolLab`; mkfs.fat refuses what is longer.
        "vfat" => Some(11),
        // `volume_name` is 16 bytes with its end; mkswap cuts what is longer without a word.
        "swap" => Some(15),
        _ => None,
    }
}

/// Why no file system of this kind can be made in so much room, if so. An array keeps some of its members' room.
#[must_use]
pub fn fault_of_made(kind: &str, size: Mib, is_array: bool) -> Option<String> {
    if !MADE.contains(&kind) {
        return Some(format!("file system {kind} is not one that can be made: expected one of {}", MADE.join(", ")));
    }
    let record = if is_array { ARRAY_RECORD } else { Mib::default() };
    let least = smallest(kind).checked_add(record)?;
    (size < least).then(|| format!("{kind} cannot be made in {size}: expected at least {least}"))
}

/// The least room for it. Measured with e2fsprogs 1.47.0, xfsprogs 6.1.0, btrfs-progs 6.2, dosfstools 4.2 and util-linux
/// 2.38.1 on disks with sectors of 512 and of 4096 bytes; one MiB less fails with either.
#[must_use]
pub fn smallest(kind: &str) -> Mib {
    match kind {
        // "Filesystem must be larger than 300MB", which is meant to be: at least.
        "xfs" => Mib::new(300),
        // "minimum size for each btrfs device is 114294784"
        "btrfs" => Mib::new(109),
        // mke2fs leaves the journal out of what has less than 2048 blocks, and ext3 without one is ext2. Blocks are
        // as large as sectors at least.
        "ext3" => Mib::new(8),
        // ext2, ext4 (which may lack a journal), vfat and swap are made in the smallest volume that there is.
        _ => Mib::new(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &str, label: &str, is_from_image: bool) -> String {
        label_fault(kind, label, is_from_image).unwrap_or_default()
    }

    #[test]
    fn labels_are_measured_as_they_are_written() {
        assert_eq!(written_label("my data disk 1"), "my data disk");
        assert_eq!(written_label("elevenchars and more"), "elevenchars");
        assert_eq!(fault("vfat", "elevenchars and more", false), "");
        assert_eq!(
            fault("vfat", "TWELVE-CHARS", false),
            "expected a label of at most 11 bytes, which is what vfat holds, found \"TWELVE-CHARS\" (12 bytes)"
        );
    }

    #[test]
    fn label_ends_where_its_file_system_has_no_more_room() {
        for (kind, room) in [("ext2", 16), ("ext3", 16), ("ext4", 16), ("xfs", 12), ("swap", 15), ("btrfs", 255)] {
            // Letters of one, two, three and four bytes.
            for label in ["x", "ä", "日", "😀"].iter().flat_map(|it| (1..=LABEL_LENGTH).map(|count| it.repeat(count)))
            {
                assert_eq!(fault(kind, &label, false).is_empty(), label.len() <= room, "{kind} {label}");
            }
        }
        assert_eq!(fault("reiserfs", "ääääääääääää", false), "", "it is kept as it is");
    }

    #[test]
    fn label_holds_what_its_tool_takes() {
        assert_eq!(
            fault("vfat", "a/b", false),
            "expected a label that vfat takes (ASCII without *?.,;:/\\|+=<>[]\" and not with a blank in front), \
             found \"a/b\" (3 bytes)"
        );
        assert_eq!(
            fault("xfs", "';reboot;'", true),
            "expected a label that xfs_admin can give to an image (letters, digits and ._-+:@%=,/), \
             found \"';reboot;'\" (10 bytes)"
        );
        assert_eq!(fault("xfs", "';reboot;'", false), "", "mkfs.xfs is no script");
        assert_eq!(fault("xfs", "/var/lib-1.2", true), "");
        assert_ne!(fault("xfs", "--", true), "");
    }

    #[test]
    fn room_for_a_file_system_is_that_of_its_array_without_the_record() {
        assert_eq!(fault_of_made("xfs", Mib::new(300), false), None);
        assert_eq!(
            fault_of_made("xfs", Mib::new(300), true).as_deref(),
            Some("xfs cannot be made in 300 MiB: expected at least 301 MiB")
        );
        assert_eq!(
            fault_of_made("reiserfs", Mib::new(300), false).as_deref(),
            Some(
                "file system reiserfs is not one that can be made: expected one of ext2, ext3, ext4, xfs, btrfs, vfat, swap"
            )
        );
    }
}
