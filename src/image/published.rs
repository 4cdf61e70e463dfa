//! An image as one server publishes it: what was learnt of it, and whether each further answer is about the same bytes.

use crate::http::{self, BodyReader, Client, Method, Response, Url};

use super::edition::{Edition, Told};

/// An image as one server publishes it.
#[derive(Debug)]
pub(super) struct Published {
    client: Client,
    url: Url,
    length: Option<u64>,
    tag: Option<String>,
    modified: Option<String>,
}

/// What the server sends when asked for the bytes from some place on.
pub(super) enum Answer {
    /// Those bytes.
    Rest(Body),
    /// The whole from its start: the server knows no ranges, or was not asked for one.
    Whole(Body),
    /// Nothing: the file ends there.
    End,
}

/// A body, and whether its end is marked by its length or by chunks.
pub(super) struct Body {
    pub(super) reader: BodyReader,
    pub(super) is_end_marked: bool,
}

impl Body {
    fn of(response: Response) -> Self {
        let is_end_marked = response.has_marked_end();
        Self { reader: response.reader(), is_end_marked }
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may succeed later.
    Passing(String),
    /// Waiting does not help.
    Lasting(String),
    /// It sends, but too slowly to be waited for while there are others.
    Slow(String),
}

impl Failure {
    pub(super) fn of(error: &http::Error) -> Self {
        let reason = error.reason().to_owned();
        if error.is_transient() { Self::Passing(reason) } else { Self::Lasting(reason) }
    }
}

impl Published {
    pub(super) fn new(client: Client, url: Url) -> Self {
        Self { client, url, length: None, tag: None, modified: None }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Its length, where the server told.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The tag that stays equal only as long as every byte does. RFC 9110, section 8.8.1.
    pub(super) fn strong_tag(&self) -> Option<&str> {
        self.tag.as_deref().filter(|tag| !tag.starts_with("W/"))
    }

    /// What makes a server that has another file now send that from its start instead of a range.
    ///
    /// RFC 9110, section 13.1.5: a weak tag is no validator for ranges.
    fn validator(&self) -> Option<&str> {
        self.strong_tag().or(self.modified.as_deref())
    }

    /// Whether a range that it sends is known to be of the same file as what it sent before.
    pub(super) fn has_validator(&self) -> bool {
        self.validator().is_some()
    }

    /// What it said of the file.
    pub(super) fn edition(&self) -> Edition {
        Edition {
            url: self.url.to_string(),
            length: self.length,
            tag: self.tag.clone(),
            modified: self.modified.clone(),
            has_validator: self.has_validator(),
        }
    }

    /// Asks for the bytes from `from` on, or plainly for the whole.
    pub(super) fn ask(&mut self, from: Option<u64>) -> Result<Answer, Failure> {
        let mut request = self.client.request_to(Method::GET, &self.url);
        if let Some(from) = from {
            request = request.header("Range", &format!("bytes={from}-"));
            if let Some(validator) = self.validator() {
                request = request.header("If-Range", validator);
            }
        }
        let response = request.send().map_err(|error| Failure::of(&error))?;
        match (response.status(), from) {
            (200, _) => self.whole(response),
            (206, Some(from)) => self.rest(response, from),
            (416, Some(from)) => self.end(&response, from),
            (status, _) if may_pass(status) => Err(Failure::Passing(status_words(&response))),
            _ => Err(Failure::Lasting(status_words(&response))),
        }
    }

    fn whole(&mut self, response: Response) -> Result<Answer, Failure> {
        if let Some(before) = self.strong_tag()
            && response.header("etag").is_none()
        {
            let gone = format!("the image on the server has changed: its ETag was {before} and is gone");
            return Err(Failure::Lasting(gone));
        }
        self.learn(&response, response.content_length())?;
        Ok(Answer::Whole(Body::of(response)))
    }

    /// The rest, as asked for. What the server says of it is compared with what was asked.
    fn rest(&mut self, response: Response, asked: u64) -> Result<Answer, Failure> {
        let range = response.header("content-range").unwrap_or_default().to_owned();
        let Some((start, total)) = content_range(&range) else {
            return Err(Failure::Lasting(format!("status 206 without a usable Content-Range: {range:?}")));
        };
        if start != Some(asked) {
            let words = format!("asked for the bytes from {asked}, got Content-Range {range:?}");
            return Err(Failure::Lasting(words));
        }
        self.learn(&response, total)?;
        Ok(Answer::Rest(Body::of(response)))
    }

    /// Nothing lies beyond the place asked for; good when that is the end.
    fn end(&self, response: &Response, asked: u64) -> Result<Answer, Failure> {
        let range = response.header("content-range").unwrap_or_default();
        match content_range(range) {
            Some((None, Some(total))) if total == asked => match self.length {
                Some(announced) if announced != total => {
                    Err(Failure::Lasting(format!("the server announced {announced} bytes and has {total}")))
                }
                _ => Ok(Answer::End),
            },
            _ => {
                let words = format!("the server has no bytes from there on (416, Content-Range {range:?})");
                Err(Failure::Lasting(words))
            }
        }
    }

    /// Keeps what the first answer says, and compares what later ones say.
    fn learn(&mut self, response: &Response, length: Option<u64>) -> Result<(), Failure> {
        let tag = response.header("etag");
        let modified = response.header("last-modified");
        if let Some(how) = self.as_told().difference(&Told { length, tag, modified }) {
            return Err(Failure::Lasting(format!("the image on the server has changed: {how}")));
        }
        self.tag = self.tag.take().or_else(|| tag.map(str::to_owned));
        self.modified = self.modified.take().or_else(|| modified.map(str::to_owned));
        self.length = self.length.or(length);
        Ok(())
    }

    fn as_told(&self) -> Told<'_> {
        Told { length: self.length, tag: self.tag.as_deref(), modified: self.modified.as_deref() }
    }
}

/// Statuses of servers that are starting, busy or behind a proxy that lost them.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn status_words(response: &Response) -> String {
    format!("the server answers {}", response.status_text())
}

/// Start and total of a `Content-Range`: `bytes 5-9/10`, `bytes 5-9/*`, `bytes */10`.
fn content_range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
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
}
