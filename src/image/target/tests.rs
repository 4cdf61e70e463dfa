//! Targets on real loop devices, and files.

use std::sync::Arc;

use super::*;
use crate::image::piece::{Piece, Pool};
use crate::image::writer::Writer;
use crate::loop_device::LoopDevice;
use crate::scratch::Scratch;

/// Writes an image of sevens, but for what is withheld.
fn write_sevens(target: &mut Target, mut length: usize) -> Body {
    let mut pool = Pool::new(PIECE, Arc::default());
    let mut writer = Writer::new(target, None, false);
    let mut at = 0;
    while length > 0 {
        let mut slab = pool.take().unwrap();
        slab.bytes_mut().fill(7);
        let count = length.min(PIECE);
        writer.put(Arc::new(Piece::data(at, slab, count))).unwrap();
        at += widen(count);
        length -= count;
    }
    writer.finish(|_| ()).unwrap()
}

/// An image of sevens with a hole of two MiB, but for what is withheld.
fn write_hole(target: &mut Target) -> Body {
    let mut pool = Pool::new(PIECE, Arc::default());
    let mut writer = Writer::new(target, None, false);
    for number in 0..6 {
        let at = number * widen(PIECE);
        let piece = match number {
            2 | 3 => Piece::hole(at, widen(PIECE)),
            _ => {
                let mut slab = pool.take().unwrap();
                slab.bytes_mut().fill(7);
                Piece::data(at, slab, PIECE)
            }
        };
        writer.put(Arc::new(piece)).unwrap();
    }
    writer.finish(|_| ()).unwrap()
}

#[test]
fn needs_root_zeros_that_a_device_only_promises_are_written() {
    let expected: Vec<u8> = (0..6 * PIECE).map(|at| if (2 * PIECE..4 * PIECE).contains(&at) { 0 } else { 7 }).collect();
    // A device that keeps its word, one that does nothing, and one that clears the end of what it should alone.
    let honest: fn(&File, u64, u64) -> io::Result<()> = block::punch;
    let lazy: fn(&File, u64, u64) -> io::Result<()> = |_, _, _| Ok(());
    let partial: fn(&File, u64, u64) -> io::Result<()> =
        |device, offset, length| block::punch(device, offset + 4096, length - 4096);
    for (punch, punched) in [(honest, 2 * PIECE), (lazy, 0), (partial, 0)] {
        let scratch = Scratch::new();
        let device = LoopDevice::new(&scratch.path("disk"), 8 << 20, 512);
        device.fill(9);
        let mut target = Target::open(device.path(), TargetKind::Device).unwrap();
        target.punch = punch;
        target.begin().unwrap();
        let body = write_hole(&mut target);
        target.reveal(&body).unwrap();
        assert_eq!(body.punched, widen(punched));
        assert_eq!(target.holes == Holes::Refused, punched == 0, "it is not asked a second time");
        drop(target);
        assert!(device.read()[..6 * PIECE] == expected, "the medium differs");
    }
}

#[test]
fn a_file_is_written_by_one_run_at_a_time() {
    let scratch = Scratch::new();
    let path = scratch.path("target.img");
    let open = || Target::open(&path, TargetKind::DeviceOrFile);
    let first = open().unwrap();
    let error = open().unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert_eq!(error.to_string(), format!("opening {}: another run writes to it", path.display()));
    drop(first);
    open().unwrap();
}

#[test]
fn needs_root_ends_are_taken_back_to_the_last_byte() {
    // An end that is no whole grain, no whole sector.
    let length = 4 * PIECE + 12_345;
    let scratch = Scratch::new();
    let device = LoopDevice::new(&scratch.path("disk"), 8 << 20, 512);
    device.fill(9);
    let mut target = Target::open(device.path(), TargetKind::Device).unwrap();
    target.begin().unwrap();
    let body = write_sevens(&mut target, length);
    target.reveal(&body).unwrap();
    let bytes = device.read();
    assert!(bytes[..length].iter().all(|&byte| byte == 7));

    target.conceal().unwrap();
    drop(target);
    let bytes = device.read();
    let (from, to) = (PIECE, length - PIECE - 12_345);
    assert!(bytes[..from].iter().all(|&byte| byte == 0), "the first MiB");
    assert!(bytes[from..to].iter().all(|&byte| byte == 7), "what is between");
    assert!(bytes[to..length].iter().all(|&byte| byte == 0), "the last MiB and what belongs to its grain");
    let end = bytes.len() - PIECE;
    assert!(bytes[length..end].iter().all(|&byte| byte == 9), "what lies behind the image");
    assert!(bytes[end..].iter().all(|&byte| byte == 0), "the end of the device");
}
