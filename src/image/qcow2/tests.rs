mod faults;
mod real;

use std::sync::{Arc, Mutex};

use super::*;

/// A file in memory that notes what is read of it.
#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Vec<u8>>,
    reads: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Memory {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), ..Self::default() }
    }
}

impl Ranged for Memory {
    fn length(&self) -> u64 {
        widen(self.bytes.len())
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.reads.lock().unwrap().push((offset, buffer.len()));
        let from = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.bytes[from..from + buffer.len()]);
        Ok(())
    }

    fn fetched(&self) -> u64 {
        widen(self.reads.lock().unwrap().iter().map(|(_, length)| length).sum())
    }
}

fn open(file: &Memory) -> Result<Qcow2> {
    Qcow2::open(Box::new(file.clone()), Box::new(Memory::new(file.bytes.to_vec())))
}

/// A stretch as it is compared: where it begins, its length, whether it has data.
type Shape = (u64, u64, bool);

/// Reads an image of at most 256 MiB; checks what is promised of stretches.
fn read(file: &Memory) -> std::result::Result<(Vec<u8>, Vec<Shape>), String> {
    let mut image = open(file).map_err(|error| error.to_string())?;
    let (mut bytes, mut shapes) = (Vec::new(), Vec::new());
    while let Some(stretch) = image.next().map_err(|error| error.to_string())? {
        let start = widen(bytes.len());
        assert!(start.is_multiple_of(GRAIN));
        let length = match stretch {
            Stretch::Hole(length) => {
                bytes.resize(bytes.len() + usize::try_from(length).unwrap(), 0);
                shapes.push((start, length, false));
                usize::try_from(length).unwrap()
            }
            Stretch::Data(portion) => {
                let from = bytes.len();
                bytes.resize(from + portion.length(), 0xee);
                portion.unpack(&mut bytes[from..])?;
                shapes.push((start, widen(portion.length()), true));
                assert!(portion.length() <= 2 << 20);
                portion.length()
            }
        };
        assert!(length > 0);
        if bytes.len() > 256 << 20 {
            return Err("the image is longer than a test reads".to_owned());
        }
    }
    if widen(bytes.len()) == image.size() { Ok((bytes, shapes)) } else { Err("length differs".to_owned()) }
}

/// Bytes that no packer makes smaller, different for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(step).collect()
}
