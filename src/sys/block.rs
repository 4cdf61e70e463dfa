//! Block devices: size, exclusive opening, the kernel's own operations, and memory that direct I/O accepts.
#![allow(unsafe_code, reason = "ioctls; each call states the kernel's contract")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc::c_int;

use super::claim::Seen;
use crate::error::{Context as _, Error, Kind, Result};
use crate::units::{Bytes, SectorSize};

/// Alignment that satisfies direct I/O on every disk with 512-byte or 4096-byte sectors, in memory and on the medium.
pub const ALIGNMENT: usize = 4096;

/// sysfs counts in units of 512 bytes, whatever the sector size.
const SYSFS_SECTOR: u64 = 512;

mod ioctl {
    use nix::libc::c_int;

    // linux/fs.h. Those without a direction in their number are `_IO(0x12, n)`, whatever they transfer.
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), c_int);
    nix::ioctl_write_int_bad!(blkflsbuf, nix::request_code_none!(0x12, 97));
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_none_bad!(blkrrpart, nix::request_code_none!(0x12, 95));

    pub(super) const NO_ARGUMENT: c_int = 0;
}

/// How large a medium is and in which units it is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The whole size.
    pub size: Bytes,
    /// Its logical sectors.
    pub sector_size: SectorSize,
}

impl Geometry {
    /// Asks the kernel about a block device.
    ///
    /// # Errors
    /// `Hardware` when it is not a block device, or one with logical sectors of an unknown size.
    pub fn of_device(file: &File) -> Result<Self> {
        if !is_block_device(file)? {
            return Err(Error::new(Kind::Hardware, "not a block device"));
        }
        let mut size: u64 = 0;
        // SAFETY: BLKGETSIZE64 stores one u64 at the address; the descriptor is open as long as `file` lives.
        unsafe { ioctl::blkgetsize64(file.as_raw_fd(), &raw mut size) }
            .context(Kind::Hardware, || "asking for the size (BLKGETSIZE64)")?;
        let mut sector: c_int = 0;
        // SAFETY: BLKSSZGET stores one int at the address.
        unsafe { ioctl::blksszget(file.as_raw_fd(), &raw mut sector) }
            .context(Kind::Hardware, || "asking for the sector size (BLKSSZGET)")?;
        let sector = u32::try_from(sector).context(Kind::Hardware, || "asking for the sector size (BLKSSZGET)")?;
        let sector_size = SectorSize::try_from(sector).map_err(|reason| Error::new(Kind::Hardware, reason))?;
        Ok(Self { size: Bytes::new(size), sector_size })
    }

    /// The geometry of a regular file that stands for a disk with such sectors.
    ///
    /// # Errors
    /// `Hardware` when it is not a regular file.
    pub fn for_file(file: &File, sector_size: SectorSize) -> Result<Self> {
        let metadata = file.metadata().context(Kind::Hardware, || "asking for the file's size")?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::Hardware, "not a regular file"));
        }
        Ok(Self { size: Bytes::new(metadata.len()), sector_size })
    }
}

/// Whether an open file is a block device.
///
/// # Errors
/// `Hardware` when the kernel does not tell.
pub fn is_block_device(file: &File) -> Result<bool> {
    let metadata = file.metadata().context(Kind::Hardware, || "asking for the file's type")?;
    Ok(metadata.file_type().is_block_device())
}

/// Opens a block device for reading and writing and claims it: as long as the file is open nothing can mount it, swap on it,
/// or make it part of LVM or md.
///
/// # Errors
/// `Refused` when somebody else has claimed it or the permission is missing; `Hardware` when it is absent or not a block
/// device.
pub fn open_exclusive(path: &Path) -> Result<File> {
    let named = |kind, cause: io::Error| Error::caused(kind, format!("opening {}", path.display()), cause);
    let metadata = std::fs::metadata(path).map_err(|cause| named(Kind::Hardware, cause))?;
    if !metadata.file_type().is_block_device() {
        return Err(Error::new(Kind::Hardware, format!("opening {}: not a block device", path.display())));
    }
    OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_EXCL.bits()).open(path).map_err(|cause| match cause
        .raw_os_error()
        .map(Errno::from_raw)
    {
        Some(Errno::EBUSY) => {
            let path = path.display();
            Error::caused(Kind::Refused, format!("opening {path}: it is in use"), cause)
                .advise(format!("see who holds it: lsblk {path}; grep {path} /proc/mounts /proc/swaps"))
        }
        Some(Errno::EACCES | Errno::EPERM) => named(Kind::Refused, cause),
        Some(Errno::EROFS) => named(Kind::Medium, cause),
        _ => named(Kind::Hardware, cause),
    })
}

