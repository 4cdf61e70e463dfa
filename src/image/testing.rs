//! Readers and media that do what the system calls are allowed to do.

#[path = "../../tests/support/http_server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    missing_docs,
    reason = "the integration tests use the rest of it"
)]
pub(super) mod http_server;

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::medium::Medium;
use super::proof::ReadAt;

/// Gives out pieces of the given sizes, in turn; a zero stands for an interrupted call.
pub(super) struct Choppy {
    bytes: Vec<u8>,
    steps: Vec<usize>,
    turn: usize,
    position: usize,
}

impl Choppy {
    /// At least one step must be above zero, or nothing ever moves; a one is added for that.
    pub(super) fn new(bytes: Vec<u8>, mut steps: Vec<usize>) -> Self {
        steps.push(1);
        Self { bytes, steps, turn: 0, position: 0 }
    }
}

impl Read for Choppy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = self.steps[self.turn % self.steps.len()];
        self.turn += 1;
        if step == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = step.min(buffer.len()).min(self.bytes.len() - self.position);
        buffer[..count].copy_from_slice(&self.bytes[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// A medium in memory; clones share it.
#[derive(Clone, Default)]
pub(super) struct Plate {
    pub(super) bytes: Arc<Mutex<Vec<u8>>>,
    /// Sizes of what a call takes or gives, in turn; zero stands for an interrupted call, none for no limit.
    pub(super) steps: Vec<usize>,
    pub(super) turn: Arc<Mutex<usize>>,
    /// Calls at this offset or beyond fail with this error.
    pub(super) fault: Option<(u64, Errno)>,
    /// Whether it makes zeros by itself.
    pub(super) punches: bool,
    /// A byte that reads otherwise than it was written.
    pub(super) bad_byte: Option<usize>,
}

impl Plate {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), ..Self::default() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn step(&self, offset: u64, most: usize) -> io::Result<usize> {
        let mut turn = self.turn.lock().unwrap();
        *turn += 1;
        let most = match self.fault {
            Some((at, errno)) if offset >= at => return Err(errno.into()),
            Some((at, _)) => most.min(usize::try_from(at - offset).unwrap()),
            None => most,
        };
        match self.steps.get((*turn - 1) % self.steps.len().max(1)) {
            Some(0) => Err(io::ErrorKind::Interrupted.into()),
            Some(&step) => Ok(step.min(most)),
            None => Ok(most),
        }
    }
}

impl Medium for Plate {
    fn write_at(&mut self, offset: u64, from: &[u8]) -> io::Result<usize> {
        let count = self.step(offset, from.len())?;
        let start = usize::try_from(offset).unwrap();
        let mut bytes = self.bytes.lock().unwrap();
        if bytes.len() < start + count {
            bytes.resize(start + count, 0);
        }
        bytes[start..start + count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn punch(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if !self.punches {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (start, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
        let mut bytes = self.bytes.lock().unwrap();
        if bytes.len() < start + length {
            bytes.resize(start + length, 0);
        }
        bytes[start..start + length].fill(0);
        Ok(())
    }

    fn is_blank(&self) -> bool {
        false
    }

    fn sync(&mut self) -> crate::error::Result<()> {
        Ok(())
    }
}

impl ReadAt for Plate {
    fn read_from(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes.lock().unwrap();
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let count = self.step(offset, buffer.len().min(bytes.len() - start))?;
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        if let Some(bad) = self.bad_byte.filter(|&bad| (start..start + count).contains(&bad)) {
            buffer[bad - start] ^= 1;
        }
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
