//! An image on a server: one stream over as many connections as it takes.

use std::hash::Hasher as _;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use log::warn;
use twox_hash::XxHash3_64;

use crate::error::{Error, Kind, Result};
use crate::http::{self, BodyReader, Client, Method, Response, Url};
use crate::units::widen;

use super::cancel::Cancel;
use super::source::Source;

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What counts as progress. Less between two failures does not restart the patience, or a server that breaks off after
/// each byte would hold us for ever.
const PROGRESS: u64 = 64 << 10;

/// How long the very first answer may take: a wrong address must not look like a slow server.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// An image on a server.
pub(super) struct HttpSource {
    client: Client,
    url: Url,
    cancel: Cancel,
    patience: Patience,
    body: Option<BodyReader>,
    /// Bytes handed out.
    position: u64,
    length: Option<u64>,
    /// The entity tag, and what `If-Range` takes: a strong tag or a date.
    tag: Option<String>,
    validator: Option<String>,
    /// A hash of all bytes handed out, to tell whether a server that starts over sends the same.
    prefix: XxHash3_64,
    is_end_marked: bool,
    has_ended: bool,
}

/// What an attempt came to.
enum Attempt {
    Open,
    /// The stream ends where we are.
    End,
    /// It may succeed later.
    Later(String),
}

impl HttpSource {
    pub(super) fn open(client: Client, url: Url, cancel: Cancel, patience: Duration) -> Result<Self> {
        let mut source = Self {
            client,
            url,
            cancel,
            patience: Patience::new(patience.min(FIRST_PATIENCE)),
            body: None,
            position: 0,
            length: None,
            tag: None,
            validator: None,
            prefix: XxHash3_64::new(),
            is_end_marked: false,
            has_ended: false,
        };
        loop {
            let answered = source.client.request_to(Method::GET, &source.url).send();
            let reason = match answered {
                Ok(response) if response.status() == 200 => {
                    source.accept_first(response);
                    source.patience = Patience::new(patience);
                    return Ok(source);
                }
                Ok(response) if may_pass(response.status()) => status_words(&response),
                Ok(response) => return Err(source.fault(status_words(&response))),
                Err(error) if error.is_transient() => error.reason().to_owned(),
                Err(error) => return Err(source.fault(error.reason())),
            };
            source.wait(&reason)?;
        }
    }

    fn accept_first(&mut self, response: Response) {
        self.length = response.content_length();
        self.tag = response.header("etag").map(str::to_owned);
        // RFC 9110, section 13.1.5: a weak tag is no validator for ranges.
        let strong = self.tag.clone().filter(|tag| !tag.starts_with("W/"));
        self.validator = strong.or_else(|| response.header("last-modified").map(str::to_owned));
        self.is_end_marked = response.has_marked_end();
        self.body = Some(response.reader());
    }

    /// Goes on at the current position over a new connection.
    fn reconnect(&mut self) -> Result<Attempt> {
        let mut request = self.client.request_to(Method::GET, &self.url);
        request = request.header("Range", &format!("bytes={}-", self.position));
        if let Some(validator) = &self.validator {
            request = request.header("If-Range", validator);
        }
        let response = match request.send() {
            Ok(response) => response,
            Err(error) if error.is_transient() => return Ok(Attempt::Later(error.reason().to_owned())),
            Err(error) => return Err(self.fault(error.reason())),
        };
        match response.status() {
            206 => self.accept_rest(response),
            200 => self.accept_anew(response),
            416 => self.accept_end(&response),
            status if may_pass(status) => Ok(Attempt::Later(status_words(&response))),
            _ => Err(self.fault(status_words(&response))),
        }
    }

