//! What a disk was told, in order: the log of QEMU's `blklogwrites`, which has the form of the kernel's dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// One thing that a disk was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// `length` bytes at `at`; they stand at `data` of the log.
    Write { at: u64, length: u64, data: u64 },
    /// The range may be forgotten; what reads there afterwards is zeros, as QEMU's files do.
    Discard { at: u64, length: u64 },
    /// What was written before is on the medium.
    Flush,
}

/// A log that is complete.
pub struct WriteLog {
    file: File,
    entries: Vec<Told>,
}

fn number(bytes: &[u8], field: usize) -> u64 {
    let at = field * 8;
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl WriteLog {
    /// Reads a log; its disk is no longer used.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
        let mut head = [0; 32];
        file.read_exact_at(&mut head, 0).expect("a log has a superblock");
        assert_eq!((number(&head, 0), number(&head, 1)), (MAGIC, 1), "magic and version of a log of writes");
        let count = number(&head, 2);
        let sector = u64::from(u32::from_le_bytes(head[24..28].try_into().expect("four bytes")));
        let mut entries = Vec::new();
        let mut at = sector;
        for _ in 0..count {
            file.read_exact_at(&mut head, at).expect("the log has as many entries as it says");
            let (start, length, flags) = (number(&head, 0) * sector, number(&head, 1) * sector, number(&head, 2));
            at += sector;
            if flags & DISCARD != 0 {
                entries.push(Told::Discard { at: start, length });
                continue;
            }
            if length > 0 {
                entries.push(Told::Write { at: start, length, data: at });
                at += length;
            }
            if flags & FLUSH != 0 {
                entries.push(Told::Flush);
            }
        }
        Self { file, entries }
    }

    /// Everything, in order.
    pub fn entries(&self) -> &[Told] {
        &self.entries
    }

    /// What a write carried.
    pub fn data(&self, told: Told) -> Vec<u8> {
        let (Told::Write { length, .. } | Told::Discard { length, .. }) = told else { return Vec::new() };
        let mut bytes = vec![0; usize::try_from(length).expect("memory holds one write")];
        if let Told::Write { data, .. } = told {
            self.file.read_exact_at(&mut bytes, data).expect("the log holds what was written");
        }
        bytes
    }

    /// Does to a file what the disk was told.
    pub fn apply(&self, told: Told, target: &File) {
        match told {
            Told::Write { at, .. } => {
                target.write_all_at(&self.data(told), at).expect("a copy of a disk can be written")
            }
            Told::Discard { at, length } => {
                let mode =
                    nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
                let place = |value: u64| i64::try_from(value).expect("disks are below 8 EiB");
                nix::fcntl::fallocate(target, mode, place(at), place(length)).expect("a copy of a disk can have holes");
            }
            Told::Flush => {}
        }
    }

    /// What a range of the disk holds once it was told this, given what it held before.
    pub fn overlay(&self, told: Told, start: u64, before: &mut [u8]) {
        let (Told::Write { at, length, .. } | Told::Discard { at, length }) = told else { return };
        let end = start + u64::try_from(before.len()).expect("memory is below 2^64 bytes");
        let (from, to) = (at.max(start), (at + length).min(end));
        if from >= to {
            return;
        }
        let index = |value: u64| usize::try_from(value).expect("memory is below 2^64 bytes");
        let data = self.data(told);
        before[index(from - start)..index(to - start)].copy_from_slice(&data[index(from - at)..index(to - at)]);
    }

    /// Whether a range of the disk is among what this says.
    pub fn touches(told: Told, start: u64, end: u64) -> bool {
        match told {
            Told::Write { at, length, .. } | Told::Discard { at, length } => at < end && at + length > start,
            Told::Flush => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(fields: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn log_is_read_in_order_and_laid_over_what_was_there() {
        let path = std::env::temp_dir().join(format!("bedplate-write-log-{}", std::process::id()));
        let write = [sector(&[1, 1, 0, 0]), vec![7; 512]].concat();
        let told =
            [sector(&[MAGIC, 1, 3, 512]), write, sector(&[0, 1, DISCARD, 0]), sector(&[0, 0, FLUSH, 0])].concat();
        std::fs::write(&path, told).unwrap();
        let log = WriteLog::read(&path);
        let written = Told::Write { at: 512, length: 512, data: 1024 };
        assert_eq!(log.entries(), [written, Told::Discard { at: 0, length: 512 }, Told::Flush]);
        let mut seen = vec![1; 1024];
        log.overlay(written, 256, &mut seen);
        assert_eq!((seen[255], seen[256], seen[767], seen[768]), (1, 7, 7, 1));
        log.overlay(log.entries()[1], 0, &mut seen);
        assert_eq!((seen[0], seen[511], seen[512]), (0, 0, 7));
        assert!(WriteLog::touches(written, 1023, 1024) && !WriteLog::touches(written, 1024, 1025));
        std::fs::remove_file(&path).unwrap();
    }
}
