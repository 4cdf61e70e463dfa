//! Reading back what was written, while more is written and after that, and comparing it.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::Hasher as _;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use twox_hash::XxHash3_64;

use crate::error::{Context as _, Error, Kind, Result};
use crate::sys::block::{self, AlignedBuffer};
use crate::units::widen;

use super::ledger::Segment;
use super::medium::medium_words;
use super::piece::PIECE;

/// Segments that are read in one go while the image is still written; before each go the medium is flushed.
const BATCH: usize = 8;

/// What can be read at any place.
pub(super) trait ReadAt: Send + Sync + 'static {
    fn read_from(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes sure that what is read comes from the medium.
    fn sync(&self) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_from(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        block::flush(self).map_err(io::Error::other)
    }
}

/// What reading back came to.
#[derive(Debug)]
pub(super) enum Difference {
    /// Somewhere in these bytes, end excluded.
    Between(u64, u64),
    /// The medium ends here.
    Ends(u64),
    /// It cannot be read here.
    Unreadable(u64, io::Error),
}

impl From<Difference> for Error {
    fn from(difference: Difference) -> Self {
        let words = match difference {
            Difference::Between(start, end) => format!("bytes {start} to {end} are not what was written"),
            Difference::Ends(at) => format!("at byte {at}: the medium ends"),
            Difference::Unreadable(at, cause) => format!("at byte {at}: {}", medium_words(&cause)),
        };
        Self::new(Kind::Medium, format!("reading back: {words}"))
    }
}

/// Reads what was written of a segment and compares its hash. Whole buffers are asked for, so that direct I/O finds its
/// alignment.
pub(super) fn compare(medium: &impl ReadAt, buffer: &mut [u8], segment: &Segment) -> Result<(), Difference> {
    let mut hash = XxHash3_64::new();
    let mut end = segment.start;
    for (start, length) in segment.runs() {
        end = start + length;
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            read_full(medium, part, at)?;
            hash.write(part);
            at += widen(want);
        }
    }
    if hash.finish() == segment.hash { Ok(()) } else { Err(Difference::Between(segment.start, end)) }
}

/// Fills the buffer.
pub(super) fn read_full(medium: &impl ReadAt, mut buffer: &mut [u8], offset: u64) -> Result<(), Difference> {
    let mut at = offset;
    while !buffer.is_empty() {
        match medium.read_from(at, buffer) {
            Ok(0) => return Err(Difference::Ends(at)),
            Ok(count) => {
                buffer = buffer.get_mut(count..).unwrap_or_default();
                at = at.saturating_add(widen(count));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Difference::Unreadable(at, error)),
        }
    }
    Ok(())
}

/// Threads that read back one medium.
pub(super) struct ReadBack {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
}

/// Segments that wait to be read, and how it stands.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    segments: VecDeque<Segment>,
    /// No more will come.
    is_closed: bool,
    /// Stop, whatever is left.
    is_over: bool,
    failure: Option<Difference>,
}

impl ReadBack {
    /// Starts reading from `medium`. `overlaps`: whether it begins while more is written; disks whose heads would have to
    /// move there and back are better left until the end.
    pub(super) fn start<R: ReadAt>(medium: R, workers: usize, overlaps: bool) -> Result<Self> {
        let queue = Arc::new(Queue::default());
        let medium = Arc::new(medium);
        let mut handles = Vec::new();
        for number in 0..workers.max(1) {
            let (queue, medium) = (Arc::clone(&queue), Arc::clone(&medium));
            let begins_early = overlaps && number == 0;
            let run = move || queue.work(&*medium, begins_early);
            let thread = thread::Builder::new().name("image-proof".to_owned()).spawn(run);
            handles.push(thread.context(Kind::Bug, || "starting thread image-proof")?);
        }
        Ok(Self { queue, workers: handles })
    }

    /// Something more can be read.
    ///
    /// # Errors
    /// `Medium`: what was read already is not what was written.
    pub(super) fn add(&self, segment: Segment) -> Result<()> {
        let mut state = self.queue.lock();
        if let Some(difference) = state.failure.take() {
            return Err(difference.into());
        }
        state.segments.push_back(segment);
        self.queue.changed.notify_all();
        Ok(())
    }

