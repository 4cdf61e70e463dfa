//! Partition tables that the kernel does not see: a GPT without the protective MBR before it.
//!
//! Astute's `erase_node` takes the boot signature off every disk before a reinstallation. The kernel and libblkid then
//! see no table, although it is whole, and what is to be kept lies in it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::{Disk, Partition, Signature};
use crate::error::{Context as _, Kind, Result};
use crate::sys::{blkid, gpt};
use crate::units::Bytes;

/// Where every MBR has its signature.
const SIGNATURE_OFFSET: u64 = 510;

/// Partitions of a hidden table, and what lies on them.
pub(super) struct Hidden {
    pub(super) partitions: Vec<Partition>,
    pub(super) signatures: Vec<Signature>,
}

/// Reads the hidden table of a disk, if it has one.
pub(super) fn read(disk: &Disk, file: &mut File) -> Result<Option<Hidden>> {
    let mut signature = [0; 2];
    file.seek(SeekFrom::Start(SIGNATURE_OFFSET))
        .and_then(|_| file.read_exact(&mut signature))
        .context(Kind::Medium, || "reading the first sector")?;
    if signature == [0x55, 0xaa] {
        return Ok(None);
    }
    let Some(table) = gpt::find(file, disk.sector_size)? else { return Ok(None) };
    let partitions: Vec<_> = table.entries.iter().filter_map(|entry| partition(disk, entry)).collect();
    let mut signatures = Vec::new();
    for partition in &partitions {
        signatures.extend(signature_of(disk, partition)?);
    }
    Ok(Some(Hidden { partitions, signatures }))
}

fn partition(disk: &Disk, entry: &gpt::Entry) -> Option<Partition> {
    let sector = disk.sector_size.get();
    let sectors = entry.last.get().checked_sub(entry.first.get())?.checked_add(1)?;
    Some(Partition {
        number: entry.number,
        device: disk.partition_device(entry.number),
        start: Bytes::new(entry.first.get().checked_mul(sector)?),
        size: Bytes::new(sectors.checked_mul(sector)?),
    })
}

/// What libblkid finds there; without device nodes it is told where to look.
fn signature_of(disk: &Disk, partition: &Partition) -> Result<Option<Signature>> {
    let (offset, size) = (partition.start.get().to_string(), partition.size.get().to_string());
    let found = blkid::probe(["--offset", &offset, "--size", &size, &disk.device])?;
    let value = |key: &str| found.get(key).cloned();
    Ok(value("TYPE").map(|kind| Signature {
        device: partition.device.clone(),
        kind,
        label: value("LABEL"),
        uuid: value("UUID"),
    }))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use uuid::Uuid;

    use super::*;
    use crate::units::{Lba, SectorSize};

    #[test]
    fn table_behind_an_erased_boot_signature_is_read_with_what_is_on_it() {
        let path = std::env::temp_dir().join(format!("bedplate-hidden-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let entry = gpt::Entry {
            number: 3,
            first: Lba::new(2048),
            last: Lba::new(2048 + 65_535),
            type_guid: Uuid::from_u128(1),
            guid: Uuid::from_u128(2),
            name: "data".to_owned(),
        };
        gpt::write(&mut file, Bytes::mib(64), SectorSize::B512, Uuid::from_u128(3), &[entry], [0; 440]).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-L", "kept", "-E", "offset=1048576", path.to_str().unwrap(), "32M"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let disk = crate::inventory::testing::disk(path.to_str().unwrap(), Bytes::mib(64));
        assert!(read(&disk, &mut file).unwrap().is_none(), "the kernel sees a table that has its protective MBR");

        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 446], 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 2], 510).unwrap();
        let hidden = read(&disk, &mut file).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let [partition] = hidden.partitions.as_slice() else { panic!("{:?}", hidden.partitions) };
        assert_eq!((partition.number, partition.start, partition.size), (3, Bytes::mib(1), Bytes::mib(32)));
        let [signature] = hidden.signatures.as_slice() else { panic!("{:?}", hidden.signatures) };
        assert_eq!((signature.kind.as_str(), signature.label.as_deref()), ("ext4", Some("kept")));
        assert_eq!(signature.device, partition.device);
    }
}
