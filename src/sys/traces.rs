//! Traces of what lay on a medium: superblocks at every place at which libblkid, mdadm, LVM or a firmware look for one.
//!
//! libblkid names one thing, or none when several contradict each other. What is to be erased is everything that anybody
//! might recognise later, stale or not, so all places are looked at, of disks and of ranges that have no device node.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::error::{Context as _, Error, Kind, Result};
use crate::units::{Bytes, widen};

/// What is cleared at either end of a range: all places but those of [`FAR`] lie within.
const ENDS: u64 = 1 << 20;

/// What is read of the beginning: the last place there is the end of ZFS' second label.
const HEAD: u64 = 512 << 10;
/// What is read of the end: ZFS' two labels there, behind which up to 256 KiB are left.
const TAIL: u64 = 768 << 10;

/// What is cleared at a place that lies further inside; no superblock there is larger.
const BLOCK: u64 = 4096;

/// Places further inside: VMFS, and the second header of LUKS2 (1 to 4 MiB), copies of btrfs' superblock.
const FAR: [u64; 5] = [1 << 20, 2 << 20, 4 << 20, 64 << 20, 256 << 30];

/// The place of Promise's firmware RAID that lies furthest from the end, in sectors of 512 bytes.
const PROMISE: u64 = 3087;

/// Where a magic number stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// So many bytes behind the beginning.
    Start(u64),
    /// So many bytes before the end.
    End(u64),
    /// The end is rounded down to a multiple of the first; the second is counted back from there.
    Aligned(u64, u64),
}

use Place::{Aligned, End, Start};

