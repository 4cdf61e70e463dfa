//! A disk of one's own while its table is written: nobody else writes, and udev does not look.
//!
//! udevd opens a disk whenever somebody who wrote to it closes it, has the kernel read the table again, and so makes all
//! partitions vanish for a moment. It leaves a disk alone whose node is locked (systemd: Locking Block Device Access). So
//! the lock outlasts the writing, until udevd has noticed that it ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{block, udev};
use crate::error::{Context as _, Error, Kind, Result};
use crate::units::Bytes;

/// How long whoever looks at a disk may keep it.
const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// How long a process may have a partition open while the kernel is to read the table again.
const BUSY_DEADLINE: Duration = Duration::from_secs(10);
/// How long the device nodes of new partitions may take.
const NODE_DEADLINE: Duration = Duration::from_secs(60);
/// The kernel tells nobody that a lock or a device becomes free.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// udev leaves the disk alone as long as this lives.
#[derive(Debug)]
pub struct DiskLock {
    device: PathBuf,
    /// Open for reading alone: closing it is no news to udev.
    file: Flock<File>,
}

impl DiskLock {
    /// Locks a disk's node, as soon as those who look at it are done.
    ///
    /// # Errors
    /// `Refused` when somebody keeps the lock for longer than half a minute; `Hardware` when the disk cannot be opened.
    pub fn take(device: &Path) -> Result<Self> {
        Self::take_within(device, LOCK_DEADLINE)
    }

    fn take_within(device: &Path, deadline: Duration) -> Result<Self> {
        let what = || format!("locking {}", device.display());
        let mut file = File::open(device).context(Kind::Hardware, what)?;
        let until = Instant::now() + deadline;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => return Ok(Self { device: device.to_owned(), file }),
                Err((opened, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => file = opened,
                Err((_, Errno::EWOULDBLOCK)) => {
                    let seconds = deadline.as_secs_f64();
                    let message = format!("{}: another process has kept the lock for {seconds:.1} s", what());
                    return Err(Error::new(Kind::Refused, message).advise("see who: lslocks; lsof the disk"));
                }
                Err((_, cause)) => return Err(Error::caused(Kind::Refused, what(), cause)),
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Gives the disk back, once udevd has noticed that whoever wrote to it has closed it.
    ///
    /// # Errors
    /// Those of asking udevd.
    pub fn release(self) -> Result<()> {
        let noticed = udev::has_noticed();
        let device = self.device;
        drop(self.file);
        noticed.map_err(|error| error.within(format!("giving {} back to udev", device.display())))
    }
}

/// Where a partition must be seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Number.
    pub number: u32,
    /// Offset from the start of the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
}

/// A disk that nobody else uses as long as this lives, and that udev leaves alone.
#[derive(Debug)]
pub struct ClaimedDisk {
    lock: DiskLock,
    file: File,
}

impl ClaimedDisk {
    /// Locks and claims a disk.
    ///
    /// # Errors
    /// Those of [`DiskLock::take`] and [`block::open_exclusive`].
    pub fn open(device: &Path) -> Result<Self> {
        let lock = DiskLock::take(device)?;
        Ok(Self { file: block::open_exclusive(device)?, lock })
    }

    /// The disk, for reading and writing.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes what was written durable and ends the claim.
    ///
    /// # Errors
    /// `Medium` when it cannot be made durable.
    pub fn finish(self) -> Result<()> {
        block::flush(&self.file)?;
        drop(self.file);
        self.lock.release()
    }

    /// Makes a new table durable, has the kernel read it, and ends the claim once kernel and device nodes show exactly
    /// these partitions.
    ///
    /// # Errors
    /// `Medium` when it cannot be made durable, or the kernel sees other partitions; `Refused` when a partition stays in
    /// use; `Hardware` when a node does not come. Each says what was waited for.
    pub fn finish_table(self, expected: &[(Seen, PathBuf)]) -> Result<()> {
        block::flush(&self.file)?;
        if block::is_mapped(&self.file)? {
            // What lies on a multipath map is mapped by kpartx, not by the kernel; it opens the map itself.
            drop(self.file);
            super::kpartx::update(&self.lock.device, expected.is_empty())?;
        } else {
            reread(&self.file, BUSY_DEADLINE)?;
            compare(&block::partitions(&self.file)?, expected)?;
            drop(self.file);
        }
        self.lock.release()?;
        let nodes: Vec<_> = expected.iter().map(|(_, node)| node.clone()).collect();
        udev::wait_for(&nodes, NODE_DEADLINE)?;
        udev::wait_for_records(&nodes);
        Ok(())
    }
}

fn reread(disk: &File, deadline: Duration) -> Result<()> {
    let until = Instant::now() + deadline;
    loop {
        match block::reread_partitions(disk) {
            Err(error) if error.kind() == Kind::Refused && Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(error) if error.kind() == Kind::Refused => {
                let waited = format!("a partition has been open for {:.1} s", deadline.as_secs_f64());
                return Err(error.within(waited));
            }
            outcome => return outcome,
        }
    }
}

/// The kernel must see what was written, nothing else.
fn compare(found: &[Seen], expected: &[(Seen, PathBuf)]) -> Result<()> {
    let mut wanted: Vec<_> = expected.iter().map(|(place, _)| place.clone()).collect();
    wanted.sort();
    if found == wanted {
        return Ok(());
    }
    let shown = |places: &[Seen]| {
        let one = |it: &Seen| format!("{} at byte {} of {}", it.number, it.start.get(), it.size.exact());
        if places.is_empty() { "none".to_owned() } else { places.iter().map(one).collect::<Vec<_>>().join(", ") }
    };
    let message = format!("the kernel sees other partitions: expected {}, found {}", shown(&wanted), shown(found));
    Err(Error::new(Kind::Medium, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_device::LoopDevice;
    use crate::scratch::Scratch;

    #[test]
    fn lock_that_another_keeps_is_waited_for_and_told() {
        let scratch = Scratch::new();
        let path = scratch.path("disk");
        std::fs::write(&path, b"").unwrap();
        let first = DiskLock::take(&path).unwrap();
        let error = DiskLock::take_within(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        let expected = format!("locking {}: another process has kept the lock for 0.1 s", path.display());
        assert_eq!(error.to_string(), expected);
        let waiting = std::thread::spawn(move || DiskLock::take_within(&path, Duration::from_secs(20)).map(drop));
        drop(first);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn needs_root_claimed_disk_is_refused_to_others_and_free_afterwards() {
        let scratch = Scratch::new();
        let disk = LoopDevice::new(&scratch.path("disk"), 8 << 20, 512);
        let claimed = ClaimedDisk::open(disk.path()).unwrap();
        let error = DiskLock::take_within(disk.path(), Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(block::open_exclusive(disk.path()).unwrap_err().kind(), Kind::Refused);
        claimed.finish().unwrap();
        ClaimedDisk::open(disk.path()).unwrap().finish().unwrap();
    }

    #[test]
    fn kernel_that_sees_other_partitions_is_told_with_both_sides() {
        let place = |number| Seen { number, start: Bytes::mib(1), size: Bytes::mib(2) };
        let node = PathBuf::from("/dev/sda1");
        compare(&[place(1)], &[(place(1), node.clone())]).unwrap();
        let error = compare(&[], &[(place(1), node)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel sees other partitions: expected 1 at byte 1048576 of 2097152 bytes, found none"
        );
    }
}
