//! The config drive as a FAT file system, made in memory: no tool, no loop device, the same bytes for the same input.

use std::io::{Cursor, Read as _, Write as _};

use fatfs::{DateTime, FileSystem, FormatVolumeOptions, FsOptions};
use time::OffsetDateTime;

use super::ConfigDrive;
use crate::error::{Context as _, Error, Kind, Result};
use crate::units::{Bytes, SectorSize};

/// Makes a FAT file system of exactly `size` with the files of the config drive in its root. Folders are not made: the crate gives
/// the entries `.` and `..` long names, which fsck.fat takes for damage.
///
/// FAT12, 16 or 32 follows from size and sectors. `made` becomes the time of every file.
///
/// # Errors
/// `Request` when `size` is no whole number of sectors, too small for a FAT, or for the files.
pub fn fat_image(
    drive: &ConfigDrive,
    size: Bytes,
    sector_size: SectorSize,
    label: &str,
    volume_id: u32,
    made: OffsetDateTime,
) -> Result<Vec<u8>> {
    let too_small =
        || format!("making the config drive in {} with sectors of {} bytes", size.exact(), sector_size.get());
    let unfit = |reason: &str| Error::caused(Kind::Request, too_small(), reason.to_owned());
    let length = usize::try_from(size.get()).map_err(|_| unfit("it does not fit into memory"))?;
    let sectors = sector_size.lba_at(size).ok_or_else(|| unfit("the last sector is cut"))?.get();
    let sectors = u32::try_from(sectors).map_err(|_| unfit("a FAT has at most 2^32 - 1 sectors"))?;
    let mut image = vec![0; length];
    let bytes_per_sector = match sector_size {
        SectorSize::B512 => 512,
        SectorSize::B4096 => 4096,
    };
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(bytes_per_sector)
        .total_sectors(sectors)
        .volume_id(volume_id)
        .volume_label(filled(label));
    fatfs::format_volume(Cursor::new(image.as_mut_slice()), options).context(Kind::Request, too_small)?;
    let file_system =
        FileSystem::new(Cursor::new(image.as_mut_slice()), FsOptions::new()).context(Kind::Request, too_small)?;
    for (name, content) in &drive.files {
        let adding = || format!("{}: adding {name}", too_small());
        let mut file = file_system.root_dir().create_file(name).context(Kind::Request, adding)?;
        file.write_all(content).context(Kind::Request, adding)?;
        set_times(&mut file, made);
        file.flush().context(Kind::Request, adding)?;
    }
    file_system.unmount().context(Kind::Request, too_small)?;
    require_files(drive, &mut image)?;
    Ok(image)
}

/// The label as FAT stores it, filled up with blanks.
fn filled(label: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    for (byte, letter) in bytes.iter_mut().zip(label.bytes()) {
        *byte = letter;
    }
    bytes
}

/// Reads the image as whoever mounts it would: nothing is written anywhere before that.
fn require_files(drive: &ConfigDrive, image: &mut [u8]) -> Result<()> {
    let what = || "reading the config drive back";
    let file_system = FileSystem::new(Cursor::new(image), FsOptions::new()).context(Kind::Bug, what)?;
    for (name, content) in &drive.files {
        let mut found = Vec::new();
        let mut file = file_system.root_dir().open_file(name).context(Kind::Bug, what)?;
        file.read_to_end(&mut found).context(Kind::Bug, what)?;
        if found != *content {
            return Err(Error::bug(format!("{} of the config drive is not what was written", name)));
        }
    }
    Ok(())
}

#[allow(deprecated, reason = "the crate's other way, a clock, must be a static; ours is a value of the caller")]
fn set_times<T: fatfs::ReadWriteSeek>(file: &mut fatfs::File<'_, T>, made: OffsetDateTime) {
    let made = dos_time(made);
    file.set_created(made);
    file.set_modified(made);
    file.set_accessed(made.date);
}

/// A time as FAT can hold it: from 1980 to 2107, in steps of two seconds.
fn dos_time(at: OffsetDateTime) -> DateTime {
    let year = u16::try_from(at.year().clamp(1980, 2107)).unwrap_or(1980);
    let date = fatfs::Date { year, month: u16::from(u8::from(at.month())), day: u16::from(at.day()) };
    let time = fatfs::Time {
        hour: u16::from(at.hour()),
        min: u16::from(at.minute()),
        sec: u16::from(at.second() / 2 * 2),
        millis: 0,
    };
    DateTime { date, time }
}