/// Opens a block device or a regular file past the page cache, for reading or for reading and writing.
///
/// # Errors
/// That of opening; `InvalidInput` where the file system knows no direct I/O.
pub fn open_direct(path: &Path, is_writable: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(is_writable).custom_flags(OFlag::O_DIRECT.bits()).open(path)
}

/// Whether the kernel refuses to write to a block device.
///
/// # Errors
/// `Hardware` when the kernel does not tell.
pub fn is_read_only(device: &File) -> Result<bool> {
    let mut answer: c_int = 0;
    // SAFETY: BLKROGET stores one int at the address.
    unsafe { ioctl::blkroget(device.as_raw_fd(), &raw mut answer) }
        .context(Kind::Hardware, || "asking whether it is read-only (BLKROGET)")?;
    Ok(answer != 0)
}

/// Has a block device make these bytes zero by itself, whole sectors, and give their room back.
///
/// The kernel asks the device for it and never writes zeros in its place. fallocate(2), block/fops.c.
///
/// # Errors
/// `Unsupported` when the device cannot promise zeros; else the system's error.
pub fn punch(device: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = |value: u64| i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        return match fallocate(device, flags, range(offset)?, range(length)?) {
            Ok(()) => Ok(()),
            Err(Errno::EINTR) => continue,
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENODEV) => Err(io::ErrorKind::Unsupported.into()),
            Err(other) => Err(other.into()),
        };
    }
}

/// Tells a block device that it need not keep these bytes. What is read afterwards is up to it.
///
/// # Errors
/// `Unsupported` when the device knows no such thing; else the system's error.
pub fn discard(device: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: BLKDISCARD reads two u64 at the address, the offset and the length.
    match unsafe { ioctl::blkdiscard(device.as_raw_fd(), &raw const range) } {
        Ok(_) => Ok(()),
        Err(Errno::EOPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
        Err(other) => Err(other.into()),
    }
}

/// Whether reading elsewhere costs the movement of heads. What the kernel does not tell counts as no.
#[must_use]
pub fn is_rotational(device: &File) -> bool {
    let Ok(metadata) = device.metadata() else { return false };
    let number = metadata.rdev();
    let folder = format!("/sys/dev/block/{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
    // A partition has no queue of its own; its folder lies in that of the disk.
    ["queue/rotational", "../queue/rotational"]
        .iter()
        .find_map(|file| std::fs::read_to_string(format!("{folder}/{file}")).ok())
        .is_some_and(|answer| answer.trim() == "1")
}

/// Has the kernel read a disk's partition table again.
///
/// # Errors
/// `Refused` while a partition of the disk is in use; `Medium` for everything else.
pub fn reread_partitions(disk: &File) -> Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    match unsafe { ioctl::blkrrpart(disk.as_raw_fd()) } {
        Ok(_) => Ok(()),
        Err(Errno::EBUSY) => Err(Error::caused(Kind::Refused, "reading the partition table again", Errno::EBUSY)),
        Err(other) => Err(Error::caused(Kind::Medium, "reading the partition table again", other)),
    }
}

/// Whether it is a device-mapper device, whose partitions the kernel does not look for.
///
/// # Errors
/// `Hardware` when the kernel does not tell its number.
pub fn is_mapped(device: &File) -> Result<bool> {
    Ok(Path::new(&format!("{}/dm", sysfs_folder(device)?)).is_dir())
}

/// The partitions of a disk as the kernel sees them now, by number.
///
/// # Errors
/// `Hardware` when sysfs cannot be read.
pub fn partitions(disk: &File) -> Result<Vec<Seen>> {
    let folder = sysfs_folder(disk)?;
    let what = || format!("reading the kernel's partitions in {folder}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).context(Kind::Hardware, what)? {
        let path = entry.context(Kind::Hardware, what)?.path();
        let number = |name: &str| std::fs::read_to_string(path.join(name)).ok()?.trim().parse::<u64>().ok();
        // What goes away while it is read is no partition any more.
        if let (Some(index), Some(start), Some(size)) = (number("partition"), number("start"), number("size")) {
            let bytes = |sectors: u64| Bytes::new(sectors.saturating_mul(SYSFS_SECTOR));
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            found.push(Seen { number, start: bytes(start), size: bytes(size) });
        }
    }
    found.sort();
    Ok(found)
}

fn sysfs_folder(device: &File) -> Result<String> {
    let number = device.metadata().context(Kind::Hardware, || "asking for its device number")?.rdev();
    Ok(format!("/sys/dev/block/{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number)))
}

/// Makes everything written durable and drops what the page cache holds of it, so that the next read asks the medium.
///
/// # Errors
/// `Medium` when a write that was acknowledged before did not reach the medium.
pub fn flush(file: &File) -> Result<()> {
    file.sync_data().context(Kind::Medium, || "flushing")?;
    if is_block_device(file)? {
        // SAFETY: BLKFLSBUF ignores its argument.
        unsafe { ioctl::blkflsbuf(file.as_raw_fd(), ioctl::NO_ARGUMENT) }
            .context(Kind::Medium, || "dropping cached blocks (BLKFLSBUF)")?;
    } else {
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .context(Kind::Medium, || "dropping cached pages")?;
    }
    Ok(())
}

/// Memory whose start is aligned for direct I/O. Its bytes are zero at first.
pub struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl AlignedBuffer {
    /// `size` bytes, aligned to [`ALIGNMENT`].
    #[must_use]
    pub fn new(size: usize) -> Self {
        let memory = vec![0; size.saturating_add(ALIGNMENT)];
        // Within bounds: the distance to the next aligned address is below ALIGNMENT. The allocation never moves again.
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, size }
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.size]
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.size]
    }
}

