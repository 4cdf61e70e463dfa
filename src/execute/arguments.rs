//! What mdadm, lvm2, and the tools that adopt file systems are told. Pure.

use crate::layout::LVM_EXTENT;
use crate::units::Mib;

/// LVM would move the data behind the optimal I/O size of a RAID, and the extents that the plan counted on would be
/// missing; partitions of whole MiB with a MiB between them are not aligned to it anyway.
const EXACT_ALIGNMENT: &str =
    "devices{data_alignment_detection=0 data_alignment_offset_detection=0 md_chunk_alignment=0}";

/// `words`, then `names`.
fn line(words: &[&str], names: &[String]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).chain(names.iter().cloned()).collect()
}

/// For mdadm: assembles an array under this name, also where a member is missing.
#[must_use]
pub fn assemble_array(device: &str, members: &[String]) -> Vec<String> {
    line(&["--assemble", "--run", device], members)
}

/// For mdadm: gives an array a member.
#[must_use]
pub fn add_member(device: &str, member: &str) -> Vec<String> {
    line(&["--manage", device, "--add", member], &[])
}

/// For mdadm: makes an array.
#[must_use]
pub fn create_array(device: &str, level: &str, metadata: &str, uuid: &str, members: &[String]) -> Vec<String> {
    let count = format!("--raid-devices={}", members.len());
    let (level, metadata, uuid) =
        (format!("--level={level}"), format!("--metadata={metadata}"), format!("--uuid={uuid}"));
    // --run: nobody answers questions here; --force: an array of one member is what a one-disk node asks for.
    line(&["--create", device, "--run", "--force", &metadata, &level, &uuid, &count], members)
}

/// For lvm: makes a physical volume with so many copies of its metadata.
#[must_use]
pub fn create_physical_volume(device: &str, metadata_size: Mib, copies: u32) -> Vec<String> {
    let (size, copies) = (format!("{}m", metadata_size.get()), copies.to_string());
    let metadata = ["--metadatacopies", &copies, "--metadatasize", &size];
    let words: Vec<_> = ["pvcreate", "--yes"].into_iter().chain(metadata).collect();
    line(&[words.as_slice(), &["--config", EXACT_ALIGNMENT, device]].concat(), &[])
}

/// For lvm: makes a volume group.
#[must_use]
pub fn create_group(name: &str, physical_volumes: &[String]) -> Vec<String> {
    let extent = format!("{}m", LVM_EXTENT.get());
    line(&["vgcreate", "--yes", "--physicalextentsize", &extent, name], physical_volumes)
}

/// For lvm: makes a logical volume.
#[must_use]
pub fn create_volume(group: &str, name: &str, size: Mib) -> Vec<String> {
    let size = format!("{}m", size.get());
    // Signatures of what lay there before are wiped without a question (LP#1412464).
    let wiping = ["--yes", "--wipesignatures", "y", "--zero", "y"];
    line(&[&["lvcreate"], &wiping[..], &["--size", &size, "--name", name, group]].concat(), &[])
}

/// For e2fsck: checks all of it, and corrects what it finds without a question.
#[must_use]
pub fn correct_ext(device: &str) -> Vec<String> {
    line(&["-f", "-y", device], &[])
}

/// For e2fsck: checks all of it, and corrects what is safe to correct.
#[must_use]
pub fn check_ext(device: &str) -> Vec<String> {
    line(&["-f", "-p", device], &[])
}

/// For tune2fs: another UUID, and a label if there is to be one.
#[must_use]
pub fn identify_ext(device: &str, label: Option<&str>, uuid: &str) -> Vec<String> {
    line(&[&["-U", uuid], label_words(label).as_slice(), &[device]].concat(), &[])
}

/// For resize2fs: as large as its device.
#[must_use]
pub fn grow_ext(device: &str) -> Vec<String> {
    line(&[device], &[])
}

/// For xfs_admin: another UUID, and a label if there is to be one.
#[must_use]
pub fn identify_xfs(device: &str, label: Option<&str>, uuid: &str) -> Vec<String> {
    line(&[&["-U", uuid], label_words(label).as_slice(), &[device]].concat(), &[])
}

