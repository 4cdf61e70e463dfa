//! Readers and writers that do what the system calls are allowed to do.

#[path = "../../tests/support/http_server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    missing_docs,
    reason = "the integration tests use the rest of it"
)]
pub(super) mod http_server;

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Gives out or takes in pieces of the given sizes, in turn; a zero stands for an interrupted call.
pub(super) struct Choppy {
    pub(super) bytes: Vec<u8>,
    steps: Vec<usize>,
    turn: usize,
    position: usize,
    /// Calls from this offset on fail with this error.
    pub(super) fault: Option<(usize, nix::errno::Errno)>,
}

impl Choppy {
    /// At least one step must be above zero, or nothing ever moves; a one is added for that.
    pub(super) fn new(bytes: Vec<u8>, mut steps: Vec<usize>) -> Self {
        steps.push(1);
        Self { bytes, steps, turn: 0, position: 0, fault: None }
    }

    fn step(&mut self, most: usize) -> io::Result<usize> {
        if let Some((at, errno)) = self.fault
            && self.position >= at
        {
            return Err(errno.into());
        }
        let step = self.steps[self.turn % self.steps.len()];
        self.turn += 1;
        if step == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let room = self.fault.map_or(usize::MAX, |(at, _)| at - self.position);
        Ok(step.min(most).min(room))
    }
}

impl Read for Choppy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.step(buffer.len().min(self.bytes.len().saturating_sub(self.position)))?;
        buffer[..count].copy_from_slice(&self.bytes[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

impl Write for Choppy {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.step(buffer.len())?;
        let end = self.position + count;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[self.position..end].copy_from_slice(&buffer[..count]);
        self.position = end;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Choppy {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.position = usize::try_from(at).unwrap();
        Ok(at)
    }
}
