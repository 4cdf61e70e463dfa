//! Where partitions lie on a disk, and what they are called.

use crate::error::{Error, Kind, Result};
use crate::inventory::Disk;
use crate::layout::model::{LINUX_FILESYSTEM, LaidPartition};
use crate::units::{Bytes, Mib};

/// Logical sectors that a GPT needs at the end of a disk besides its entries: the backup header.
const BACKUP_HEADER_SECTORS: u64 = 1;
/// Bytes of a GPT's 128 entries of 128 bytes (UEFI 2.10, section 5.3.1).
const ENTRY_ARRAY: u64 = 128 * 128;
/// Sectors of 512 bytes in a MiB.
const SECTORS_512: u64 = 2048;

/// Partitions of one disk, placed one after the other.
///
/// The first begins at 1 MiB, each next one 1 MiB after the end of the one before: upstream gave whole MiB to parted,
/// which took the end as inclusive. The positions are kept, since data is kept across reinstallations by them.
#[derive(Debug)]
pub struct Placer<'a> {
    disk: &'a Disk,
    next: Mib,
    partitions: Vec<LaidPartition>,
}

/// What a partition is to be.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// Size.
    pub size: Mib,
    /// GPT type, if it is not the usual one.
    pub type_guid: Option<&'a str>,
    /// Whether the document asked for the type.
    pub is_type_explicit: bool,
    /// parted's flags.
    pub flags: &'a [&'a str],
    /// What it is for.
    pub role: String,
    /// Whether what is on it stays.
    pub keep_data: bool,
}

impl<'a> Placer<'a> {
    /// A disk without partitions.
    pub fn new(disk: &'a Disk) -> Self {
        Self { disk, next: Mib::new(1), partitions: Vec::new() }
    }

    /// Places the next partition and returns its device node.
    ///
    /// # Errors
    /// `Hardware` when the disk is too small for it.
    pub fn place(&mut self, wanted: Wanted<'_>) -> Result<String> {
        let start = self.next;
        let end = start.checked_add(wanted.size).ok_or_else(|| self.too_small(&wanted, None))?;
        let end_bytes = end.bytes().ok_or_else(|| self.too_small(&wanted, None))?;
        let usable = usable_end(self.disk);
        if end_bytes > usable {
            return Err(self.too_small(&wanted, Some(end_bytes)));
        }
        let number = u32::try_from(self.partitions.len() + 1).map_err(|_| Error::bug("more than 2^32 partitions"))?;
        if number > 128 {
            return Err(Error::new(
                Kind::Request,
                format!(
                    "disk {} is to have more than 128 partitions, which is all that its table holds",
                    self.disk.device
                ),
            ));
        }
        let device = self.disk.partition_device(number);
        self.partitions.push(LaidPartition {
            number,
            device: device.clone(),
            start_mib: start,
            end_mib: end,
            size_mib: wanted.size,
            first_sector_512: start.get() * SECTORS_512,
            last_sector_512: end.get() * SECTORS_512 - 1,
            flags: wanted.flags.iter().map(|&flag| flag.to_owned()).collect(),
            type_guid: wanted.type_guid.unwrap_or(LINUX_FILESYSTEM).to_owned(),
            type_guid_explicit: wanted.is_type_explicit,
            role: wanted.role,
            keep_data: wanted.keep_data,
        });
        self.next = end.checked_add(Mib::new(1)).ok_or_else(|| Error::bug("a partition ends at 2^64 MiB"))?;
        Ok(device)
    }

    /// The placed partitions, by number.
    pub fn finish(self) -> Vec<LaidPartition> {
        self.partitions
    }

    fn too_small(&self, wanted: &Wanted<'_>, end: Option<Bytes>) -> Error {
        let needed = end.map_or_else(|| "more than any disk has".to_owned(), Bytes::exact);
        Error::new(
            Kind::Hardware,
            format!(
                "disk {} is too small: partition {} ({}, {}) would end at {needed}, usable are {}",
                self.disk.device,
                self.partitions.len() + 1,
                wanted.role,
                wanted.size,
                usable_end(self.disk).exact(),
            ),
        )
    }
}

/// Where the space for partitions ends: before the backup entries and header. UEFI 2.10, section 5.3.1.
pub fn usable_end(disk: &Disk) -> Bytes {
    let sector = disk.sector_size.get();
    let sectors = disk.size.get() / sector;
    let reserved = ENTRY_ARRAY.div_ceil(sector) + BACKUP_HEADER_SECTORS;
    Bytes::new(sectors.saturating_sub(reserved).saturating_mul(sector))
}
