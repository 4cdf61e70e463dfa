//! An image on servers: one stream over as many connections as it takes.

use std::hash::Hasher as _;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use log::warn;
use twox_hash::XxHash3_64;

use crate::error::{Error, Result};
use crate::http::{self, Url};
use crate::units::widen;

use super::cancel::Cancel;
use super::mirrors::{Mirrors, Progress};
use super::patience::Waiting;
use super::published::{Answer, Body, Failure};
use super::source::{Access, Source};

/// Bytes that are read at once when what came before is read again.
const AGAIN: usize = 256 << 10;

/// An image on servers.
pub(super) struct HttpSource {
    mirrors: Mirrors,
    cancel: Cancel,
    has_digest: bool,
    /// Whose bytes were handed out, as far as they are known to be the same.
    compared: Vec<Url>,
    body: Option<Body>,
    progress: Progress,
    length: Option<u64>,
    /// A hash of all bytes handed out, where it can become necessary to compare them with what another answer begins with.
    prefix: Option<XxHash3_64>,
    has_ended: bool,
}

impl HttpSource {
    pub(super) fn open(urls: &[Url], access: &Access<'_>) -> Result<Self> {
        let mirrors = Mirrors::new(access.client, urls, access.cancel.clone(), access.patience)?;
        let mut source = Self {
            mirrors,
            cancel: access.cancel.clone(),
            has_digest: access.has_digest,
            compared: Vec::new(),
            body: None,
            progress: Progress::default(),
            length: None,
            prefix: None,
            has_ended: false,
        };
        while source.body.is_none() {
            match source.mirrors.current_mut().ask(None) {
                Ok(Answer::Whole(body)) => source.begin(body, access.patience),
                // `Published` gives parts only to those who asked for one.
                Ok(Answer::Rest(_) | Answer::End) => {
                    return Err(Error::bug("a part of an image that was not asked for"));
                }
                Err(failure) => source.failed(failure)?,
            }
        }
        Ok(source)
    }

    fn begin(&mut self, body: Body, patience: Duration) {
        let current = self.mirrors.current();
        self.length = current.length();
        self.compared.push(current.url().clone());
        // A digest tells of other bytes in the end, a strong tag of another file at once; only without them a hash has to.
        let is_needed = current.strong_tag().is_none() || (self.mirrors.len() > 1 && !self.has_digest);
        self.prefix = is_needed.then(XxHash3_64::new);
        self.body = Some(body);
        self.mirrors.answered(patience);
    }

    fn failed(&mut self, failure: Failure) -> Result<()> {
        self.body = None;
        self.mirrors.failed(failure, self.progress)
    }

    /// Goes on at the current position over a new connection.
    fn reopen(&mut self) -> Result<()> {
        match self.ask_for_rest() {
            Ok(body) => self.body = body,
            Err(failure) => self.failed(failure)?,
        }
        Ok(())
    }

    /// Whether a range of what the current server has certainly goes on with what was handed out, or a digest will tell.
    fn can_resume(&self) -> bool {
        let current = self.mirrors.current();
        self.has_digest || (self.compared.contains(current.url()) && current.has_validator())
    }

    /// Nothing when the stream has ended, or was asked to.
    fn ask_for_rest(&mut self) -> Result<Option<Body>, Failure> {
        let position = self.progress.position;
        let can_resume = position == 0 || self.can_resume();
        let from = can_resume.then_some(position);
        let answer = self.mirrors.current_mut().ask(from)?;
        self.check_length()?;
        let body = match answer {
            Answer::Rest(body) => body,
            Answer::End => {
                self.has_ended = true;
                return Ok(None);
            }
            Answer::Whole(mut body) => {
                let current = self.mirrors.current();
                if position > 0 && can_resume {
                    warn!("{}: the server does not resume, reading {position} bytes again", current.url());
                } else if position > 0 && !current.has_validator() {
                    warn!(
                        "{}: the server gives neither a strong ETag nor a date, and no digest is known: reading {position} bytes again",
                        current.url()
                    );
                }
                if !self.read_again(&mut body)? {
                    return Ok(None);
                }
                body
            }
        };
        let url = self.mirrors.current().url();
        if !self.compared.contains(url) {
            self.compared.push(url.clone());
        }
        Ok(Some(body))
    }

