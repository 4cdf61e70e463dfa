//! Parts of an image that need not wait for each other, and the threads that unpack them.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::{Context as _, Error, Kind, Result};

use super::fetch::End;
use super::piece::Slab;

/// A part of an image that can be unpacked without the parts before it, on any thread.
pub(super) trait Portion: Send {
    /// Bytes of the image that it makes at most.
    fn length(&self) -> usize;

    /// Unpacks into `image`, which has [`Self::length`] bytes; gives back how many it made.
    ///
    /// # Errors
    /// What is wrong with the data.
    fn unpack(&self, image: &mut [u8]) -> std::result::Result<usize, String>;

    /// What it was made of, for who wants to unpack it in another way.
    fn into_packed(self: Box<Self>) -> Vec<u8> {
        Vec::new()
    }
}

/// What comes next of an image that tells where its parts are.
pub(super) enum Stretch {
    /// So many zeros.
    Hole(u64),
    /// Data, at most [`LARGEST_STRETCH`] of the image.
    Data(Box<dyn Portion>),
}

/// Bytes that a stretch of data makes at most: the largest cluster of qcow2.
pub(super) const LARGEST_STRETCH: usize = 2 << 20;

/// What can give out its parts in the image's order, each to be unpacked by itself.
pub(super) trait Stretches: Send {
    /// The next part; nothing at the end of the image.
    fn next(&mut self) -> Result<Option<Stretch>>;

    /// How the source ended, once all parts are given out.
    ///
    /// # Errors
    /// Those of reading what nobody needed, for the digests of the file.
    fn end(self: Box<Self>) -> Result<End>;
}

/// A portion that a thread is done with.
pub(super) struct Done {
    pub(super) portion: Box<dyn Portion>,
    pub(super) slab: Slab,
    pub(super) outcome: std::result::Result<usize, String>,
}

/// What comes next in the image.
pub(super) enum Finished {
    Hole(u64),
    Done(Done),
}

struct Order {
    portion: Box<dyn Portion>,
    slab: Slab,
    answer: SyncSender<Done>,
}

enum Pending {
    Hole(u64),
    Work(Receiver<Done>),
}

/// Unpacks portions on several threads, and gives them out in the order in which they came.
pub(super) struct Line {
    orders: Sender<Order>,
    pending: VecDeque<Pending>,
}

impl Line {
    pub(super) fn new(workers: usize) -> Result<Self> {
        let (orders, taken) = mpsc::channel::<Order>();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..workers.max(1) {
            let taken = Arc::clone(&taken);
            let run = move || while work(&taken).is_some() {};
            let thread = thread::Builder::new().name("image-portion".to_owned()).spawn(run);
            thread.context(Kind::Bug, || "starting thread image-portion")?;
        }
        Ok(Self { orders, pending: VecDeque::new() })
    }

    /// How many are on their way.
    pub(super) fn length(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn push(&mut self, portion: Box<dyn Portion>, slab: Slab) -> Result<()> {
        let (answer, done) = mpsc::sync_channel(1);
        let order = Order { portion, slab, answer };
        self.orders.send(order).map_err(|_| Error::bug("the threads that unpack are gone"))?;
        self.pending.push_back(Pending::Work(done));
        Ok(())
    }

    pub(super) fn push_hole(&mut self, length: u64) {
        self.pending.push_back(Pending::Hole(length));
    }

    /// What comes next, if it is finished.
    pub(super) fn try_next(&mut self) -> Result<Option<Finished>> {
        let finished = match self.pending.front() {
            None => return Ok(None),
            Some(Pending::Hole(length)) => Finished::Hole(*length),
            Some(Pending::Work(done)) => match done.try_recv() {
                Ok(done) => Finished::Done(done),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(vanished()),
            },
        };
        self.pending.pop_front();
        Ok(Some(finished))
    }

    /// What comes next, as soon as it is finished; nothing when nothing is on its way.
    pub(super) fn next(&mut self) -> Result<Option<Finished>> {
        match self.pending.pop_front() {
            None => Ok(None),
            Some(Pending::Hole(length)) => Ok(Some(Finished::Hole(length))),
            Some(Pending::Work(done)) => done.recv().map(|done| Some(Finished::Done(done))).map_err(|_| vanished()),
        }
    }
}

/// Carries out one order; nothing when there will be no more.
fn work(taken: &Mutex<Receiver<Order>>) -> Option<()> {
    let Order { portion, mut slab, answer } = {
        // The lock is held while waiting: the others would wait for the same.
        let orders = taken.lock().unwrap_or_else(PoisonError::into_inner);
        orders.recv().ok()?
    };
    let length = portion.length();
    let outcome = match slab.bytes_mut().get_mut(..length) {
        Some(image) => portion.unpack(image),
        None => Err(format!("it unpacks to {length} bytes, more than was prepared for")),
    };
    // Nobody waits for it in a run that is over.
    let _over = answer.send(Done { portion, slab, outcome });
    Some(())
}

fn vanished() -> Error {
    Error::bug("a thread that unpacks has vanished")
}
