//! The header of a qcow2 file: what the image is, and what of it cannot be read here.
//!
//! After QEMU's `docs/interop/qcow2`. Numbers are big-endian.

use crate::units::widen;

/// As much of the file as is looked at for the header and its extensions; those that QEMU writes take less than 1 KiB.
pub(super) const HEAD: usize = 64 << 10;

const MAGIC: &[u8] = b"QFI\xfb";

/// Bytes of the header of version 2, which version 3 begins with too.
const V2_LENGTH: usize = 72;

/// Bytes that the header of version 3 has at least.
const V3_LENGTH: u32 = 104;

/// QEMU's own limit of the L1 table.
const L1_MOST: u64 = 32 << 20;

/// QEMU refuses longer names of backing files.
const NAME_MOST: u32 = 1023;

/// Subclusters have at least 512 bytes, and a cluster has 32 of them.
const EXTENDED_BITS: u32 = 14;

mod incompatible {
    pub(super) const DIRTY: u64 = 1;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const EXTERNAL_DATA: u64 = 1 << 2;
    pub(super) const COMPRESSION: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
    pub(super) const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2;
}

/// How compressed clusters are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What the header says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    /// Binary logarithm of the cluster size, 9 to 21.
    pub(super) cluster_bits: u32,
    /// Bytes of the image.
    pub(super) size: u64,
    /// Where the active L1 table begins.
    pub(super) l1_offset: u64,
    /// Entries of it that the image needs; what follows is the state of saved machines.
    pub(super) l1_entries: u64,
    pub(super) compression: Compression,
    /// Whether L2 entries tell subclusters.
    pub(super) is_extended: bool,
    /// Whether counts of references may be wrong, which reading does not need.
    pub(super) is_dirty: bool,
    /// Bytes of the file.
    pub(super) file: u64,
}

impl Header {
    /// Reads the first bytes of a file, at most [`HEAD`], of `file` bytes.
    ///
    /// # Errors
    /// What is wrong or cannot be read here, with the byte of the file.
    pub(super) fn parse(head: &[u8], file: u64) -> Result<Self, String> {
        if !head.starts_with(MAGIC) {
            return Err("at byte 0: the mark of qcow2 is missing".to_owned());
        }
        if head.len() < V2_LENGTH {
            return Err(format!("the file ends in its header: it has {file} bytes, expected at least {V2_LENGTH}"));
        }
        let version = u32_at(head, 4)?;
        if !matches!(version, 2 | 3) {
            return Err(format!("at byte 4: the version is {version}, expected 2 or 3"));
        }
        let cluster_bits = u32_at(head, 20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(format!("at byte 20: the cluster size is 2^{cluster_bits}, expected 2^9 to 2^21"));
        }
        let length = header_length(head, version, cluster_bits)?;
        let extensions = Extensions::walk(head, length, cluster_bits)?;
        check_backing(head)?;
        match u32_at(head, 32)? {
            0 => {}
            1 => return Err("at byte 32: it is encrypted with AES".to_owned()),
            2 => return Err("at byte 32: it is encrypted with LUKS".to_owned()),
            other => return Err(format!("at byte 32: it is encrypted by the unknown method {other}")),
        }
        let features = if version == 2 { 0 } else { u64_at(head, 72)? };
        check_features(features, &extensions)?;
        let is_extended = features & incompatible::EXTENDED_L2 != 0;
        if is_extended && cluster_bits < EXTENDED_BITS {
            return Err(format!("at byte 20: extended L2 entries need clusters of 2^14 bytes, found 2^{cluster_bits}"));
        }
        let mut header = Self {
            version,
            cluster_bits,
            size: u64_at(head, 24)?,
            l1_offset: u64_at(head, 40)?,
            l1_entries: 0,
            compression: compression(head, length, features)?,
            is_extended,
            is_dirty: features & incompatible::DIRTY != 0,
            file,
        };
        header.l1_entries = header.checked_l1(u32_at(head, 36)?)?;
        Ok(header)
    }

    /// Bytes of a cluster.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes of an L2 entry.
    pub(super) fn entry(&self) -> u64 {
        if self.is_extended { 16 } else { 8 }
    }

    /// Bytes of the image under one L2 table; at most 2^39.
    pub(super) fn covered(&self) -> u64 {
        self.cluster() / self.entry() * self.cluster()
    }

    /// How many entries of the L1 table are needed, once the table is known to be large enough and to lie in the file.
    fn checked_l1(&self, entries: u32) -> Result<u64, String> {
        let (bytes, needed) = (u64::from(entries) * 8, self.size.div_ceil(self.covered()));
        if bytes > L1_MOST {
            return Err(format!("at byte 36: the L1 table has {bytes} bytes, at most {L1_MOST} are read"));
        }
        if needed > u64::from(entries) {
            let size = self.size;
            return Err(format!(
                "at byte 36: the L1 table has {entries} entries, an image of {size} bytes needs {needed}"
            ));
        }
        if !self.l1_offset.is_multiple_of(self.cluster()) {
            let (offset, cluster) = (self.l1_offset, self.cluster());
            return Err(format!(
                "at byte 40: the L1 table begins at {offset}, which is no multiple of the cluster size {cluster}"
            ));
        }
        let end = self.l1_offset.checked_add(needed * 8);
        if end.is_none_or(|end| end > self.file) {
            return Err(format!(
                "at byte 40: the L1 table of {} bytes at {} ends behind the end of the file, {}",
                needed * 8,
                self.l1_offset,
                self.file
            ));
        }
        if needed > 0 && self.l1_offset == 0 {
            return Err("at byte 40: there is no L1 table".to_owned());
        }
        Ok(needed)
    }
}