    /// No more will come.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
    }

    /// Whether everything has been read, or something was found.
    pub(super) fn is_done(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// `Medium`: something that was read is not what was written, or cannot be read.
    pub(super) fn join(mut self) -> Result<()> {
        self.close();
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| Error::bug("a thread that reads back has panicked"))?;
        }
        let failure = self.queue.lock().failure.take();
        failure.map_or(Ok(()), |difference| Err(difference.into()))
    }
}

/// Nothing is read for a run that has ended.
impl Drop for ReadBack {
    fn drop(&mut self) {
        self.queue.lock().is_over = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked held is a queue that is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, medium: &impl ReadAt, begins_early: bool) {
        let mut buffer = AlignedBuffer::new(PIECE);
        while let Some((segments, is_early)) = self.next(begins_early) {
            let mut flushed = if is_early { medium.sync() } else { Ok(()) };
            for segment in &segments {
                let outcome = match std::mem::replace(&mut flushed, Ok(())) {
                    Ok(()) => compare(medium, &mut buffer, segment),
                    Err(cause) => Err(Difference::Unreadable(segment.start, cause)),
                };
                let mut state = self.lock();
                if let Err(difference) = outcome {
                    state.is_over = true;
                    // The first one stands.
                    state.failure.get_or_insert(difference);
                    self.changed.notify_all();
                }
                if state.is_over {
                    return;
                }
            }
        }
    }

    /// What to read next, and whether more is written meanwhile; nothing when all is read.
    fn next(&self, begins_early: bool) -> Option<(Vec<Segment>, bool)> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if state.is_closed {
                return state.segments.pop_front().map(|segment| (vec![segment], false));
            }
            if begins_early && state.segments.len() >= BATCH {
                return Some((state.segments.drain(..BATCH).collect(), true));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::image::ledger::{Ledger, SEGMENT};
    use crate::image::testing::Plate;

    fn noted(bytes: &[u8]) -> Vec<Segment> {
        let mut ledger = Ledger::new();
        ledger.note(0, bytes);
        ledger.settled(u64::MAX).collect()
    }

    fn compared(plate: &Plate, written: &[u8], overlaps: bool) -> String {
        let read_back = ReadBack::start(plate.clone(), 2, overlaps).unwrap();
        let added = noted(written).into_iter().try_for_each(|segment| read_back.add(segment));
        match added.and_then(|()| read_back.join()) {
            Ok(()) => "equal".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_difference_is_found_and_located_by_segment() {
        let written = vec![1; 2 * (16 << 20) + (128 << 10)];
        for overlaps in [false, true] {
            let read = |at: Option<usize>| {
                let mut bytes = written.clone();
                if let Some(at) = at {
                    bytes[at] ^= 1;
                }
                compared(&Plate::holding(bytes), &written, overlaps)
            };
            let words = |range: &str| format!("reading back: bytes {range} are not what was written");
            assert_eq!(read(None), "equal");
            assert_eq!(read(Some(0)), words("0 to 16777216"));
            assert_eq!(read(Some(16_777_216)), words("16777216 to 33554432"));
            assert_eq!(read(Some(33_554_436)), words("33554432 to 33685504"));
        }
    }

    #[test]
    fn an_unreadable_or_short_medium_is_named_with_its_offset() {
        let written = vec![1; 256 << 10];
        let mut broken = Plate::holding(written.clone());
        broken.steps = vec![0, 512];
        broken.fault = Some((1024, Errno::EIO));
        assert_eq!(compared(&broken, &written, false), "reading back: at byte 1024: I/O error");
        let short = Plate::holding(written[..4096].to_vec());
        assert_eq!(compared(&short, &written, false), "reading back: at byte 4096: the medium ends");
    }

    #[test]
    fn what_was_written_is_compared_while_more_is_written() {
        let written = vec![1; usize::try_from(SEGMENT).unwrap() * (BATCH + 1)];
        let mut bytes = written.clone();
        bytes[5] = 0;
        let read_back = ReadBack::start(Plate::holding(bytes), 2, true).unwrap();
        for segment in noted(&written) {
            read_back.add(segment).unwrap();
        }
        while !read_back.is_done() {
            thread::yield_now();
        }
        assert!(read_back.join().unwrap_err().to_string().contains("bytes 0 to 16777216 are not"));
    }
}