    /// What was handed out already is read once more and compared. False when the run was asked to end.
    fn read_again(&self, body: &mut Body) -> Result<bool, Failure> {
        let mut again = self.prefix.as_ref().map(|_| XxHash3_64::new());
        let mut buffer = vec![0; AGAIN];
        let mut left = self.progress.position;
        // What comes once more is no progress of the stream, but the server must not take for ever over it either.
        let mut waiting = Waiting::from(0);
        while left > 0 {
            if self.cancel.check().is_err() {
                return Ok(false);
            }
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let began = Instant::now();
            let outcome = body.reader.read(&mut buffer[..most]);
            let received = self.progress.position - left;
            waiting.add(began.elapsed(), received);
            if let Some(little) = waiting.slowness(self.mirrors.turn_limit(), received) {
                return Err(Failure::Slow(format!("the server sends what was read already too slowly: {little}")));
            }
            match outcome {
                Ok(0) => {
                    return Err(Failure::Passing(format!("the connection ended {left} bytes before that")));
                }
                Ok(count) => {
                    if let Some(again) = &mut again {
                        again.write(&buffer[..count]);
                    }
                    left = left.saturating_sub(widen(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::of(&http::read_error(error))),
            }
        }
        if again.map(|again| again.finish()) == self.prefix.as_ref().map(XxHash3_64::finish) {
            return Ok(true);
        }
        let is_same_server = self.compared.contains(self.mirrors.current().url());
        Err(Failure::Lasting(if is_same_server {
            "the image on the server has changed: its first bytes are others now".to_owned()
        } else {
            "the image there is another one: its first bytes differ".to_owned()
        }))
    }

    /// All answers must agree on the length.
    fn check_length(&mut self) -> Result<(), Failure> {
        match (self.length, self.mirrors.current().length()) {
            (Some(first), Some(now)) if first != now => {
                Err(Failure::Lasting(format!("the image there is another one: it has {now} bytes, not {first}")))
            }
            (known, now) => {
                self.length = known.or(now);
                Ok(())
            }
        }
    }

    /// The body has ended without a length or chunks that would say that it is whole: asks for what comes after it.
    fn confirm_end(&mut self) -> Result<()> {
        self.body = None;
        match self.mirrors.current_mut().ask(Some(self.progress.position)) {
            // Without a body the next read asks for all of it, and compares.
            Ok(Answer::Rest(body)) => self.body = self.can_resume().then_some(body),
            // It knows no ranges. Where it now tells its length, that decides; else its end is believed, and only a digest,
            // a size or the packing can tell.
            Ok(Answer::Whole(_)) => {
                self.length = self.mirrors.current().length();
                self.has_ended = self.length.is_none_or(|length| length == self.progress.position);
            }
            Ok(Answer::End) => self.has_ended = true,
            Err(failure) => self.failed(failure)?,
        }
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            self.cancel.check()?;
            if self.has_ended || buffer.is_empty() {
                return Ok(0);
            }
            if self.mirrors.is_left_as_slow(self.progress)? {
                self.body = None;
            }
            let Some(body) = &mut self.body else {
                self.reopen()?;
                continue;
            };
            let began = Instant::now();
            let outcome = body.reader.read(buffer);
            self.mirrors.has_waited(began.elapsed(), self.progress.received);
            match outcome {
                Ok(0) if self.length.is_some_and(|length| self.progress.position < length) => {
                    self.failed(Failure::Passing("the connection ended early".to_owned()))?;
                }
                Ok(0) if self.length.is_none() && !body.is_end_marked => self.confirm_end()?,
                Ok(0) => self.has_ended = true,
                Ok(count) => return self.accept(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed(Failure::of(&http::read_error(error)))?,
            }
        }
    }

    fn accept(&mut self, bytes: &[u8]) -> Result<usize> {
        let position = self.progress.position.saturating_add(widen(bytes.len()));
        if let Some(length) = self.length.filter(|&length| position > length) {
            let reason = format!("the server sends more than the {length} bytes that it announced");
            return Err(self.mirrors.fault(self.progress, reason));
        }
        if let Some(prefix) = &mut self.prefix {
            prefix.write(bytes);
        }
        self.progress.advance(bytes.len());
        Ok(bytes.len())
    }
}

impl Source for HttpSource {
    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for HttpSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(io::Error::other)
    }
}
