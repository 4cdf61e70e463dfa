//! The readers of foreign bytes as `fuzz/` calls them. Only there: it compiles with `--cfg fuzzing`.

use std::io::{Cursor, Read as _};
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::request::Container;
use crate::units::{MaxWindow, widen};

use super::archive;
use super::bmap::Bmap;
use super::portion::Stretch;
use super::qcow2::Qcow2;
use super::ranged::Ranged;
use super::split::{LARGEST, Next, Splitter};
use super::unpack::{self, Unpack};

/// Bytes of an image after which one input has told enough.
const ENOUGH: u64 = 16 << 20;

/// A file in memory that knows where it ends.
#[derive(Clone)]
struct Memory(Arc<[u8]>);

impl Ranged for Memory {
    fn length(&self) -> u64 {
        widen(self.0.len())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let range = usize::try_from(offset).ok().and_then(|from| Some(from..from.checked_add(buffer.len())?));
        let found = range.and_then(|range| self.0.get(range));
        buffer.copy_from_slice(found.ok_or_else(|| Error::bug("a read beyond the end of the file"))?);
        Ok(())
    }

    fn fetched(&self) -> u64 {
        0
    }
}

/// A qcow2 image: whatever comes, at most 2 MiB at once, and never a read beyond the end.
///
/// # Panics
/// When a promise is not kept.
pub fn qcow2(bytes: &[u8]) {
    let file = Memory(bytes.into());
    let told = read_qcow2(&file);
    if let Err(error) = told {
        assert_eq!(error.kind(), Kind::Image, "{error}");
    }
}

fn read_qcow2(file: &Memory) -> Result<()> {
    let mut image = Qcow2::open(Box::new(file.clone()), Box::new(file.clone()))?;
    let (mut length, mut data, mut holes): (u64, u64, u64) = (0, 0, 0);
    while let Some(stretch) = image.next()? {
        match stretch {
            Stretch::Hole(hole) => {
                length += hole;
                holes += 1;
            }
            Stretch::Data(portion) => {
                assert!((1..=2 << 20).contains(&portion.length()));
                let _told = portion.unpack(&mut vec![0; portion.length()]);
                length += widen(portion.length());
                data += widen(portion.length());
            }
        }
        assert!(length <= image.size());
        if data > ENOUGH || holes > 1000 {
            return Ok(());
        }
    }
    assert_eq!(length, image.size());
    Ok(())
}

/// A block map: its ranges are in order, apart, and within the image.
///
/// # Panics
/// When a promise is not kept.
pub fn bmap(bytes: &[u8]) {
    match Bmap::parse(bytes) {
        Ok(map) => {
            let mut free = 0;
            for range in &map.ranges {
                assert!(free <= range.start && range.start < range.end && range.end <= map.image_size);
                free = range.end;
            }
            assert!(map.mapped() <= map.image_size);
        }
        Err(words) => assert!(words.starts_with("at ") || words.starts_with("the block map has "), "{words}"),
    }
}

/// A packed stream; the first byte chooses the form.
pub fn packed(bytes: &[u8]) {
    let Some((&choice, packed)) = bytes.split_first() else { return };
    let container = Container::ALL[usize::from(choice) % Container::ALL.len()];
    let Ok(Some(codec)) = unpack::codec(container, MaxWindow::default()) else { return };
    let mut image = Unpack::new(Cursor::new(packed), codec).take(ENOUGH);
    let mut buffer = vec![0; 64 << 10];
    // Odd lengths meet decoders in the middle of what they do.
    for length in [1, 7, 4096, 65_536].into_iter().cycle() {
        match image.read(&mut buffer[..length]) {
            Ok(0) | Err(_) => return,
            Ok(count) => assert!(count <= length),
        }
    }
}

/// A packed stream that is cut at its members (an even first byte) or frames: its parts make nothing that unpacking in order
/// does not make.
///
/// # Panics
/// When a promise is not kept.
pub fn split(bytes: &[u8]) {
    let Some((&choice, mut packed)) = bytes.split_first() else { return };
    let container = if choice % 2 == 0 { Container::Gzip } else { Container::Zstd };
    let window = MaxWindow::default();
    let (Some(mut splitter), Ok(Some(codec))) = (Splitter::new(container, window), unpack::codec(container, window))
    else {
        return;
    };
    let mut in_order = Unpack::new(Cursor::new(packed), codec);
    let mut made = 0;
    while let Ok(Next::Portion(portion)) = splitter.next(&mut packed) {
        assert!((1..=LARGEST).contains(&portion.length()));
        let mut part = vec![0; portion.length()];
        let Ok(count) = portion.unpack(&mut part) else { return };
        let mut expected = vec![0; count];
        assert!(in_order.read_exact(&mut expected).is_ok() && expected == part[..count]);
        made += widen(count);
        if made > ENOUGH {
            return;
        }
    }
}

/// An archive: its headers, extensions and names.
///
/// # Panics
/// When a promise is not kept.
pub fn archive(bytes: &[u8]) {
    archive::read_all(bytes);
}