    /// The rest, as asked for. What the server says of it is compared with what was asked.
    fn accept_rest(&mut self, response: Response) -> Result<Attempt> {
        self.check_tag(&response)?;
        let range = response.header("content-range").unwrap_or_default();
        let Some((start, total)) = content_range(range) else {
            return Err(self.fault(format!("status 206 without a usable Content-Range: {range:?}")));
        };
        if start != Some(self.position) {
            let asked = self.position;
            return Err(self.fault(format!("asked for the bytes from {asked}, got Content-Range {range:?}")));
        }
        self.check_length(total)?;
        self.length = self.length.or(total);
        self.is_end_marked = response.has_marked_end();
        self.body = Some(response.reader());
        Ok(Attempt::Open)
    }

    /// The whole from its start: the server knows no ranges, or has another file by now. What was handed out already is
    /// read once more and compared.
    fn accept_anew(&mut self, response: Response) -> Result<Attempt> {
        self.check_tag(&response)?;
        self.check_length(response.content_length())?;
        if self.position > 0 {
            warn!("{}: the server does not resume, reading {} bytes again", self.url, self.position);
        }
        self.is_end_marked = response.has_marked_end();
        let mut body = response.reader();
        let mut again = XxHash3_64::new();
        let mut buffer = vec![0; 256 << 10];
        let mut left = self.position;
        while left > 0 {
            self.cancel.check()?;
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            match body.read(&mut buffer[..most]) {
                Ok(0) => return Ok(Attempt::Later(format!("the connection ended {left} bytes before that"))),
                Ok(count) => {
                    again.write(&buffer[..count]);
                    left = left.saturating_sub(widen(count));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.broken(http::read_error(error)).map(Attempt::Later),
            }
        }
        if again.finish() != self.prefix.finish() {
            return Err(self.fault("the image on the server has changed: its first bytes are others now"));
        }
        self.body = Some(body);
        Ok(Attempt::Open)
    }

    /// Nothing lies beyond the current position; good when that is the end.
    fn accept_end(&mut self, response: &Response) -> Result<Attempt> {
        let range = response.header("content-range").unwrap_or_default();
        match content_range(range) {
            Some((None, Some(total))) if total == self.position && self.length.is_none_or(|it| it == total) => {
                Ok(Attempt::End)
            }
            Some((None, Some(total))) if total == self.position => {
                let announced = self.length.unwrap_or_default();
                Err(self.fault(format!("the server announced {announced} bytes and has {total}")))
            }
            _ => Err(self.fault(format!("the server has no bytes from there on (416, Content-Range {range:?})"))),
        }
    }

    fn check_tag(&self, response: &Response) -> Result<()> {
        match (self.tag.as_deref(), response.header("etag")) {
            (Some(before), Some(now)) if before != now => {
                Err(self.fault(format!("the image on the server has changed: its ETag was {before} and is {now}")))
            }
            _ => Ok(()),
        }
    }

    fn check_length(&self, total: Option<u64>) -> Result<()> {
        match (self.length, total) {
            (Some(before), Some(now)) if before != now => {
                Err(self.fault(format!("the image on the server has changed: it had {before} bytes and has {now}")))
            }
            _ => Ok(()),
        }
    }

    /// The connection is gone. Comes back when it is time for the next, with what broke the last.
    fn broken(&mut self, error: http::Error) -> Result<String> {
        self.body = None;
        if error.is_transient() { Ok(error.reason().to_owned()) } else { Err(self.fault(error.reason())) }
    }

    /// Opens the next connection, as often as patience allows.
    fn resume(&mut self, mut reason: String) -> Result<()> {
        loop {
            self.wait(&reason)?;
            match self.reconnect()? {
                Attempt::Open => return Ok(()),
                Attempt::End => {
                    self.has_ended = true;
                    return Ok(());
                }
                Attempt::Later(next) => reason = next,
            }
        }
    }

    fn wait(&mut self, reason: &str) -> Result<()> {
        match self.patience.pause(self.position) {
            Some(pause) => {
                warn!("{}: {reason}; trying again in {} ms", self.place(), pause.as_millis());
                self.cancel.sleep(pause)
            }
            None => Err(self.fault(format!("{reason} (no progress for {} s)", self.patience.limit.as_secs()))),
        }
    }

    /// The body has ended without a length or chunks that would say that it is whole: asks for what comes after it.
    fn confirm_end(&mut self) -> Result<()> {
        self.body = None;
        self.has_ended = true;
        let next = self.client.request_to(Method::GET, &self.url).header("Range", &format!("bytes={}-", self.position));
        if let Ok(response) = next.send()
            && response.status() == 206
        {
            self.has_ended = false;
            self.accept_rest(response)?;
        }
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            self.cancel.check()?;
            if self.has_ended || buffer.is_empty() {
                return Ok(0);
            }
            let Some(body) = &mut self.body else {
                self.resume("the connection is gone".to_owned())?;
                continue;
            };
            match body.read(buffer) {
                Ok(0) if self.length.is_some_and(|length| self.position < length) => {
                    self.body = None;
                    self.resume("the connection ended early".to_owned())?;
                }
                Ok(0) if self.length.is_none() && !self.is_end_marked => self.confirm_end()?,
                Ok(0) => self.has_ended = true,
                Ok(count) => {
                    self.position = self.position.saturating_add(widen(count));
                    self.prefix.write(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let reason = self.broken(http::read_error(error))?;
                    self.resume(reason)?;
                }
            }
        }
    }

    /// Where the stream stands, for messages.
    fn place(&self) -> String {
        match (self.position, self.length) {
            (0, _) => format!("reading {}", self.url),
            (position, Some(length)) => format!("reading {}: at byte {position} of {length}", self.url),
            (position, None) => format!("reading {}: at byte {position}", self.url),
        }
    }

    fn fault(&self, reason: impl std::fmt::Display) -> Error {
        Error::new(Kind::Image, format!("{}: {reason}", self.place()))
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

/// How long lack of progress is borne.
struct Patience {
    limit: Duration,
    /// When the stream stood still first, and where.
    since: Option<(Instant, u64)>,
    pause: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, pause: FIRST_PAUSE }
    }

    /// How long to wait after a failure at `position`, or nothing when it is time to give up.
    fn pause(&mut self, position: u64) -> Option<Duration> {
        let now = Instant::now();
        let (began, _) = match self.since {
            Some((began, at)) if position.saturating_sub(at) < PROGRESS => (began, at),
            _ => {
                self.pause = FIRST_PAUSE;
                *self.since.insert((now, position))
            }
        };
        let left = self.limit.checked_sub(now.duration_since(began)).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

/// Statuses of servers that are starting, busy or behind a proxy that lost them.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

pub(super) fn status_words(response: &Response) -> String {
    format!("the server answers {}", response.status_text())
}

/// Start and total of a `Content-Range`: `bytes 5-9/10`, `bytes 5-9/*`, `bytes */10`.
pub(super) fn content_range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    if range == "*" {
        return Some((None, total));
    }
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let is_sound = start <= end && total.is_none_or(|total| end < total);
    is_sound.then_some((Some(start), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(content_range("bytes */10"), Some((None, Some(10))));
        for bad in ["", "bytes", "bytes 5-10/10", "bytes 9-5/10", "bytes -5/10", "items 0-1/2", "bytes x-y/z"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn patience_counts_lack_of_progress_not_failures() {
        let mut patience = Patience::new(Duration::from_secs(3600));
        assert_eq!(patience.pause(0), Some(FIRST_PAUSE));
        assert_eq!(patience.pause(10), Some(FIRST_PAUSE * 2));
        assert_eq!(patience.pause(PROGRESS), Some(FIRST_PAUSE), "progress starts over");
        for _ in 0..20 {
            assert!(patience.pause(PROGRESS + 1).unwrap() <= LONGEST_PAUSE);
        }
        assert_eq!(Patience::new(Duration::ZERO).pause(0), None);
    }
}
