//! One header block of a tar archive. Pure.
//!
//! The three dialects in use (POSIX ustar, GNU, and the old form before both) differ in what stands behind the name of the
//! link. Numbers are octal digits, or base-256 where the first bit of the field is set (GNU tar's manual, "Basic Tar Format").

/// Bytes of a block: a header, or a part of an entry's data.
pub(super) const BLOCK: usize = 512;

/// A part of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What GNU's own header says of a sparse file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldSparse {
    pub(super) parts: Vec<Part>,
    /// Whether a block with further parts follows.
    pub(super) is_continued: bool,
    pub(super) real_size: u64,
}

/// A header as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) sparse: Option<OldSparse>,
}

/// Whether a block holds nothing but zeros: two such blocks end an archive.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Whether a stream that begins so may be an archive: its first block has the checksum of a header.
pub(super) fn is_header(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|block| !is_zero(block) && has_checksum(block))
}

/// Reads a header.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Header, String> {
    if !has_checksum(block) {
        return Err("its header is corrupt: the checksum differs".to_owned());
    }
    let field = |from: usize, length: usize| &block[from..from + length];
    let kind = block[156];
    let is_gnu = field(257, 8) == b"ustar  \0";
    let is_posix = !is_gnu && field(257, 5) == b"ustar";
    let mut name = text(field(0, 100)).to_vec();
    if is_posix && block[345] != 0 {
        // star's form has times behind 131 bytes of the prefix.
        let length = if field(508, 4) == b"tar\0" { 131 } else { 155 };
        name = [text(field(345, length)), b"/", &name].concat();
    }
    let is_device = (is_gnu || is_posix) && matches!(kind, b'3' | b'4');
    let device = |from: usize, what: &str| if is_device { unsigned(field(from, 8), what) } else { Ok(0) };
    Ok(Header {
        kind,
        name,
        link: text(field(157, 100)).to_vec(),
        mode: u32::try_from(unsigned(field(100, 8), "mode")? & 0o7777).map_err(|cause| cause.to_string())?,
        uid: unsigned(field(108, 8), "owner")?,
        gid: unsigned(field(116, 8), "group")?,
        size: unsigned(field(124, 12), "size")?,
        mtime: number(field(136, 12), "time")?,
        major: device(329, "device number")?,
        minor: device(337, "device number")?,
        sparse: if kind == b'S' { Some(old_sparse(block)?) } else { None },
    })
}

/// The map in a header of GNU's: four parts, whether more follow, and the file's real size.
fn old_sparse(block: &[u8; BLOCK]) -> Result<OldSparse, String> {
    let parts = old_parts(&block[386..482])?;
    Ok(OldSparse { parts, is_continued: block[482] != 0, real_size: unsigned(&block[483..495], "real size")? })
}

/// A block that continues such a map: 21 parts, and whether more follow.
pub(super) fn old_continuation(block: &[u8; BLOCK]) -> Result<(Vec<Part>, bool), String> {
    Ok((old_parts(&block[..504])?, block[504] != 0))
}

fn old_parts(fields: &[u8]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for field in fields.chunks_exact(24).take_while(|field| field[0] != 0) {
        let (offset, length) = field.split_at(12);
        parts.push(Part { offset: unsigned(offset, "sparse map")?, length: unsigned(length, "sparse map")? });
    }
    Ok(parts)
}

/// The sum over all bytes, those of the checksum's own field as blanks. Some old programs summed signed bytes.
fn has_checksum(block: &[u8; BLOCK]) -> bool {
    let with_blanks = |at: usize| if (148..156).contains(&at) { b' ' } else { block[at] };
    let unsigned_sum: i64 = (0..BLOCK).map(|at| i64::from(with_blanks(at))).sum();
    let signed_sum: i64 = (0..BLOCK).map(|at| i64::from(with_blanks(at).cast_signed())).sum();
    number(&block[148..156], "checksum").is_ok_and(|sum| sum == unsigned_sum || sum == signed_sum)
}

/// Bytes before the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn unsigned(field: &[u8], what: &str) -> Result<u64, String> {
    let value = number(field, what)?;
    u64::try_from(value).map_err(|_| format!("its {what} is negative: {value}"))
}

/// A number in octal digits or in base 256, there in two's complement.
fn number(field: &[u8], what: &str) -> Result<i64, String> {
    let fault = || format!("its {what} is no number: {:?}", String::from_utf8_lossy(text(field)));
    match field.first() {
        Some(&first) if first & 0x80 != 0 => {
            let is_negative = first & 0x40 != 0;
            let start = if is_negative { -1 } else { 0 };
            let bytes =
                std::iter::once(if is_negative { first } else { first & 0x7f }).chain(field[1..].iter().copied());
            bytes
                .into_iter()
                .try_fold(start, |value: i64, byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
                .ok_or_else(fault)
        }
        _ => {
            let digits = text(field).trim_ascii();
            let value = digits.iter().try_fold(0_i64, |value, &digit| {
                let digit = digit.checked_sub(b'0').filter(|&digit| digit < 8)?;
                value.checked_mul(8)?.checked_add(i64::from(digit))
            });
            value.ok_or_else(fault)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::archive::making;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0", "x"), Ok(0o644));
        assert_eq!(number(b"   644 \0", "x"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0", "x"), Ok(0));
        assert_eq!(number(b"\x80\0\0\x02\0\0\0\0", "x"), Ok(2 << 32));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe", "x"), Ok(-2));
        assert_eq!(number(b"00008\0", "time"), Err("its time is no number: \"00008\"".to_owned()));
        assert_eq!(
            number(b"\x80\x80\0\0\0\0\0\0\0\0\0", "size").unwrap_err(),
            "its size is no number: \"\u{fffd}\u{fffd}\""
        );
        assert_eq!(unsigned(b"\xff\xff", "size"), Err("its size is negative: -1".to_owned()));
    }

    #[test]
    fn header_is_read_and_its_checksum_checked() {
        let mut block = making::header(b"dir/file", b'0', 5);
        let header = parse(&block).unwrap();
        assert_eq!((header.name.as_slice(), header.kind, header.size), (&b"dir/file"[..], b'0', 5));
        assert_eq!((header.mode, header.mtime), (0o644, 1_000_000_000));
        assert_eq!(header.uid, u64::from(nix::unistd::geteuid().as_raw()));
        assert!(is_header(&block));
        block[0] ^= 1;
        assert_eq!(parse(&block), Err("its header is corrupt: the checksum differs".to_owned()));
        assert!(!is_header(&block) && !is_header(&[0; 512]) && !is_header(b"short"));
    }

    #[test]
    fn prefix_stands_before_the_name() {
        let mut block = making::header(b"file", b'0', 0);
        block[345..350].copy_from_slice(b"a/b/c");
        making::seal(&mut block);
        assert_eq!(parse(&block).unwrap().name, b"a/b/c/file");
    }
}
