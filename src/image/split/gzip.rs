//! Members of gzip. Those of bgzip tell their length; the ends of others are guessed by what looks like the next member,
//! and the guess is proved by unpacking: every member must end just where the next begins. RFC 1952; SAM 1.6, section 4.1.

use std::cell::RefCell;
use std::io::{self, BufRead};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{LARGEST, LARGEST_PACKED, Next, Portion, SMALLEST, need, take};

const FIXED: usize = 10;
const TRAILER: usize = 8;

const HAS_HEADER_CHECKSUM: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

/// Proposes runs of whole members.
#[derive(Default)]
pub(super) struct Gzip {
    /// Up to where no member was found to begin.
    searched: usize,
    /// Whether it is of bgzip, whose members all are small.
    pub(super) is_blocked: bool,
}

impl Gzip {
    pub(super) fn next(&mut self, ahead: &mut Vec<u8>, packed: &mut impl BufRead) -> io::Result<Next> {
        let (mut end, mut length) = (0, 0);
        let mut why = None;
        while length < SMALLEST && end < LARGEST_PACKED {
            if !need(ahead, packed, end + FIXED)? {
                if ahead.is_empty() {
                    return Ok(Next::End);
                }
                break;
            }
            let found = if is_member(&ahead[end..]) { self.member_end(ahead, packed, end)? } else { None };
            let made = found.and_then(|next| Some((next, made(ahead.get(end..next)?)?)));
            match made {
                Some((next, made)) if length + made <= LARGEST => (end, length) = (next, length + made),
                Some((_, made)) if length == 0 => {
                    why = Some(format!("a member has {} MiB", made >> 20));
                    break;
                }
                _ => break,
            }
        }
        if length == 0 {
            return Ok(Next::InOrder(std::mem::take(ahead), why));
        }
        self.searched = 0;
        Ok(Next::Portion(Box::new(Members { packed: take(ahead, end), length })))
    }

    /// Where the member that begins at `start` ends.
    fn member_end(
        &mut self,
        ahead: &mut Vec<u8>,
        packed: &mut impl BufRead,
        start: usize,
    ) -> io::Result<Option<usize>> {
        if ahead[start + 3] & HAS_EXTRA != 0
            && need(ahead, packed, start + FIXED + 8)?
            && let Some(length) = block_length(&ahead[start..])
        {
            let end = start + length;
            self.is_blocked = true;
            return Ok(need(ahead, packed, end)?.then_some(end));
        }
        let mut at = self.searched.max(start + FIXED + TRAILER);
        while at - start <= LARGEST_PACKED {
            // Searched a stretch at a time, so that a stream is not read far ahead for nothing.
            let more = need(ahead, packed, at + STRETCH)?;
            let last = if more { at + STRETCH - FIXED } else { ahead.len().saturating_sub(FIXED) };
            let stretch = ahead.get(at..(last + FIXED).min(ahead.len())).unwrap_or_default();
            if let Some(found) = find_member(stretch) {
                self.searched = at + found;
                return Ok(Some(at + found));
            }
            if !more {
                // Without another member this one ends with the stream; alone it is not worth a thread.
                return Ok((start > 0).then_some(ahead.len()));
            }
            at = last;
            self.searched = at;
        }
        Ok(None)
    }
}

/// How much is searched at once.
const STRETCH: usize = 256 << 10;

/// Whether a member may begin here: method, flags that exist, and extra flags and system as they are written by tools.
fn is_member(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1f, 0x8b, 8, flags, _, _, _, _, extra, system, ..]
        if flags & 0xe0 == 0 && matches!(extra, 0 | 2 | 4) && matches!(system, 0..=13 | 255))
}

fn find_member(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let found = rest.windows(3).position(|mark| mark == [0x1f, 0x8b, 8])?;
        if is_member(&rest[found..]) {
            return Some(from + found);
        }
        from += found + 1;
    }
}

/// The length of a member of bgzip, from its extra field.
fn block_length(member: &[u8]) -> Option<usize> {
    match member.get(FIXED..FIXED + 8)? {
        [6, 0, b'B', b'C', 2, 0, low, high] => Some(usize::from(u16::from_le_bytes([*low, *high])) + 1),
        _ => None,
    }
}

/// What a member makes, from its last four bytes.
fn made(member: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*member.last_chunk()?)).ok()
}

/// Whole members.
struct Members {
    packed: Vec<u8>,
    length: usize,
}

thread_local! {
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

impl Portion for Members {
    fn length(&self) -> usize {
        self.length
    }

    fn unpack(&self, mut image: &mut [u8]) -> Result<usize, String> {
        let mut packed = &self.packed[..];
        while !packed.is_empty() {
            let (taken, given) = INFLATE.with_borrow_mut(|inflate| member(inflate, packed, image))?;
            packed = packed.get(taken..).unwrap_or_default();
            image = image.get_mut(given..).unwrap_or_default();
        }
        if image.is_empty() { Ok(self.length) } else { Err(format!("{} bytes are missing", image.len())) }
    }

    fn into_packed(self: Box<Self>) -> Vec<u8> {
        self.packed
    }
}

/// Unpacks one member; tells how many bytes it took and gave.
fn member(inflate: &mut Decompress, packed: &[u8], image: &mut [u8]) -> Result<(usize, usize), String> {
    let start = header_length(packed).ok_or("a member's header is not whole")?;
    inflate.reset(false);
    let status = inflate.decompress(&packed[start..], image, FlushDecompress::Finish);
    if status.map_err(|error| error.to_string())? != Status::StreamEnd {
        return Err("a member is longer than it says".to_owned());
    }
    let length = |count: u64| usize::try_from(count).map_err(|_| "a member is too long".to_owned());
    let (end, given) = (start + length(inflate.total_in())?, length(inflate.total_out())?);
    let trailer = packed.get(end..end + TRAILER).ok_or("a member's checksum is missing")?;
    let mut sum = Crc::new();
    sum.update(image.get(..given).unwrap_or_default());
    if trailer != [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat() {
        return Err("a member's checksum is wrong".to_owned());
    }
    Ok((end + TRAILER, given))
}

fn header_length(member: &[u8]) -> Option<usize> {
    if !is_member(member) {
        return None;
    }
    let flags = member[3];
    let mut at = FIXED;
    if flags & HAS_EXTRA != 0 {
        at += 2 + usize::from(u16::from_le_bytes(*member.get(at..)?.first_chunk()?));
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            at += 1 + member.get(at..)?.iter().position(|&byte| byte == 0)?;
        }
    }
    if flags & HAS_HEADER_CHECKSUM != 0 {
        at += 2;
    }
    (at < member.len()).then_some(at)
}
