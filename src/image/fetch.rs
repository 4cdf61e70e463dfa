//! The first stage: reading the source and hashing what comes, on a thread of its own where the image is packed.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};

use crate::error::{Error, Result};
use crate::units::widen;

use super::cancel::{Cancel, GLANCE};
use super::digest::{Digest, Hashers};
use super::source::own_error;

/// Bytes that are fetched at once.
pub(super) const PACKET: usize = 512 << 10;

/// Buffers between fetching and unpacking.
pub(super) const PACKETS: usize = 8;

/// What is known when the source has ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Bytes that were read.
    pub(super) fetched: u64,
    /// Bytes that the file has.
    pub(super) length: u64,
    pub(super) digests: Vec<Digest>,
}

/// Reads until the buffer is full or the stream ends.
pub(super) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(own_error(error)),
        }
    }
    Ok(filled)
}

/// Reads the source and hashes what comes.
pub(super) struct Fetch<R> {
    source: R,
    digests: Hashers,
    fetched: u64,
    cancel: Cancel,
}

impl<R: Read> Fetch<R> {
    pub(super) fn new(source: R, expected: &[Digest], cancel: Cancel) -> Self {
        Self { source, digests: Hashers::for_digests(expected), fetched: 0, cancel }
    }

    pub(super) fn end(self) -> End {
        End { fetched: self.fetched, length: self.fetched, digests: self.digests.finish() }
    }

    /// Sends packets until the source ends or nobody wants them.
    pub(super) fn run(mut self, packets: &SyncSender<Packet>, spares: &Receiver<Vec<u8>>) {
        loop {
            let mut packet = spares.try_recv().unwrap_or_default();
            packet.resize(PACKET, 0);
            let sent = match fill(&mut self, &mut packet) {
                Ok(0) => {
                    let _gone = packets.send(Packet::End(self.end()));
                    return;
                }
                Ok(count) => {
                    packet.truncate(count);
                    packets.send(Packet::Bytes(packet))
                }
                Err(error) => {
                    let _gone = packets.send(Packet::Failed(error));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

impl<R: Read> Read for Fetch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        let count = self.source.read(buffer)?;
        self.digests.update(&buffer[..count]);
        self.fetched = self.fetched.saturating_add(widen(count));
        Ok(count)
    }
}

/// What goes from fetching to unpacking.
pub(super) enum Packet {
    Bytes(Vec<u8>),
    End(End),
    Failed(Error),
}

/// The packed stream as the unpacker reads it.
pub(super) struct Packed {
    fetched: Receiver<Packet>,
    spent: mpsc::Sender<Vec<u8>>,
    cancel: Cancel,
    packet: Vec<u8>,
    start: usize,
    pub(super) end: Option<End>,
}

impl Packed {
    /// A reader of what `fetched` brings; used packets go back through `spent`.
    pub(super) fn new(fetched: Receiver<Packet>, spent: mpsc::Sender<Vec<u8>>, cancel: Cancel) -> Self {
        Self { fetched, spent, cancel, packet: Vec::new(), start: 0, end: None }
    }
}

/// Reading from what is buffered.
pub(super) fn read_buffered(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let ready = reader.fill_buf()?;
    let count = ready.len().min(buffer.len());
    buffer[..count].copy_from_slice(&ready[..count]);
    reader.consume(count);
    Ok(count)
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.start == self.packet.len() && self.end.is_none() {
            let spent = std::mem::take(&mut self.packet);
            self.start = 0;
            if !spent.is_empty() {
                // The fetching thread is gone without spares; then the next receive tells.
                let _gone = self.spent.send(spent);
            }
            // The server may be silent for long, which must not hold up who asks to end.
            self.cancel.check().map_err(io::Error::other)?;
            match self.fetched.recv_timeout(GLANCE) {
                Ok(Packet::Bytes(packet)) => self.packet = packet,
                Ok(Packet::End(end)) => self.end = Some(end),
                Ok(Packet::Failed(error)) => return Err(io::Error::other(error)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other(Error::bug("the thread that fetches has vanished")));
                }
            }
        }
        Ok(&self.packet[self.start..])
    }

    fn consume(&mut self, amount: usize) {
        self.start = self.start.saturating_add(amount).min(self.packet.len());
    }
}
