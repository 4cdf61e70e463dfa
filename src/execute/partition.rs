//! Disks: signatures erased, partition tables written.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use super::guard;
use crate::boot;
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{DiskIdentity, PartitionPlace, TablePartition};
use crate::sys::{block, gpt, udev};
use crate::units::{Bytes, SectorSize};

/// How much is cleared at either end of a disk or partition. Every superblock that libblkid knows lies within it: btrfs
/// at 64 KiB, ZFS' labels in 512 KiB at each end, md 0.90 in the last 128 KiB.
const CLEARED: u64 = 1 << 20;
/// How long the kernel and udev may take to make the nodes of a new table.
const NODE_DEADLINE: Duration = Duration::from_secs(60);

/// A disk that nobody else uses as long as this lives, and that udev leaves alone.
struct Claimed {
    file: Flock<File>,
}

impl Claimed {
    /// Opens a disk after checking that it is still the planned one.
    fn open(disk: &DiskIdentity) -> Result<Self> {
        guard::check_disk(disk)?;
        let file = block::open_exclusive(Path::new(&disk.device))?;
        // Ties what was opened to what was checked.
        let found = block::Geometry::of_device(&file)?;
        if (found.size, found.sector_size) != (disk.size, disk.sector_size) {
            return Err(Error::new(Kind::Refused, format!("disk {} changed while it was opened", disk.device)));
        }
        // udev does not look at a disk while its node is locked (systemd: Locking Block Device Access).
        let file = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, cause)| Error::caused(Kind::Refused, format!("locking {}", disk.device), cause))?;
        Ok(Self { file })
    }

    fn file(&mut self) -> &mut File {
        &mut self.file
    }
}

/// Erases what identifies the content of a disk and of its partitions.
///
/// The partitions are cleared through the disk: nodes of a table that the kernel does not see are not there.
pub fn erase(disk: &DiskIdentity, partitions: &[PartitionPlace]) -> Result<()> {
    let mut claimed = Claimed::open(disk)?;
    for partition in partitions {
        clear_place(claimed.file(), disk, partition)?;
    }
    clear_ends(claimed.file(), Bytes::ZERO, disk.size)
        .map_err(|error| error.within(format!("erasing {}", disk.device)))?;
    block::flush(claimed.file())?;
    block::reread_partitions(claimed.file())?;
    drop(claimed);
    udev::settle(NODE_DEADLINE)
}

/// Erases what identifies the content of one partition of a disk whose table stays.
pub fn erase_partition(disk: &DiskIdentity, partition: &PartitionPlace) -> Result<()> {
    guard::check_disk(disk)?;
    let mut file = block::open_exclusive(Path::new(&partition.device))?;
    let size = block::Geometry::of_device(&file)?.size;
    if size != partition.size {
        return Err(Error::new(
            Kind::Refused,
            format!("{} has {}, not {} as planned", partition.device, size.exact(), partition.size.exact()),
        ));
    }
    clear_ends(&mut file, Bytes::ZERO, size).map_err(|error| error.within(format!("erasing {}", partition.device)))?;
    block::flush(&file)
}

/// Puts a protective MBR before a table that was left without one, with the stub as boot code.
pub fn restore_table(disk: &DiskIdentity) -> Result<()> {
    let mut claimed = Claimed::open(disk)?;
    let within = |error: Error| error.within(format!("restoring the protective MBR of {}", disk.device));
    let table = gpt::read(claimed.file(), disk.sector_size).map_err(within)?;
    gpt::write_protective_mbr(claimed.file(), disk.size, disk.sector_size, boot::handover_stub()).map_err(within)?;
    block::flush(claimed.file()).map_err(within)?;
    block::reread_partitions(claimed.file()).map_err(within)?;
    drop(claimed);
    udev::settle(NODE_DEADLINE)?;
    let node = |entry: &gpt::Entry| PathBuf::from(crate::inventory::partition_device(&disk.device, entry.number));
    udev::wait_for(&table.entries.iter().map(node).collect::<Vec<_>>(), NODE_DEADLINE).map_err(within)
}

fn clear_place(file: &mut File, disk: &DiskIdentity, place: &PartitionPlace) -> Result<()> {
    let is_inside = place.start.checked_add(place.size).is_some_and(|end| end <= disk.size);
    if !is_inside {
        // A table that a larger disk left behind: what lies beyond this one is not there.
        return Ok(());
    }
    clear_ends(file, place.start, place.size).map_err(|error| error.within(format!("erasing {}", place.device)))
}