/// Whether direct I/O takes this memory.
#[must_use]
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::Command;

    fn scratch(name: &str, size: u64) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("bedplate-block-{name}-{}", std::process::id()));
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    #[test]
    fn buffers_are_aligned_and_zero() {
        for size in [0, 1, 4096, 1 << 20] {
            let buffer = AlignedBuffer::new(size);
            assert!(is_aligned(&buffer));
            assert_eq!(buffer.len(), size);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_file_is_not_taken_for_a_device_nor_a_folder_for_a_file() {
        let path = scratch("kinds", 8192);
        let file = File::open(&path).unwrap();
        assert_eq!(Geometry::of_device(&file).unwrap_err().to_string(), "not a block device");
        let geometry = Geometry::for_file(&file, SectorSize::B4096).unwrap();
        assert_eq!(geometry, Geometry { size: Bytes::new(8192), sector_size: SectorSize::B4096 });
        let error = open_exclusive(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("opening {}: not a block device", path.display()));
        std::fs::remove_file(&path).unwrap();
        let folder = File::open(std::env::temp_dir()).unwrap();
        assert_eq!(Geometry::for_file(&folder, SectorSize::B512).unwrap_err().to_string(), "not a regular file");
    }

    #[test]
    fn needs_root_device_is_measured_claimed_and_flushed() {
        let path = scratch("loop", 4 << 20);
        let attached = Command::new("losetup").args(["--find", "--show", "--sector-size", "4096"]).arg(&path).output();
        let attached = attached.unwrap();
        assert!(attached.status.success(), "{attached:?}");
        let device = std::path::PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim());
        let checked = std::panic::catch_unwind(|| {
            let mut held = open_exclusive(&device).unwrap();
            let geometry = Geometry::of_device(&held).unwrap();
            assert_eq!(geometry, Geometry { size: Bytes::mib(4), sector_size: SectorSize::B4096 });
            assert!(!is_read_only(&held).unwrap());
            assert!(Geometry::for_file(&held, SectorSize::B512).is_err());
            let second = open_exclusive(&device).unwrap_err();
            assert_eq!(second.kind(), Kind::Refused);
            assert!(second.to_string().starts_with(&format!("opening {}: it is in use: ", device.display())));
            held.write_all(b"through the cache").unwrap();
            flush(&held).unwrap();
            let mut buffer = AlignedBuffer::new(4096);
            let direct = open_direct(&device, false).unwrap();
            std::os::unix::fs::FileExt::read_exact_at(&direct, &mut buffer, 0).unwrap();
            assert_eq!(&buffer[..17], b"through the cache");
        });
        let detached = Command::new("losetup").arg("--detach").arg(&device).status().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(detached.success());
        checked.unwrap();
    }
}
