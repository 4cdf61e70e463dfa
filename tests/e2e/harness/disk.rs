//! Disks as sparse raw files, the digest of what is on them, and the canary.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Whence, lseek};
use sha2::{Digest as _, Sha256};

const MIB: u64 = 1 << 20;

/// Errors are the guest's affair; by default QEMU holds a machine still whose disk has no space.
const REPORT: &str = ",werror=report,rerror=report";

/// What is compared at a time.
const BLOCK: usize = 64 * 1024;

/// What a disk is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Virtio,
    /// A disk of the machine's virtio-scsi controller.
    Scsi,
    /// One of the four places of the machine's IDE controller, which the kernel drives as it drives SATA.
    Ata,
    Nvme,
}

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    serial: String,
    path: PathBuf,
    size: u64,
    bus: Bus,
    sector: u32,
}

impl Disk {
    /// An empty disk; `serial` is what the guest sees, at most 20 characters (virtio-blk).
    #[track_caller]
    pub fn blank(folder: &Path, serial: &str, mib: u64) -> Self {
        assert!(serial.len() <= 20, "a virtio serial holds 20 characters, {serial} is longer");
        let path = folder.join(format!("{serial}.raw"));
        let size = mib * MIB;
        let file = File::create(&path).unwrap_or_else(|error| panic!("creating {}: {error}", path.display()));
        file.set_len(size).expect("a sparse file can have any size");
        Self { serial: serial.to_owned(), path, size, bus: Bus::Virtio, sector: 512 }
    }

    /// The same on another bus.
    pub fn on(mut self, bus: Bus) -> Self {
        self.bus = bus;
        self
    }

    /// The same with logical sectors of so many bytes; virtio and SCSI alone.
    pub fn with_sectors(mut self, bytes: u32) -> Self {
        self.sector = bytes;
        self
    }

    /// What it is connected to.
    pub fn bus(&self) -> Bus {
        self.bus
    }

    /// QEMU's device for it over the block node `node`.
    pub fn device(&self, node: &str) -> String {
        let serial = &self.serial;
        let sectors = match self.sector {
            512 => String::new(),
            bytes => format!(",logical_block_size={bytes},physical_block_size={bytes}"),
        };
        match self.bus {
            Bus::Virtio => format!("virtio-blk-pci,drive={node},id={serial},serial={serial}{sectors}{REPORT}"),
            Bus::Scsi => format!("scsi-hd,bus=scsi0.0,drive={node},id={serial},serial={serial}{sectors}{REPORT}"),
            Bus::Ata => format!("ide-hd,drive={node},id={serial},serial={serial}"),
            Bus::Nvme => format!("nvme,drive={node},id={serial},serial={serial}"),
        }
    }

    /// A disk with known data in its first and last mebibyte and at every sixteenth between them, and without the boot
    /// signature: firmware passes it by, and what writes to it is found out.
    #[track_caller]
    pub fn with_data(folder: &Path, serial: &str, mib: u64) -> Self {
        let disk = Self::blank(folder, serial, mib);
        let file = disk.open_for_writing();
        for number in (0..mib).filter(|number| number % 16 == 0 || number + 1 == mib) {
            let mut data = noise(number, usize::try_from(MIB).expect("a mebibyte fits"));
            if number == 0 {
                data[510..512].copy_from_slice(&[0, 0]);
            }
            file.write_all_at(&data, number * MIB).expect("the disk has this place");
        }
        disk
    }

    /// Its serial number, by which the guest finds it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The file on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in MiB.
    pub fn mib(&self) -> u64 {
        self.size / MIB
    }

    /// The by-id link that udev makes for it, without `/dev/`.
    pub fn by_id(&self) -> String {
        let vendor = match self.bus {
            Bus::Virtio => "virtio",
            Bus::Scsi => "scsi-0QEMU_QEMU_HARDDISK",
            Bus::Ata => "ata-QEMU_HARDDISK",
            Bus::Nvme => "nvme-QEMU_NVMe_Ctrl",
        };
        let joint = if self.bus == Bus::Virtio { '-' } else { '_' };
        format!("disk/by-id/{vendor}{joint}{}", self.serial)
    }

    /// SHA-256 over all blocks that are not all zero, each with its place: equal exactly when every byte is equal.
    #[track_caller]
    pub fn content(&self) -> String {
        let mut file =
            File::open(&self.path).unwrap_or_else(|error| panic!("opening {}: {error}", self.path.display()));
        let mut digest = Sha256::new();
        digest.update(self.size.to_le_bytes());
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        while at < self.size {
            // Holes read as zeros; skipping them makes a large empty disk cheap.
            let Ok(data) = lseek(file.as_fd(), i64::try_from(at).expect("disks are below 8 EiB"), Whence::SeekData)
            else {
                break;
            };
            let block_size = u64::try_from(BLOCK).expect("a block fits");
            at = u64::try_from(data).expect("a place in a file is positive") / block_size * block_size;
            let length = usize::try_from(block_size.min(self.size - at)).expect("a block fits");
            file.seek(SeekFrom::Start(at)).expect("a regular file can be sought");
            file.read_exact(&mut block[..length]).expect("the file has its size");
            if block[..length].iter().any(|&byte| byte != 0) {
                digest.update(at.to_le_bytes());
                digest.update(&block[..length]);
            }
            at += block_size;
        }
        hex(&digest.finalize())
    }

    /// The first sector, for a look at its boot code.
    pub fn first_sector(&self) -> [u8; 512] {
        let mut sector = [0; 512];
        File::open(&self.path)
            .and_then(|file| file.read_exact_at(&mut sector, 0))
            .unwrap_or_else(|error| panic!("reading {}: {error}", self.path.display()));
        sector
    }

    /// The bytes of a place on it.
    pub fn bytes(&self, start: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(&self.path)
            .and_then(|file| file.read_exact_at(&mut bytes, start))
            .unwrap_or_else(|error| panic!("reading {}: {error}", self.path.display()));
        bytes
    }

    fn open_for_writing(&self) -> File {
        File::options().write(true).open(&self.path).expect("the disk was just made")
    }
}

/// A disk that no request names. Whatever happens to its machine, not one of its bytes changes.
#[derive(Debug)]
pub struct Canary {
    disk: Disk,
    content: String,
}

impl Canary {
    /// Makes one.
    #[track_caller]
    pub fn new(folder: &Path, serial: &str) -> Self {
        let disk = Disk::with_data(folder, serial, 64);
        let content = disk.content();
        Self { disk, content }
    }

    /// The disk, for the machine.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether every byte is as it was.
    ///
    /// # Errors
    /// The disk's name when one changed.
    pub fn check(&self) -> Result<(), String> {
        if self.disk.content() == self.content {
            return Ok(());
        }
        Err(format!("canary disk {}, which no request names, has changed", self.disk.serial))
    }
}

/// Bytes that look random and are the same every time (xorshift64*, Vigna 2016).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a whole file or fails the scenario.
#[track_caller]
pub fn write(path: &Path, bytes: &[u8]) {
    let written = File::create(path).and_then(|mut file| file.write_all(bytes));
    written.unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_sees_one_changed_byte_and_not_how_the_file_is_stored() {
        let folder = std::env::temp_dir().join(format!("bedplate-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let disk = Disk::with_data(&folder, "seen", 20);
        let before = disk.content();
        // Zeros where a hole was are the same bytes.
        disk.open_for_writing().write_all_at(&[0; 8192], 3 * MIB).unwrap();
        assert_eq!(disk.content(), before);
        disk.open_for_writing().write_all_at(&[1], 3 * MIB + 4097).unwrap();
        assert_ne!(disk.content(), before);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