/// Writes a table with a stub as boot code, clears the ends of each partition, and waits for the device nodes.
pub fn write_table(disk: &DiskIdentity, guid: &str, partitions: &[TablePartition]) -> Result<()> {
    let entries = partitions.iter().map(|it| entry(it, disk.sector_size)).collect::<Result<Vec<_>>>()?;
    let mut claimed = Claimed::open(disk)?;
    let within = |error: Error| error.within(format!("partitioning {}", disk.device));
    for partition in partitions {
        clear_ends(claimed.file(), partition.start, partition.size)
            .map_err(|error| within(error.within(format!("clearing {}", partition.device))))?;
    }
    // With 55AA in its first sector and no code a disk would hang a BIOS: the stub hands back to it.
    let stub = boot::handover_stub();
    gpt::write(claimed.file(), disk.size, disk.sector_size, parse_guid(guid)?, &entries, stub).map_err(within)?;
    block::flush(claimed.file()).map_err(within)?;
    block::reread_partitions(claimed.file()).map_err(within)?;
    drop(claimed);
    let nodes: Vec<_> = partitions.iter().map(|it| PathBuf::from(&it.device)).collect();
    // Closing the disk makes udev look at it and read the table once more: the nodes vanish for a moment.
    udev::settle(NODE_DEADLINE)?;
    udev::wait_for(&nodes, NODE_DEADLINE).map_err(within)
}

fn entry(it: &TablePartition, sector_size: SectorSize) -> Result<gpt::Entry> {
    let misplaced = || Error::bug(format!("{} does not lie on whole sectors", it.device));
    let end = it.start.checked_add(it.size).ok_or_else(misplaced)?;
    let last = end.checked_sub(Bytes::new(sector_size.get())).ok_or_else(misplaced)?;
    Ok(gpt::Entry {
        number: it.number,
        first: sector_size.lba_at(it.start).ok_or_else(misplaced)?,
        last: sector_size.lba_at(last).ok_or_else(misplaced)?,
        type_guid: parse_guid(&it.type_guid)?,
        guid: parse_guid(&it.guid)?,
        name: it.name.clone(),
    })
}

fn parse_guid(text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|cause| Error::bug(format!("a plan holds the GUID {text:?}: {cause}")))
}

/// Zeroes the first and the last MiB of a range.
fn clear_ends<D: Write + Seek>(medium: &mut D, start: Bytes, size: Bytes) -> Result<()> {
    let length = size.get().min(CLEARED);
    let end = start.checked_add(size).ok_or_else(|| Error::bug("a range that ends beyond 2^64"))?;
    for offset in [start.get(), end.get() - length] {
        zero(medium, offset, length)?;
    }
    Ok(())
}

fn zero<D: Write + Seek>(medium: &mut D, offset: u64, length: u64) -> Result<()> {
    let length = usize::try_from(length).map_err(|_| Error::bug("an end longer than memory"))?;
    let what = || format!("writing zeroes at byte {offset}");
    medium.seek(SeekFrom::Start(offset)).context(Kind::Medium, what)?;
    medium.write_all(&vec![0; length]).context(Kind::Medium, what)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn both_ends_are_cleared_and_nothing_beside_them() {
        const MIB: usize = 1 << 20;
        let mut medium = Cursor::new(vec![0xa5u8; 8 * MIB]);
        clear_ends(&mut medium, Bytes::mib(1), Bytes::mib(6)).unwrap();
        let bytes = medium.into_inner();
        let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|&byte| byte == 0);
        let is_old = |range: std::ops::Range<usize>| bytes[range].iter().all(|&byte| byte == 0xa5);
        assert!(is_old(0..MIB) && is_zero(MIB..2 * MIB) && is_old(2 * MIB..6 * MIB));
        assert!(is_zero(6 * MIB..7 * MIB) && is_old(7 * MIB..8 * MIB));
    }

    #[test]
    fn ranges_smaller_than_an_end_are_cleared_whole() {
        let mut medium = Cursor::new(vec![0xa5u8; 4096]);
        clear_ends(&mut medium, Bytes::new(512), Bytes::new(1024)).unwrap();
        let bytes = medium.into_inner();
        assert!(bytes[..512].iter().all(|&it| it == 0xa5) && bytes[512..1536].iter().all(|&it| it == 0));
        assert!(bytes[1536..].iter().all(|&it| it == 0xa5));
    }
}
