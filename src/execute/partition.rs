//! Disks: signatures erased, partition tables written.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::guard;
use crate::boot;
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{DiskIdentity, PartitionPlace, TablePartition};
use crate::sys::claim::{ClaimedDisk, Seen};
use crate::sys::{block, gpt, traces};
use crate::units::{Bytes, SectorSize};

/// Claims a disk after checking that it is still the planned one.
pub fn claim(disk: &DiskIdentity) -> Result<ClaimedDisk> {
    guard::check_disk(disk)?;
    let mut claimed = ClaimedDisk::open(Path::new(&disk.device))?;
    // Ties what was opened to what was checked.
    let found = block::Geometry::of_device(claimed.file())?;
    if (found.size, found.sector_size) != (disk.size, disk.sector_size) {
        return Err(Error::new(Kind::Refused, format!("disk {} changed while it was opened", disk.device)));
    }
    Ok(claimed)
}

/// Takes the boot code off disks that are about to be erased, off all of them before the first one is: a system that starts
/// from one disk and is half gone from another would stop at the prompt of its boot loader, and not come back by PXE.
pub fn disarm<'a>(disks: impl Iterator<Item = &'a DiskIdentity>) -> Result<()> {
    let mut claimed = disks.map(|disk| Ok((disk, claim(disk)?))).collect::<Result<Vec<_>>>()?;
    let what = |disk: &DiskIdentity| format!("taking the boot code off {}", disk.device);
    for (disk, it) in &mut claimed {
        // The rest of the first sector still shows a table to whoever looks: nothing else is lost yet.
        it.file().write_all(&boot::handover_stub()).context(Kind::Medium, || what(disk))?;
    }
    claimed.into_iter().try_for_each(|(disk, it)| it.finish().map_err(|error| error.within(what(disk))))
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
    clear_places(&mut file, &[(&partition.device, Bytes::ZERO, size)])
}

/// Puts a protective MBR before a table that was left without one, with the stub as boot code.
pub fn restore_table(disk: &DiskIdentity) -> Result<()> {
    let mut claimed = claim(disk)?;
    let within = |error: Error| error.within(format!("restoring the protective MBR of {}", disk.device));
    let table = gpt::read(claimed.file(), disk.sector_size).map_err(within)?;
    gpt::write_protective_mbr(claimed.file(), disk.size, disk.sector_size, boot::handover_stub()).map_err(within)?;
    let sector = disk.sector_size.get();
    let seen = |entry: &gpt::Entry| {
        let bytes = |sectors: u64| Bytes::new(sectors.saturating_mul(sector));
        let (first, last) = (entry.first.get(), entry.last.get());
        let place = Seen { number: entry.number, start: bytes(first), size: bytes(last.saturating_sub(first) + 1) };
        (place, PathBuf::from(crate::inventory::partition_device(&disk.device, entry.number)))
    };
    claimed.finish_table(&table.entries.iter().map(seen).collect::<Vec<_>>()).map_err(within)
}

/// Clears ranges of a disk or a partition, and proves that nothing is recognised in them any more.
pub fn clear_places(file: &mut File, places: &[(&str, Bytes, Bytes)]) -> Result<()> {
    for (device, start, size) in places {
        traces::clear(file, *start, *size).map_err(|error| error.within(format!("erasing {device}")))?;
    }
    // What is read next comes from the medium.
    block::flush(file)?;
    for (device, start, size) in places {
        let left = traces::find(file, *start, *size).context(Kind::Medium, || format!("reading {device} again"))?;
        if let Some(it) = left.first() {
            let what = format!("erasing {device}: {} at byte {} is still there", it.kind, it.offset.get());
            return Err(Error::new(Kind::Medium, what).advise("the disk does not keep what is written: replace it"));
        }
    }
    Ok(())
}

/// Writes a table with a stub as boot code, clears the ends of each partition, and waits for the device nodes.
pub fn write_table(disk: &DiskIdentity, guid: &str, partitions: &[TablePartition]) -> Result<()> {
    let entries = partitions.iter().map(|it| entry(it, disk.sector_size)).collect::<Result<Vec<_>>>()?;
    let mut claimed = claim(disk)?;
    let within = |error: Error| error.within(format!("partitioning {}", disk.device));
    let places: Vec<_> = partitions.iter().map(|it| (it.device.as_str(), it.start, it.size)).collect();
    clear_places(claimed.file(), &places).map_err(within)?;
    // With 55AA in its first sector and no code a disk would hang a BIOS: the stub hands back to it.
    let stub = boot::handover_stub();
    gpt::write(claimed.file(), disk.size, disk.sector_size, parse_guid(guid)?, &entries, stub).map_err(within)?;
    let seen =
        |it: &TablePartition| (Seen { number: it.number, start: it.start, size: it.size }, PathBuf::from(&it.device));
    claimed.finish_table(&partitions.iter().map(seen).collect::<Vec<_>>()).map_err(within)
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
