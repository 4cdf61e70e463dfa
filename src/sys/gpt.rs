//! GUID partition tables, written so that numbers stay as they are and a cut-off write leaves no half table.
//!
//! The `gpt` crate's own `write` renumbers partitions and leaves the backup where it was, so its lower level is used:
//! entries at slot number - 1 in both arrays, then both headers, then the protective MBR.

use std::io::{Read, Seek, SeekFrom, Write};

use gpt::disk::LogicalBlockSize;
use gpt::header::HeaderBuilder;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

use crate::error::{Context as _, Error, Kind, Result};
use crate::units::{Bytes, Lba, SectorSize};

/// Entries of a table; UEFI 2.10, section 5.3.1 asks for room for 128 at least.
const ENTRIES: u32 = 128;
/// More entries than any tool makes.
const MAX_ENTRIES: u32 = 1024;
/// Bytes of an entry.
const ENTRY_SIZE: u32 = 128;
/// Where the entries begin: after the protective MBR and the header.
const ENTRIES_START: u64 = 2;

/// An entry of a table. Both ends belong to the partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number, from 1 to 128.
    pub number: u32,
    /// First sector.
    pub first: Lba,
    /// Last sector.
    pub last: Lba,
    /// Type.
    pub type_guid: Uuid,
    /// Identity.
    pub guid: Uuid,
    /// Name; what exceeds 36 UTF-16 units is cut.
    pub name: String,
}

/// A table as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Identity of the disk.
    pub guid: Uuid,
    /// Used entries by number.
    pub entries: Vec<Entry>,
}

/// Writes a table to a medium of this size, over whatever is there.
///
/// `boot_code` goes to the first 440 bytes. The protective MBR is written last: until then no firmware sees a disk that
/// it could start from.
///
/// # Errors
/// `Bug` when the entries do not fit or overlap (a plan never asks for that), `Medium` on I/O errors.
pub fn write<D: Read + Write + Seek + std::fmt::Debug>(
    medium: &mut D,
    size: Bytes,
    sector_size: SectorSize,
    guid: Uuid,
    entries: &[Entry],
    boot_code: [u8; 440],
) -> Result<()> {
    let (block, sectors) = blocks(size, sector_size)?;
    let last = sectors - 1;
    let build = |is_primary| {
        let mut builder = HeaderBuilder::new();
        builder.primary(is_primary).disk_guid(guid).num_parts(ENTRIES).part_size(ENTRY_SIZE).backup_lba(last);
        builder.build(block).map_err(|cause| Error::bug(format!("building a GPT header: {cause}")))
    };
    let (mut primary, mut backup) = (build(true)?, build(false)?);
    check(entries, primary.first_usable, primary.last_usable)?;
    let fault = || "writing the partition table";
    for start in [backup.part_start, ENTRIES_START] {
        Partition::write_zero_entries_to_device(medium, 0, u64::from(ENTRIES), start, block, ENTRY_SIZE)
            .context(Kind::Medium, fault)?;
        for entry in entries {
            partition(entry)
                .write_to_device(medium, u64::from(entry.number - 1), start, block, ENTRY_SIZE)
                .context(Kind::Medium, fault)?;
        }
    }
    backup.write_backup(medium, block).context(Kind::Medium, fault)?;
    primary.write_primary(medium, block).context(Kind::Medium, fault)?;
    medium.flush().context(Kind::Medium, fault)?;
    write_protective_mbr(medium, size, sector_size, boot_code)
}

/// Writes the first sector that a GPT needs before it: `boot_code` and one entry over the whole medium.
///
/// # Errors
/// `Medium` on I/O errors.
pub fn write_protective_mbr<D: Write + Seek + std::fmt::Debug>(
    medium: &mut D,
    size: Bytes,
    sector_size: SectorSize,
    boot_code: [u8; 440],
) -> Result<()> {
    let fault = || "writing the protective MBR";
    let (_, sectors) = blocks(size, sector_size)?;
    // A protective entry counts sectors in 32 bits; larger disks say all ones (UEFI 2.10, section 5.2.3).
    let mut mbr = ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX));
    mbr.set_bootcode(boot_code);
    // The whole of the first sector: what a 4Kn disk has there beyond 512 bytes is of no table.
    let mut first = mbr.to_bytes().to_vec();
    first.resize(usize::try_from(sector_size.get()).unwrap_or(4096), 0);
    medium.seek(SeekFrom::Start(0)).and_then(|_| medium.write_all(&first)).context(Kind::Medium, fault)?;
    medium.flush().context(Kind::Medium, fault)
}

/// Reads the table of a medium, if there is a whole one.
///
/// # Errors
/// `Medium` when the place of its header cannot be read.
pub fn find<D: Read + Write + Seek + std::fmt::Debug>(
    medium: &mut D,
    sector_size: SectorSize,
) -> Result<Option<Table>> {
    // What has a header of ours and cannot be read as a table is none: damaged ones have no name.
    Ok(if has_header(medium, sector_size)? { read(medium, sector_size).ok() } else { None })
}

/// Reads the table of a medium; its primary header and entries must be whole.
///
/// # Errors
/// `Medium` when there is none, or it is damaged or unreadable.
pub fn read<D: Read + Write + Seek + std::fmt::Debug>(medium: &mut D, sector_size: SectorSize) -> Result<Table> {
    let block = block_size(sector_size);
    let fault = || "reading the partition table";
    if !has_header(medium, sector_size)? {
        return Err(Error::new(
            Kind::Medium,
            "reading the partition table: no GPT with at most 1024 entries of 128 bytes",
        ));
    }
    let disk = gpt::GptConfig::new()
        .writable(false)
        .only_valid_headers(true)
        .logical_block_size(block)
        .open_from_device(medium)
        .context(Kind::Medium, fault)?;
    let used = disk.partitions().iter().filter(|(_, it)| it.is_used());
    let entries = used.map(|(&number, it)| Entry {
        number,
        first: Lba::new(it.first_lba),
        last: Lba::new(it.last_lba),
        type_guid: it.part_type_guid.guid,
        guid: it.part_guid,
        name: it.name.clone(),
    });
    Ok(Table { guid: *disk.guid(), entries: entries.collect() })
}

