//! Entries of the L1 and L2 tables.

use super::header::Header;

/// Bits 9 to 55: where something begins.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The table or cluster is used once: of interest to writers alone.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const READS_AS_ZERO: u64 = 1;
/// Compressed data are counted in sectors.
const SECTOR: u64 = 512;

/// Where a cluster's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    Zero,
    /// They begin here in the file.
    Plain(u64),
    /// Those of the subclusters whose bits are set begin here, each at its place; the others are zero.
    Mixed(u64, u32),
    /// Compressed, somewhere between these bytes of the file.
    Packed(u64, u64),
}

/// Where an L2 table begins; nothing when everything under it is zero.
///
/// # Errors
/// What is wrong with the entry.
pub(super) fn l2_table(entry: u64, header: &Header) -> Result<Option<u64>, String> {
    if entry & !(OFFSET | COPIED) != 0 {
        return Err(format!("the L1 entry {entry:#018x} has reserved bits set"));
    }
    let offset = entry & OFFSET;
    if offset == 0 {
        return Ok(None);
    }
    in_file("L2 table", offset, header.cluster(), header)?;
    Ok(Some(offset))
}

/// Where a cluster is, of which the first `length` bytes belong to the image.
///
/// # Errors
/// What is wrong with the entry.
pub(super) fn cluster(entry: u64, bitmap: u64, length: u64, header: &Header) -> Result<Cluster, String> {
    if entry & COMPRESSED != 0 {
        return packed(entry, bitmap, header);
    }
    let allowed = if header.version == 2 || header.is_extended { 0 } else { READS_AS_ZERO };
    if entry & !(OFFSET | COPIED | allowed) != 0 {
        return Err(format!("the L2 entry {entry:#018x} has reserved bits set"));
    }
    let offset = entry & OFFSET;
    if header.is_extended {
        return mixed(offset, bitmap, length, header);
    }
    if entry & READS_AS_ZERO != 0 {
        return Ok(Cluster::Zero);
    }
    match offset {
        0 if entry & COPIED != 0 => Err(format!("the L2 entry {entry:#018x} places a cluster at the header")),
        0 => Ok(Cluster::Zero),
        _ => {
            in_file("cluster", offset, length, header)?;
            Ok(Cluster::Plain(offset))
        }
    }
}

/// A cluster of 32 subclusters: the low half of the bitmap tells those with data, the high half those that read as zero.
fn mixed(offset: u64, bitmap: u64, length: u64, header: &Header) -> Result<Cluster, String> {
    let [a, b, c, d, e, f, g, h] = bitmap.to_be_bytes();
    let (zeros, data) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    if zeros & data != 0 {
        return Err(format!("the subcluster bitmap {bitmap:#018x} says of one that it has data and that it has none"));
    }
    if data == 0 {
        return Ok(Cluster::Zero);
    }
    if offset == 0 {
        return Err(format!("the subcluster bitmap {bitmap:#018x} tells of data, and there is no cluster"));
    }
    // The file may end behind the last subcluster with data.
    let used = u64::from(32 - data.leading_zeros()) * (header.cluster() / 32);
    in_file("cluster", offset, used.min(length), header)?;
    Ok(if data == u32::MAX { Cluster::Plain(offset) } else { Cluster::Mixed(offset, data) })
}

/// The place has as many bits as the count of further sectors leaves: 62 - (cluster_bits - 8).
fn packed(entry: u64, bitmap: u64, header: &Header) -> Result<Cluster, String> {
    let place_bits = 70 - header.cluster_bits;
    let offset = entry & ((1 << place_bits) - 1);
    let further = (entry & !(COPIED | COMPRESSED)) >> place_bits;
    if bitmap != 0 {
        return Err(format!("the compressed cluster at {offset} has the subcluster bitmap {bitmap:#018x}"));
    }
    if offset >> 56 != 0 {
        return Err(format!("the L2 entry {entry:#018x} has reserved bits set"));
    }
    if offset < header.cluster() {
        return Err(format!("the L2 entry {entry:#018x} places a compressed cluster at the header"));
    }
    if offset >= header.file {
        return Err(format!(
            "the compressed cluster at {offset} begins behind the end of the file, {}: it is truncated or corrupt",
            header.file
        ));
    }
    // At most 2^56 and 2^14 sectors. The last sector need not be whole in the file.
    let end = offset / SECTOR * SECTOR + (further + 1) * SECTOR;
    Ok(Cluster::Packed(offset, end.min(header.file)))
}

fn in_file(what: &str, offset: u64, length: u64, header: &Header) -> Result<(), String> {
    if !offset.is_multiple_of(header.cluster()) {
        let cluster = header.cluster();
        return Err(format!("the {what} at {offset} begins at no multiple of the cluster size {cluster}"));
    }
    // Both below 2^57.
    if offset + length > header.file {
        return Err(format!(
            "the {what} at {offset} of {length} bytes ends behind the end of the file, {}: it is truncated or corrupt",
            header.file
        ));
    }
    Ok(())
}
