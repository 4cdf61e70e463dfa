//! File systems that are made.

use super::require_device;
use crate::error::{Error, Result};
use crate::sys::command::{Call, Tool};

/// Makes a file system or swap with this UUID.
pub fn make(device: &str, kind: &str, label: Option<&str>, uuid: &str) -> Result<()> {
    require_device(device)?;
    Call::new(tool(kind)?, arguments(device, kind, label, uuid)).run()?;
    Ok(())
}

fn tool(kind: &str) -> Result<Tool> {
    Ok(match kind {
        "ext2" => Tool::MkfsExt2,
        "ext3" => Tool::MkfsExt3,
        "ext4" => Tool::MkfsExt4,
        "xfs" => Tool::MkfsXfs,
        "btrfs" => Tool::MkfsBtrfs,
        "vfat" => Tool::MkfsVfat,
        "swap" => Tool::Mkswap,
        other => return Err(Error::bug(format!("a plan asks for file system {other}"))),
    })
}

/// The tool that a step with this file system calls; for the check that everything is installed.
pub fn required_tool(kind: &str) -> Result<Tool> {
    tool(kind)
}

fn arguments<'a>(device: &'a str, kind: &str, label: Option<&'a str>, uuid: &'a str) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let label_option = if kind == "vfat" { "-n" } else { "-L" };
    let mut arguments = match kind {
        "xfs" => owned(&["-f", "-q", "-m", &format!("uuid={uuid}")]),
        "btrfs" => owned(&["-f", "-q", "-U", uuid]),
        "vfat" => owned(&["-i", &uuid.replace('-', "")]),
        "swap" => owned(&["-f", "-U", uuid]),
        _ => owned(&["-F", "-q", "-U", uuid]),
    };
    if let Some(label) = label {
        arguments.extend(owned(&[label_option, label]));
    }
    arguments.push(device.to_owned());
    arguments
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::request::file_systems::{MADE, fault_of_made, label_fault, smallest, written_label};
    use crate::sys::blkid;
    use crate::units::Mib;

    const UUID: &str = "11111111-2222-4333-8444-555555555555";

    /// What is found in a file in which the file system was made and `change`d; nothing when a tool refused.
    fn made(kind: &str, size: Mib, label: &str, change: impl Fn(&str) -> bool) -> Option<BTreeMap<String, String>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bedplate-made-{}-{count}", std::process::id()));
        std::fs::File::create(&path).unwrap().set_len(size.bytes().unwrap().get()).unwrap();
        let uuid = if kind == "vfat" { "1234-ABCD" } else { UUID };
        let device = path.to_str().unwrap();
        let label = Some(label).filter(|label| !label.is_empty());
        let is_made = Call::new(tool(kind).unwrap(), arguments(device, kind, label, uuid)).run().is_ok();
        let found = (is_made && change(device)).then(|| blkid::probe([device]).unwrap());
        std::fs::remove_file(&path).unwrap();
        found
    }

    const LABELS: [&str; 17] = [
        "twelve-chars",
        "ELEVENCHARS",
        "größe größe",
        "ääääää",
        "äääääää",
        "ääääääää",
        "日本語日本",
        "日本語日本語",
        "my data",
        " data",
        "data ",
        "a/b",
        "A+B",
        "--",
        "-x",
        "x'\"$`\\ <&>",
        "';exit 0;'",
    ];

    #[test]
    fn labels_that_a_request_may_have_are_those_that_are_read_back() {
        for kind in MADE {
            for label in LABELS.map(written_label) {
                let size = smallest(kind).max(Mib::new(2));
                let found = made(kind, size, &label, |_| true).and_then(|mut found| found.remove("LABEL"));
                let is_right = found.as_ref() == Some(&label);
                assert_eq!(is_right, label_fault(kind, &label, false).is_none(), "{kind} {label:?}: {found:?}");
            }
        }
    }

    #[test]
    fn labels_that_a_request_may_have_for_an_image_are_read_back() {
        for label in LABELS.map(written_label).iter().filter(|label| label_fault("xfs", label, true).is_none()) {
            let admin = |device: &str| Call::new(Tool::XfsAdmin, ["-L", label, device]).run().is_ok();
            let found = made("xfs", smallest("xfs"), "", admin).and_then(|mut found| found.remove("LABEL"));
            assert_eq!(found.as_ref(), Some(label));
        }
    }

    #[test]
    fn smallest_file_system_can_be_made_and_a_smaller_one_of_those_with_a_bound_cannot() {
        for kind in MADE {
            let kind_of = |size: Mib| made(kind, size, "", |_| true).and_then(|mut found| found.remove("TYPE"));
            assert_eq!(kind_of(smallest(kind)).as_deref(), Some(kind));
            assert_eq!(fault_of_made(kind, smallest(kind), false), None);
        }
        for kind in ["xfs", "btrfs"] {
            assert_eq!(made(kind, Mib::new(smallest(kind).get() - 1), "", |_| true), None);
        }
        // On sectors of 512 bytes; those of 4096 need four times as much.
        assert_eq!(made("ext3", Mib::new(1), "", |_| true).unwrap()["TYPE"], "ext2");
    }

    #[test]
    fn mkfs_arguments_carry_identity_and_label() {
        let line = |kind| arguments("/dev/x", kind, Some("data"), "0000-1111").join(" ");
        assert_eq!(line("ext4"), "-F -q -U 0000-1111 -L data /dev/x");
        assert_eq!(line("xfs"), "-f -q -m uuid=0000-1111 -L data /dev/x");
        assert_eq!(line("swap"), "-f -U 0000-1111 -L data /dev/x");
        assert_eq!(line("vfat"), "-i 00001111 -n data /dev/x");
    }
}