/// Whether there is a primary header whose entry array has a sane size: the crate takes it as it stands there.
fn has_header<D: Read + Seek>(medium: &mut D, sector_size: SectorSize) -> Result<bool> {
    let mut header = [0; 92];
    medium
        .seek(SeekFrom::Start(sector_size.get()))
        .and_then(|_| medium.read_exact(&mut header))
        .context(Kind::Medium, || "reading the partition table")?;
    // Offsets of the number of entries and of their size: UEFI 2.10, section 5.3.2.
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (count, size) = (field(80), field(84));
    Ok(&header[..8] == b"EFI PART" && count <= MAX_ENTRIES && size == ENTRY_SIZE)
}

fn block_size(sector_size: SectorSize) -> LogicalBlockSize {
    match sector_size {
        SectorSize::B512 => LogicalBlockSize::Lb512,
        SectorSize::B4096 => LogicalBlockSize::Lb4096,
    }
}

fn blocks(size: Bytes, sector_size: SectorSize) -> Result<(LogicalBlockSize, u64)> {
    let sectors = size.get() / sector_size.get();
    if sectors < 128 {
        return Err(Error::new(
            Kind::Hardware,
            format!("a medium of {} is too small for a partition table", size.exact()),
        ));
    }
    Ok((block_size(sector_size), sectors))
}

fn check(entries: &[Entry], first_usable: u64, last_usable: u64) -> Result<()> {
    let mut ranges: Vec<_> = entries.iter().map(|it| (it.first.get(), it.last.get(), it.number)).collect();
    ranges.sort_unstable();
    let mut free = first_usable;
    for (first, last, number) in ranges {
        if first < free || last < first || last > last_usable || !(1..=ENTRIES).contains(&number) {
            return Err(Error::bug(format!(
                "partition {number} at sectors {first} to {last} does not fit between {free} and {last_usable}"
            )));
        }
        free = last + 1;
    }
    Ok(())
}

fn partition(entry: &Entry) -> Partition {
    Partition {
        part_type_guid: Type { guid: entry.type_guid, os: OperatingSystem::None },
        part_guid: entry.guid,
        first_lba: entry.first.get(),
        last_lba: entry.last.get(),
        flags: 0,
        name: entry.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    fn entries(sector: u64) -> Vec<Entry> {
        let entry = |number, start_mib: u64, end_mib: u64| Entry {
            number,
            first: Lba::new((start_mib << 20) / sector),
            last: Lba::new((end_mib << 20) / sector - 1),
            type_guid: Uuid::parse_str("0fc63daf-8483-4772-8e79-3d69d8477de4").unwrap(),
            guid: Uuid::new_v5(&Uuid::NAMESPACE_OID, &[u8::try_from(number).unwrap()]),
            name: format!("part {number}"),
        };
        vec![entry(1, 1, 25), entry(14, 26, 226), entry(3, 227, 400)]
    }

    /// A sparse file with old rubbish where the tables go, and a table written over it.
    fn written(sector_size: SectorSize, path: &std::path::Path) -> File {
        let size = Bytes::mib(512);
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(size.get()).unwrap();
        file.write_all(&[0xa5; 65_536]).unwrap();
        let guid = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"disk");
        write(&mut file, size, sector_size, guid, &entries(sector_size.get()), [0x90; 440]).unwrap();
        file
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("bedplate-gpt-{}-{name}", std::process::id()))
    }

    #[test]
    fn table_is_read_back_with_its_numbers() {
        for sector_size in [SectorSize::B512, SectorSize::B4096] {
            let path = scratch(&format!("read-{}", sector_size.get()));
            let mut file = written(sector_size, &path);
            let table = read(&mut file, sector_size).unwrap();
            let mut expected = entries(sector_size.get());
            expected.sort_by_key(|entry| entry.number);
            assert_eq!(table.entries, expected);
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn sgdisk_finds_no_problem_and_the_same_partitions() {
        let path = scratch("sgdisk");
        drop(written(SectorSize::B512, &path));
        let verify = Command::new("/usr/sbin/sgdisk").arg("-v").arg(&path).output().expect("sgdisk (package gdisk)");
        let said = String::from_utf8_lossy(&verify.stdout).into_owned();
        assert!(said.contains("No problems found"), "{said}");
        let dump = Command::new("/usr/sbin/sfdisk").arg("--json").arg(&path).output().expect("sfdisk (package fdisk)");
        let table: serde_json::Value = serde_json::from_slice(&dump.stdout).unwrap();
        let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
        let nodes: Vec<_> = partitions.iter().map(|it| (it["start"].as_u64(), it["size"].as_u64())).collect();
        assert_eq!(nodes, [(Some(2048), Some(49_152)), (Some(464_896), Some(354_304)), (Some(53_248), Some(409_600))]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn overlapping_entries_are_refused_before_anything_is_written() {
        let path = scratch("overlap");
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(Bytes::mib(512).get()).unwrap();
        let mut entries = entries(512);
        entries[1].first = entries[0].last;
        let error = write(&mut file, Bytes::mib(512), SectorSize::B512, Uuid::nil(), &entries, [0; 440]).unwrap_err();
        assert_eq!(error.kind(), Kind::Bug);
        assert!(std::fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
        std::fs::remove_file(path).unwrap();
    }
}
