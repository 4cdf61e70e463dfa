//! The entries of an archive, one after the other, from a stream.

use std::io::Read;

use crate::error::{Error, Kind, Result};
use crate::image::fetch::fill;
use crate::units::widen;

use super::entry::{self, Entry, Extensions, Layout, What};
use super::header::{self, BLOCK, Header, Part};
use super::name::shown;
use super::sparse::{Leading, Map, check_count};

/// Bytes that an extension (a long name, PAX records) may have: they are memory.
const LONGEST_EXTENSION: u64 = 4 << 20;

/// Reads entries from a stream.
pub(super) struct Reader<R> {
    stream: R,
    position: u64,
    /// Data of the entry that are not read yet, and what fills up its last block.
    data: u64,
    padding: u64,
    /// Records for all entries.
    global: Extensions,
    /// The entry that is read, for messages.
    current: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, position: 0, data: 0, padding: 0, global: Extensions::default(), current: Vec::new() }
    }

    /// Bytes of the archive that were read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn into_inner(self) -> R {
        self.stream
    }

    /// The next entry; nothing at the end of the archive, behind which nothing but zeros may follow.
    ///
    /// What is left of the data of the one before is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        self.skip_data()?;
        let mut extensions = self.global.clone();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let extension = match header.kind {
                b'L' | b'K' | b'x' | b'X' | b'g' => self.extension(&header)?,
                b'N' => return Err(self.fault("it has a form that is not known")),
                _ => {
                    self.current = extensions.name(&header).to_vec();
                    match self.entry(&header, &extensions)? {
                        Some(entry) => return Ok(Some(entry)),
                        None => self.skip_data()?,
                    }
                    extensions = self.global.clone();
                    continue;
                }
            };
            let whole = || extension.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
            let added = match header.kind {
                b'L' => extensions.set_name(whole()),
                b'K' => extensions.set_link(whole()),
                b'g' => self.global.add(&extension).and_then(|()| extensions.add(&extension)),
                _ => extensions.add(&extension),
            };
            added.map_err(|words| self.fault(&words))?;
        }
    }

    /// Reads data of the entry; zero at their end.
    pub(super) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        let count = fill(&mut self.stream, &mut buffer[..most])?;
        self.position = self.position.saturating_add(widen(count));
        self.data = self.data.saturating_sub(widen(count));
        if count < most { Err(self.truncated()) } else { Ok(count) }
    }

    /// An error about the entry that was read last.
    pub(super) fn fault(&self, words: &str) -> Error {
        let at = format!("at byte {} of the archive", self.position);
        let text = if self.current.is_empty() {
            format!("{at}: {words}")
        } else {
            format!("{at}: {}: {words}", shown(&self.current))
        };
        Error::new(Kind::Image, text)
    }

    fn truncated(&self) -> Error {
        self.fault("the archive is truncated")
    }

    /// A whole block; nothing where the stream has ended.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let count = fill(&mut self.stream, &mut block)?;
        self.position = self.position.saturating_add(widen(count));
        match count {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.truncated()),
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let block = self.block()?.ok_or_else(|| self.truncated())?;
        if header::is_zero(&block) {
            self.end()?;
            return Ok(None);
        }
        let header = header::parse(&block).map_err(|words| {
            let before =
                if self.current.is_empty() { String::new() } else { format!(", after {}", shown(&self.current)) };
            Error::new(Kind::Image, format!("at byte {}{before}: {words}", self.position.saturating_sub(widen(BLOCK))))
        })?;
        Ok(Some(header))
    }

    /// Behind the first block of zeros: more of them, up to the end of the stream.
    fn end(&mut self) -> Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = fill(&mut self.stream, &mut buffer)?;
            if let Some(at) = buffer[..count].iter().position(|&byte| byte != 0) {
                let at = self.position.saturating_add(widen(at));
                return Err(Error::new(Kind::Image, format!("at byte {at}: garbage follows the end of the archive")));
            }
            if count == 0 {
                return Ok(());
            }
            self.position = self.position.saturating_add(widen(count));
        }
    }

    fn entry(&mut self, header: &Header, extensions: &Extensions) -> Result<Option<Entry>> {
        let parts = self.old_parts(header)?;
        let entry = entry::of(header, extensions, parts).map_err(|words| self.fault(&words))?;
        let data = extensions.data(header).map_err(|words| self.fault(&words))?;
        self.begin_data(data)?;
        let Some(mut entry) = entry else { return Ok(None) };
        if let What::File(Layout::Leading(size)) = entry.what {
            let parts = self.leading_parts()?;
            let map = Map::new(parts, size, self.data).map_err(|words| self.fault(&words))?;
            entry.data = self.data;
            entry.what = What::File(Layout::Sparse(map));
        }
        Ok(Some(entry))
    }

    fn begin_data(&mut self, data: u64) -> Result<()> {
        let whole = data.checked_next_multiple_of(widen(BLOCK));
        let whole = whole.ok_or_else(|| self.fault("it would be longer than a file can be"))?;
        (self.data, self.padding) = (data, whole - data);
        Ok(())
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        if header.size > LONGEST_EXTENSION {
            return Err(self.fault(&format!("an extension of {} bytes is too long", header.size)));
        }
        self.begin_data(header.size)?;
        let mut bytes = vec![0; usize::try_from(header.size).map_err(|cause| self.fault(&cause.to_string()))?];
        self.read_data(&mut bytes)?;
        self.skip_data()?;
        Ok(bytes)
    }

    /// The map of GNU's oldest form, in the header and in blocks behind it.
    fn old_parts(&mut self, header: &Header) -> Result<Vec<Part>> {
        let Some(sparse) = &header.sparse else { return Ok(Vec::new()) };
        let (mut parts, mut is_continued) = (sparse.parts.clone(), sparse.is_continued);
        while is_continued {
            let block = self.block()?.ok_or_else(|| self.truncated())?;
            let (more, goes_on) = header::old_continuation(&block).map_err(|words| self.fault(&words))?;
            parts.extend(more);
            check_count(parts.len()).map_err(|words| self.fault(&words))?;
            is_continued = goes_on;
        }
        Ok(parts)
    }

    fn leading_parts(&mut self) -> Result<Vec<Part>> {
        let mut leading = Leading::default();
        let mut block = [0; BLOCK];
        loop {
            if self.read_data(&mut block)? < BLOCK {
                return Err(self.fault("its sparse map is corrupt: it does not end"));
            }
            if let Some(parts) = leading.feed(&block).map_err(|words| self.fault(&words))? {
                return Ok(parts);
            }
        }
    }

    /// Passes over what is left of an entry.
    fn skip_data(&mut self) -> Result<()> {
        let mut left = self.data.saturating_add(self.padding);
        let mut buffer = [0; 8 * BLOCK];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = fill(&mut self.stream, &mut buffer[..most])?;
            self.position = self.position.saturating_add(widen(count));
            if count < most {
                return Err(self.truncated());
            }
            left -= widen(count);
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }
}