/// Magic numbers by libblkid's names, with their places; util-linux, libblkid/src/superblocks and src/partitions.
///
/// What has another name here is found by more than a number: see [`ext`] and [`zfs`].
const MAGIC: &[(&str, Place, &[u8])] = &[
    ("gpt", Start(512), b"EFI PART"),
    ("gpt", Start(4096), b"EFI PART"),
    ("gpt", End(512), b"EFI PART"),
    ("gpt", End(4096), b"EFI PART"),
    // Linux, md_p.h: 0.90 lies in the last whole 64 KiB before the last whole 64 KiB; 1.0 8 KiB before the end.
    ("linux_raid_member", Aligned(64 << 10, 64 << 10), b"\xfc\x4e\x2b\xa9\0\0\0\0"),
    ("linux_raid_member", Aligned(64 << 10, 64 << 10), b"\xa9\x2b\x4e\xfc\0\0\0\0"),
    ("linux_raid_member", Aligned(4096, 8192), b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    ("linux_raid_member", Aligned(4096, 12288), b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    ("linux_raid_member", Start(0), b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    ("linux_raid_member", Start(4096), b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    ("LVM2_member", Start(0), b"LABELONE"),
    ("LVM2_member", Start(512), b"LABELONE"),
    ("LVM2_member", Start(1024), b"LABELONE"),
    ("LVM2_member", Start(1536), b"LABELONE"),
    ("btrfs", Start((64 << 10) + 64), b"_BHRfS_M"),
    ("btrfs", Start((64 << 20) + 64), b"_BHRfS_M"),
    ("btrfs", Start((256 << 30) + 64), b"_BHRfS_M"),
    ("xfs", Start(0), b"XFSB"),
    ("crypto_LUKS", Start(0), b"LUKS\xba\xbe"),
    ("crypto_LUKS", Start(0x4000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x8000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x1_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x2_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x4_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x8_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x10_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x20_0000), b"SKUL\xba\xbe"),
    ("crypto_LUKS", Start(0x40_0000), b"SKUL\xba\xbe"),
    ("bcache", Start(4096 + 24), b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("bcachefs", Start(4096 + 24), b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    ("swap", Start((4 << 10) - 10), b"SWAPSPACE2"),
    ("swap", Start((8 << 10) - 10), b"SWAPSPACE2"),
    ("swap", Start((16 << 10) - 10), b"SWAPSPACE2"),
    ("swap", Start((32 << 10) - 10), b"SWAPSPACE2"),
    ("swap", Start((64 << 10) - 10), b"SWAPSPACE2"),
    ("swap", Start((4 << 10) - 10), b"SWAP-SPACE"),
    ("swap", Start((8 << 10) - 10), b"SWAP-SPACE"),
    ("swsuspend", Start((4 << 10) - 10), b"S1SUSPEND"),
    ("swsuspend", Start((4 << 10) - 10), b"S2SUSPEND"),
    ("swsuspend", Start((4 << 10) - 10), b"LINHIB0001"),
    ("vfat", Start(0x52), b"FAT32   "),
    ("vfat", Start(0x36), b"FAT16   "),
    ("vfat", Start(0x36), b"FAT12   "),
    ("ntfs", Start(3), b"NTFS    "),
    ("exfat", Start(3), b"EXFAT   "),
    ("BitLocker", Start(3), b"-FVE-FS-"),
    ("iso9660", Start(0x8001), b"CD001"),
    ("udf", Start(0x8001), b"BEA01"),
    ("reiserfs", Start((64 << 10) + 52), b"ReIsEr"),
    ("reiserfs", Start((8 << 10) + 52), b"ReIsEr"),
    ("reiser4", Start(64 << 10), b"ReIsEr4"),
    ("jfs", Start(32 << 10), b"JFS1"),
    ("f2fs", Start(1024), b"\x10\x20\xf5\xf2"),
    ("f2fs", Start(4096 + 1024), b"\x10\x20\xf5\xf2"),
    ("gfs2", Start(64 << 10), b"\x01\x16\x19\x70"),
    ("ocfs2", Start(8192), b"OCFSV2"),
    ("ocfs2", Start(4096), b"OCFSV2"),
    ("squashfs", Start(0), b"hsqs"),
    ("erofs", Start(1024), b"\xe2\xe1\xf5\xe0"),
    ("apfs", Start(32), b"NXSB"),
    ("ufs", Start((8 << 10) + 1372), b"\x54\x19\x01\0"),
    ("ufs", Start((64 << 10) + 1372), b"\x19\x01\x54\x19"),
    ("VMFS_volume_member", Start(1 << 20), b"\x0d\xd0\x01\xc0"),
    ("VMFS", Start(2 << 20), b"\x5e\xf1\xab\x2f"),
    ("ceph_bluestore", Start(0), b"bluestore block device"),
    ("vdo", Start(0), b"dmvdo001"),
    ("DM_snapshot_cow", Start(0), b"SnAp"),
    ("DM_verity_hash", Start(0), b"verity\0\0"),
    ("DM_integrity", Start(0), b"integrt\0"),
    ("isw_raid_member", End(1024), b"Intel Raid ISM Cfg Sig. "),
    ("isw_raid_member", End(8192), b"Intel Raid ISM Cfg Sig. "),
    ("ddf_raid_member", End(512), b"\xde\x11\xde\x11"),
    ("ddf_raid_member", End(4096), b"\xde\x11\xde\x11"),
    ("lsi_mega_raid_member", End(512), b"$XIDE$"),
    ("nvidia_raid_member", End(1024), b"NVIDIA"),
    ("promise_fasttrack_raid_member", End(63 * 512), b"Promise Technology, Inc."),
    ("promise_fasttrack_raid_member", End(PROMISE * 512), b"Promise Technology, Inc."),
];

/// Something that was recognised, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What, in libblkid's words.
    pub kind: &'static str,
    /// Where its superblock or magic number stands, in bytes from the start of the range.
    pub offset: Bytes,
}

/// Everything that is recognised in a range of a medium, by place.
///
/// # Errors
/// The system's error when it cannot be read.
pub fn find<D: Read + Seek>(medium: &mut D, start: Bytes, size: Bytes) -> io::Result<Vec<Found>> {
    let size = size.get();
    let head = read(medium, start.get(), size.min(HEAD))?;
    let tail_at = size.saturating_sub(TAIL);
    let tail = read(medium, start.get().saturating_add(tail_at), size - tail_at)?;
    let mut found = Vec::new();
    for (kind, place, magic) in MAGIC {
        let Some(offset) = locate(*place, size) else { continue };
        let length = widen(magic.len());
        if offset.checked_add(length).is_none_or(|end| end > size) {
            continue;
        }
        let is_there = if let Some(bytes) = within(&head, 0, offset, magic.len()) {
            bytes == *magic
        } else if let Some(bytes) = within(&tail, tail_at, offset, magic.len()) {
            bytes == *magic
        } else {
            read(medium, start.get().saturating_add(offset), length)? == *magic
        };
        if is_there {
            found.push(Found { kind, offset: Bytes::new(offset) });
        }
    }
    found.extend(ext(&head));
    let labels = [0, 256 << 10].map(|label| within(&head, 0, label, LABEL).map(|bytes| (label, bytes)));
    let last = size / widen(LABEL) * widen(LABEL);
    let late = [512 << 10, 256 << 10].map(|back: u64| {
        let label = last.checked_sub(back)?;
        within(&tail, tail_at, label, LABEL).map(|bytes| (label, bytes))
    });
    found.extend(labels.into_iter().chain(late).flatten().filter_map(|(label, bytes)| zfs(label, bytes)));
    found.sort_unstable_by_key(|it| (it.offset, it.kind));
    found.dedup();
    Ok(found)
}

/// Makes everything unrecognisable that [`find`] and libblkid look for in a range; what lies elsewhere in it stays.
///
/// # Errors
/// `Medium` when it cannot be written.
pub fn clear<D: Write + Seek>(medium: &mut D, start: Bytes, size: Bytes) -> Result<()> {
    let size = size.get();
    start.get().checked_add(size).ok_or_else(|| Error::bug("a range that ends beyond 2^64"))?;
    let ends = size.min(ENDS);
    let promise = size.saturating_sub(PROMISE * 512) / BLOCK * BLOCK;
    // That of Promise need not begin with a block.
    let inside = FAR.iter().map(|at| (*at, BLOCK)).chain([(promise, 2 * BLOCK)]).filter(|(at, _)| *at < size);
    let inside = inside.map(|(at, length)| (at, length.min(size - at)));
    for (offset, length) in [(0, ends), (size - ends, ends)].into_iter().chain(inside) {
        zero(medium, start.get() + offset, length)?;
    }
    Ok(())
}

fn zero<D: Write + Seek>(medium: &mut D, offset: u64, length: u64) -> Result<()> {
    let length = usize::try_from(length).map_err(|_| Error::bug("an end longer than memory"))?;
    let what = || format!("writing zeroes at byte {offset}");
    medium.seek(SeekFrom::Start(offset)).context(Kind::Medium, what)?;
    medium.write_all(&vec![0; length]).context(Kind::Medium, what)
}

fn read<D: Read + Seek>(medium: &mut D, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    medium.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    medium.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn locate(place: Place, size: u64) -> Option<u64> {
    match place {
        Start(offset) => Some(offset),
        End(back) => size.checked_sub(back),
        Aligned(unit, back) => (size / unit * unit).checked_sub(back),
    }
}

/// So many bytes at `offset`, of a window that begins at `begin`.
fn within(window: &[u8], begin: u64, offset: u64, length: usize) -> Option<&[u8]> {
    let at = usize::try_from(offset.checked_sub(begin)?).ok()?;
    window.get(at..at.checked_add(length)?)
}

/// The magic number of ext has two bytes: what stands beside it must be a superblock, too (ext4(5), ondisk format).
fn ext(head: &[u8]) -> Option<Found> {
    const SUPERBLOCK: usize = 1024;
    let field = |at: usize| {
        let bytes = head.get(SUPERBLOCK + at..SUPERBLOCK + at + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let is_sane = field(0x38)? & 0xffff == 0xef53 && field(0x18)? <= 6 && field(0x4c)? <= 1;
    // Features that ext3 does not have: all but FILETYPE, RECOVER and META_BG; all but the first three.
    let is_newer = field(0x60)? & !0x16 != 0 || field(0x64)? & !0x7 != 0;
    let kind = match (is_newer, field(0x5c)? & 4 != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    is_sane.then_some(Found { kind, offset: Bytes::new(widen(SUPERBLOCK) + 0x38) })
}

/// Bytes of a label of ZFS.
const LABEL: usize = 256 << 10;

/// The second half of a label holds the ring of uberblocks, each with this number in its first eight bytes.
fn zfs(label: u64, bytes: &[u8]) -> Option<Found> {
    const MAGIC: u64 = 0x00ba_b10c;
    let ring = bytes.get(LABEL / 2..)?;
    let at = ring.chunks(1024).position(|block| {
        block.first_chunk().is_some_and(|it| *it == MAGIC.to_le_bytes() || *it == MAGIC.to_be_bytes())
    })?;
    Some(Found { kind: "zfs_member", offset: Bytes::new(label + widen(LABEL / 2 + at * 1024)) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;

    use super::*;
    use crate::scratch::Scratch;

    const GIB: u64 = 1 << 30;

    fn medium(scratch: &Scratch, size: u64) -> File {
        let path = scratch.path("medium");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(size).unwrap();
        file
    }

    fn run(tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(arguments).output().unwrap();
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn every_magic_number_is_found_at_its_place_and_cleared() {
        let scratch = Scratch::new();
        // The second is no multiple of anything, and begins where no superblock is aligned.
        for (start, size) in [(0, 300 * GIB), (2 * GIB + 512, 280 * GIB + 512 * 4321)] {
            let mut file = medium(&scratch, start + size);
            for (kind, place, magic) in MAGIC {
                let offset = locate(*place, size).unwrap();
                file.write_all_at(magic, start + offset).unwrap();
                let found = find(&mut file, Bytes::new(start), Bytes::new(size)).unwrap();
                let expected = Found { kind, offset: Bytes::new(offset) };
                assert!(found.contains(&expected), "{expected:?} is not among {found:?}");
                clear(&mut file, Bytes::new(start), Bytes::new(size)).unwrap();
                assert_eq!(find(&mut file, Bytes::new(start), Bytes::new(size)).unwrap(), [], "{kind} at {offset}");
            }
        }
    }

    #[test]
    fn clearing_stays_within_its_range_and_leaves_what_is_between_the_places() {
        let scratch = Scratch::new();
        let mut file = medium(&scratch, 80 << 20);
        file.write_all_at(&vec![0xa5; 80 << 20], 0).unwrap();
        clear(&mut file, Bytes::mib(1), Bytes::mib(70)).unwrap();
        let at = |offset: u64| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            byte[0]
        };
        let mib = |count: u64| count << 20;
        // Neighbours, the first MiB, btrfs' second superblock, the last MiB.
        assert_eq!([mib(1) - 1, mib(71)].map(at), [0xa5; 2]);
        assert_eq!([mib(1), mib(2) - 1, mib(65), mib(65) + 4095, mib(70), mib(71) - 1].map(at), [0; 6]);
        assert_eq!([mib(2) + 4096, mib(10), mib(65) - 1, mib(65) + 4096, mib(66)].map(at), [0xa5; 5]);
    }

    #[test]
    fn short_ranges_are_cleared_whole_and_read_to_their_end() {
        let scratch = Scratch::new();
        let mut file = medium(&scratch, 8192);
        file.write_all_at(&[0xa5; 8192], 0).unwrap();
        assert_eq!(find(&mut file, Bytes::new(512), Bytes::new(1024)).unwrap(), []);
        clear(&mut file, Bytes::new(512), Bytes::new(1024)).unwrap();
        let mut bytes = [0; 8192];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes[..512].iter().all(|&it| it == 0xa5) && bytes[512..1536].iter().all(|&it| it == 0));
        assert!(bytes[1536..].iter().all(|&it| it == 0xa5));
        assert_eq!(find(&mut file, Bytes::ZERO, Bytes::ZERO).unwrap(), []);
    }

    /// What `wipefs` finds, by place.
    fn by_wipefs(path: &str) -> Vec<(u64, String)> {
        let answer = run("wipefs", &["--no-act", "--parsable", "--output", "OFFSET,TYPE", path]);
        let parse = |line: &str| {
            let (offset, kind) = line.split_once(',').unwrap();
            (u64::from_str_radix(offset.trim_start_matches("0x"), 16).unwrap(), kind.to_owned())
        };
        let mut found: Vec<_> = answer.lines().filter(|line| !line.starts_with('#')).map(parse).collect();
        found.sort();
        found
    }

    #[test]
    fn what_real_tools_write_is_found_where_wipefs_finds_it_and_nothing_is_found_afterwards() {
        let scratch = Scratch::new();
        let path = scratch.path("medium");
        let path = path.to_str().unwrap();
        let makers: [&[&str]; 9] = [
            &["mkfs.ext2", "-q", "-F", path],
            &["mkfs.ext3", "-q", "-F", path],
            &["mkfs.ext4", "-q", "-F", path],
            &["mkfs.xfs", "-q", "-f", path],
            &["mkfs.btrfs", "-q", "-f", path],
            &["mkswap", "--pagesize", "4096", path],
            &["mkswap", "--pagesize", "65536", path],
            &["mkfs.vfat", "-F", "32", path],
            &["sgdisk", "--new", "1:0:0", path],
        ];
        for maker in makers {
            let mut file = medium(&scratch, 400 << 20);
            run(maker[0], &maker[1..]);
            let found = find(&mut file, Bytes::ZERO, Bytes::mib(400)).unwrap();
            let found: Vec<_> = found.iter().map(|it| (it.offset.get(), it.kind.to_owned())).collect();
            // 55AA and the jump before the code are libblkid's further marks of a FAT, the first of a protective MBR, too.
            let is_mark = |offset: u64, kind: &str| offset == 510 || (offset == 0 && kind == "vfat");
            let theirs: Vec<_> = by_wipefs(path).into_iter().filter(|(at, kind)| !is_mark(*at, kind)).collect();
            assert!(
                !theirs.is_empty() && theirs.iter().all(|it| found.contains(it)),
                "{maker:?}: {found:?}, {theirs:?}"
            );
            clear(&mut file, Bytes::ZERO, Bytes::mib(400)).unwrap();
            assert_eq!(by_wipefs(path), [], "{maker:?}");
        }
    }

    #[test]
    fn superblocks_beneath_another_are_found_and_erased_as_well() {
        let scratch = Scratch::new();
        let path = scratch.path("medium");
        let path = path.to_str().unwrap();
        let mut file = medium(&scratch, 400 << 20);
        run("mkfs.ext4", &["-q", "-F", path]);
        // The tools erase what they know of; what a plain copy of an image leaves behind, they never see.
        file.write_all_at(b"_BHRfS_M", (64 << 20) + 64).unwrap();
        // Labels of ZFS, each with a few uberblocks.
        for label in [0u64, 256 << 10, (400 << 20) - (512 << 10), (400 << 20) - (256 << 10)] {
            for block in 4..12 {
                file.write_all_at(&0x00ba_b10c_u64.to_le_bytes(), label + (128 << 10) + block * 1024).unwrap();
            }
        }
        let kinds = |file: &mut File| {
            let found = find(file, Bytes::ZERO, Bytes::mib(400)).unwrap();
            found.iter().map(|it| (it.kind, it.offset.get())).collect::<Vec<_>>()
        };
        let label = |at: u64| ("zfs_member", at + (128 << 10) + 4096);
        assert_eq!(
            kinds(&mut file),
            [
                ("ext4", 0x438),
                label(0),
                label(256 << 10),
                ("btrfs", (64 << 20) + 64),
                label((400 << 20) - (512 << 10)),
                label((400 << 20) - (256 << 10)),
            ]
        );
        clear(&mut file, Bytes::ZERO, Bytes::mib(400)).unwrap();
        assert_eq!(kinds(&mut file), []);
        assert_eq!(by_wipefs(path), []);
    }
}