/// For btrfstune: another UUID, without a question.
///
/// It is written everywhere, which takes longer than a second UUID beside the first (`-M`); but that is an incompatible
/// change, which the boot loaders of older distributions do not read.
#[must_use]
pub fn identify_btrfs(device: &str, uuid: &str) -> Vec<String> {
    line(&["-f", "-U", uuid, device], &[])
}

/// For btrfs: a label, of what is not mounted.
#[must_use]
pub fn label_btrfs(device: &str, label: &str) -> Vec<String> {
    line(&["filesystem", "label", "--", device, label], &[])
}

/// For btrfs: as large as its device, where it is mounted.
#[must_use]
pub fn grow_btrfs(folder: &str) -> Vec<String> {
    line(&["filesystem", "resize", "max", folder], &[])
}

fn label_words(label: Option<&str>) -> Vec<&str> {
    label.map_or_else(Vec::new, |label| vec!["-L", label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_identified_without_a_question_and_grown_to_their_device() {
        let uuid = "11111111-2222-4333-8444-555555555555";
        let words = |line: Vec<String>| line.join(" ").replace(uuid, "UUID");
        assert_eq!(words(correct_ext("/dev/sda4")), "-f -y /dev/sda4");
        assert_eq!(words(check_ext("/dev/sda4")), "-f -p /dev/sda4");
        assert_eq!(words(identify_ext("/dev/sda4", None, uuid)), "-U UUID /dev/sda4");
        assert_eq!(words(identify_ext("/dev/sda4", Some("root"), uuid)), "-U UUID -L root /dev/sda4");
        assert_eq!(words(identify_xfs("/dev/sda4", Some("root"), uuid)), "-U UUID -L root /dev/sda4");
        assert_eq!(words(identify_btrfs("/dev/sda4", uuid)), "-f -U UUID /dev/sda4");
        assert_eq!(label_btrfs("/dev/sda4", "-my root"), ["filesystem", "label", "--", "/dev/sda4", "-my root"]);
        assert_eq!(words(grow_btrfs("/run/grow")), "filesystem resize max /run/grow");
        assert_eq!(words(grow_ext("/dev/sda4")), "/dev/sda4");
    }

    fn members() -> [String; 2] {
        ["/dev/sda3", "/dev/sdb3"].map(str::to_owned)
    }

    #[test]
    fn mdadm_is_told_everything_that_it_would_ask() {
        assert_eq!(
            create_array("/dev/md0", "mirror", "default", "11111111-2222-4333-8444-555555555555", &members()),
            [
                "--create",
                "/dev/md0",
                "--run",
                "--force",
                "--metadata=default",
                "--level=mirror",
                "--uuid=11111111-2222-4333-8444-555555555555",
                "--raid-devices=2",
                "/dev/sda3",
                "/dev/sdb3"
            ]
        );
        assert_eq!(
            assemble_array("/dev/md0", &members()),
            ["--assemble", "--run", "/dev/md0", "/dev/sda3", "/dev/sdb3"]
        );
        assert_eq!(add_member("/dev/md0", "/dev/sdb3"), ["--manage", "/dev/md0", "--add", "/dev/sdb3"]);
    }

    #[test]
    fn lvm_aligns_nothing_and_asks_nothing() {
        assert_eq!(
            create_physical_volume("/dev/sda4", Mib::new(28), 2),
            [
                "pvcreate",
                "--yes",
                "--metadatacopies",
                "2",
                "--metadatasize",
                "28m",
                "--config",
                "devices{data_alignment_detection=0 data_alignment_offset_detection=0 md_chunk_alignment=0}",
                "/dev/sda4"
            ]
        );
        assert_eq!(
            create_group("os", &members()),
            ["vgcreate", "--yes", "--physicalextentsize", "4m", "os", "/dev/sda3", "/dev/sdb3"]
        );
        assert_eq!(
            create_volume("os", "root", Mib::new(51_200)).join(" "),
            "lvcreate --yes --wipesignatures y --zero y --size 51200m --name root os"
        );
    }
}