fn header_length(head: &[u8], version: u32, cluster_bits: u32) -> Result<usize, String> {
    if version == 2 {
        return Ok(V2_LENGTH);
    }
    let length = u32_at(head, 100)?;
    if length < V3_LENGTH || !length.is_multiple_of(8) || length > 1 << cluster_bits {
        return Err(format!(
            "at byte 100: the header has {length} bytes, expected a multiple of 8 from {V3_LENGTH} to the cluster size"
        ));
    }
    let order = u32_at(head, 96)?;
    if order > 6 {
        return Err(format!("at byte 96: counts of references have 2^{order} bits, expected at most 2^6"));
    }
    let length = usize::try_from(length).ok().filter(|&length| length <= head.len());
    length.ok_or_else(|| format!("the file ends in its header: only {} bytes of it are there", head.len()))
}

fn check_backing(head: &[u8]) -> Result<(), String> {
    let (offset, length) = (u64_at(head, 8)?, u32_at(head, 16)?);
    if offset == 0 {
        return Ok(());
    }
    let name = usize::try_from(offset).ok().zip(usize::try_from(length.min(NAME_MOST)).ok());
    let name = name.and_then(|(offset, length)| head.get(offset..offset.checked_add(length)?));
    let name = name.map_or_else(|| "its name is out of reach".into(), String::from_utf8_lossy);
    Err(format!(
        "at byte 8: it holds only what differs from a backing file ({name:?}): make one image of both with `qemu-img convert`"
    ))
}

fn check_features(features: u64, extensions: &Extensions) -> Result<(), String> {
    let unknown = features & !incompatible::KNOWN;
    if unknown != 0 {
        let bit = unknown.trailing_zeros();
        let name = extensions.feature_name(bit).map(|name| format!(" ({name:?})")).unwrap_or_default();
        return Err(format!("at byte 72: it needs the unknown feature {bit}{name}"));
    }
    if features & incompatible::CORRUPT != 0 {
        return Err("at byte 72: it is marked as corrupt: mend it with `qemu-img check -r all`".to_owned());
    }
    if features & incompatible::EXTERNAL_DATA != 0 {
        return Err("at byte 72: its data are in another file: make one of both with `qemu-img convert`".to_owned());
    }
    Ok(())
}

fn compression(head: &[u8], length: usize, features: u64) -> Result<Compression, String> {
    let found = if length > 104 { head.get(104).copied().unwrap_or_default() } else { 0 };
    match (features & incompatible::COMPRESSION != 0, found) {
        (false, 0) => Ok(Compression::Zlib),
        (true, 1) => Ok(Compression::Zstd),
        (true, 0) => Err("at byte 104: the compression is zlib, and the feature bits say another".to_owned()),
        (false, found) => Err(format!("at byte 104: the compression is {found}, and the feature bits say zlib")),
        (true, found) => Err(format!("at byte 104: the compression {found} is unknown")),
    }
}

/// What follows the header; only the names of features are of use, to tell what cannot be read.
struct Extensions<'a> {
    features: &'a [u8],
}

impl<'a> Extensions<'a> {
    const END: u32 = 0;
    const FEATURE_NAMES: u32 = 0x6803_f857;
    /// Bytes of a feature's name and what stands before it.
    const FEATURE: usize = 48;

    fn walk(head: &'a [u8], from: usize, cluster_bits: u32) -> Result<Self, String> {
        let cluster = 1_usize << cluster_bits;
        // A backing file's name follows the extensions.
        let limit = match usize::try_from(u64_at(head, 8)?) {
            Ok(backing) if backing > from => backing.min(cluster),
            _ => cluster,
        };
        let (mut at, mut features) = (from, &head[..0]);
        // A file may end behind its header, or the extensions with the cluster.
        while let Some((kind, length)) = u32_at(head, at).ok().zip(u32_at(head, at + 4).ok())
            && at + 8 <= limit
            && kind != Self::END
        {
            let wrong = || {
                let most = limit.min(head.len());
                format!("at byte {at}: the header extension {kind:#x} has {length} bytes and would end behind {most}")
            };
            let length = usize::try_from(length).map_err(|_| wrong())?;
            let end = (at + 8).checked_add(length).filter(|&end| end <= limit).ok_or_else(wrong)?;
            let data = head.get(at + 8..end).ok_or_else(wrong)?;
            if kind == Self::FEATURE_NAMES {
                features = data;
            }
            at = end.next_multiple_of(8);
        }
        Ok(Self { features })
    }

    fn feature_name(&self, bit: u32) -> Option<String> {
        let mut names = self.features.chunks_exact(Self::FEATURE);
        let entry = names.find(|entry| entry[0] == 0 && u32::from(entry[1]) == bit)?;
        let name = entry[2..].split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

fn bytes_at<const N: usize>(head: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = at.checked_add(N).and_then(|end| head.get(at..end)?.first_chunk().copied());
    found.ok_or_else(|| format!("the file ends in its header: only {} bytes of it are there", widen(head.len())))
}

fn u32_at(head: &[u8], at: usize) -> Result<u32, String> {
    bytes_at(head, at).map(u32::from_be_bytes)
}

fn u64_at(head: &[u8], at: usize) -> Result<u64, String> {
    bytes_at(head, at).map(u64::from_be_bytes)
}
