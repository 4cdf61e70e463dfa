//! Disks are emptied: signatures alone, or all that lies on them, in one of several ways.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{partition, sanitize};
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{DiskIdentity, PartitionPlace};
use crate::report::Reporter;
use crate::request::EraseMode;
use crate::sys::block::{self, AlignedBuffer};
use crate::sys::signal;
use crate::units::{Bytes, widen};

/// What is discarded at once: between two of them a signal is noticed and progress is told.
const DISCARDED: u64 = 1 << 30;
/// What is written, and read again, at once.
const CHUNK: usize = 4 << 20;
/// Places that are read again after overwriting, evenly spread; each as long as [`CHUNK`]. The first and the last are the
/// ends of the disk.
const SAMPLES: u64 = 1024;

/// Empties a disk; whatever the mode, nothing is recognised on it afterwards.
pub fn erase(
    id: &str,
    disk: &DiskIdentity,
    mode: EraseMode,
    partitions: &[PartitionPlace],
    reporter: &Reporter,
) -> Result<()> {
    let within = |error: Error| error.within(format!("erasing {}", disk.device));
    let mut claimed = partition::claim(disk)?;
    let progress = |done: u64, total: u64| reporter.progress(id, done, Some(total));
    match mode {
        EraseMode::Quick => {}
        EraseMode::Discard => discard(claimed.file(), disk.size, &progress).map_err(within)?,
        EraseMode::Overwrite => {
            overwrite(Path::new(&disk.device), disk.size, &progress).map_err(within)?;
            reporter.log(format!("{}: overwritten with zeroes; {}", disk.device, read_again(disk.size)));
        }
        EraseMode::Sanitize => {
            let said = sanitize::sanitize(disk, &progress).map_err(within)?;
            reporter.log(format!("{}: {said}", disk.device));
        }
    }
    // A table that a larger disk left behind: what lies beyond this one is not there.
    let is_inside = |it: &&PartitionPlace| it.start.checked_add(it.size).is_some_and(|end| end <= disk.size);
    let partitions = partitions.iter().filter(is_inside).map(|it| (it.device.as_str(), it.start, it.size));
    // The disk last: until then its table tells what is left to do.
    let places: Vec<_> = partitions.chain([(disk.device.as_str(), Bytes::ZERO, disk.size)]).collect();
    partition::clear_places(claimed.file(), &places)?;
    claimed.finish_table(&[]).map_err(within)
}

/// Has the device forget everything. It promises nothing about what is read afterwards.
fn discard(disk: &File, size: Bytes, progress: &dyn Fn(u64, u64)) -> Result<()> {
    let mut done = 0;
    while done < size.get() {
        signal::check()?;
        let length = DISCARDED.min(size.get() - done);
        block::discard(disk, done, length).map_err(|cause| {
            if cause.kind() == std::io::ErrorKind::Unsupported {
                return Error::new(Kind::Hardware, "the device does not discard")
                    .advise("erase it with --mode overwrite, or quick where the data need not go");
            }
            Error::caused(Kind::Medium, format!("discarding at byte {done}"), cause)
        })?;
        done += length;
        progress(done, size.get());
    }
    Ok(())
}

/// Writes zeroes over everything, past the page cache, and reads samples of it again.
fn overwrite(device: &Path, size: Bytes, progress: &dyn Fn(u64, u64)) -> Result<()> {
    let disk = block::open_direct(device, true).context(Kind::Medium, || "opening it")?;
    let mut buffer = AlignedBuffer::new(CHUNK);
    let total = size.get();
    let mut done = 0;
    while done < total {
        signal::check()?;
        let length = length_at(done, total);
        disk.write_all_at(&buffer[..length], done)
            .context(Kind::Medium, || format!("writing zeroes at byte {done}"))?;
        done += widen(length);
        progress(done, total);
    }
    block::flush(&disk)?;
    for offset in samples(total) {
        signal::check()?;
        let length = length_at(offset, total);
        disk.read_exact_at(&mut buffer[..length], offset)
            .context(Kind::Medium, || format!("reading again at byte {offset}"))?;
        if let Some(at) = buffer[..length].iter().position(|&byte| byte != 0) {
            let message = format!("byte {} is not zero although it was written so", offset + widen(at));
            return Err(Error::new(Kind::Medium, message).advise("the disk does not keep what is written: replace it"));
        }
    }
    Ok(())
}

fn length_at(offset: u64, total: u64) -> usize {
    usize::try_from(total.saturating_sub(offset)).unwrap_or(usize::MAX).min(CHUNK)
}

/// Where is read again: all of a small disk.
fn samples(total: u64) -> impl Iterator<Item = u64> {
    let chunks = total.div_ceil(widen(CHUNK));
    let count = chunks.min(SAMPLES);
    let steps = count.saturating_sub(1).max(1);
    (0..count).map(move |index| {
        let chunk = u128::from(chunks.saturating_sub(1)) * u128::from(index) / u128::from(steps);
        u64::try_from(chunk).unwrap_or(u64::MAX).saturating_mul(widen(CHUNK))
    })
}

fn read_again(size: Bytes) -> String {
    let chunks = size.get().div_ceil(widen(CHUNK));
    if chunks <= SAMPLES {
        return "all of it was read again".to_owned();
    }
    format!("{SAMPLES} places of {} were read again", Bytes::new(widen(CHUNK)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_device::LoopDevice;
    use crate::scratch::Scratch;

    #[test]
    fn samples_are_spread_evenly_and_have_both_ends() {
        let chunk = widen(CHUNK);
        assert_eq!(samples(3 * chunk + 1).collect::<Vec<_>>(), [0, chunk, 2 * chunk, 3 * chunk]);
        assert_eq!(samples(512).collect::<Vec<_>>(), [0]);
        let many: Vec<_> = samples(100_000 * chunk).collect();
        assert_eq!((many.len(), many[0], many[1023]), (1024, 0, 99_999 * chunk));
        assert!(many.windows(2).all(|pair| (97..=98).contains(&((pair[1] - pair[0]) / chunk))));
    }

    #[test]
    fn needs_root_disk_is_overwritten_to_its_last_byte() {
        let scratch = Scratch::new();
        // No multiple of a chunk.
        let disk = LoopDevice::new(&scratch.path("disk"), (9 << 20) + 4096, 4096);
        disk.fill(0xa5);
        let told = std::cell::RefCell::new(Vec::new());
        overwrite(disk.path(), Bytes::new((9 << 20) + 4096), &|done, total| told.borrow_mut().push((done, total)))
            .unwrap();
        assert!(disk.read().iter().all(|&byte| byte == 0));
        assert_eq!(told.into_inner().last(), Some(&((9 << 20) + 4096, (9 << 20) + 4096)));
    }

    #[test]
    fn needs_root_disk_is_discarded_to_its_last_byte() {
        let scratch = Scratch::new();
        let disk = LoopDevice::new(&scratch.path("disk"), 8 << 20, 512);
        disk.fill(0xa5);
        let file = block::open_exclusive(disk.path()).unwrap();
        discard(&file, Bytes::mib(8), &|_, _| ()).unwrap();
        drop(file);
        // A loop device punches holes into its file.
        assert!(disk.read().iter().all(|&byte| byte == 0));
    }
}
