//! What an agent makes of a master's answers: any of them may be nonsense.

use std::io::Read as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Response, read_error};
use crate::sys::clock;

/// How long a master may take to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(20);

/// How long the whole body of an answer may take: one that drips is as good as none.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// As much of a strange answer as a message shows.
const EXCERPT: usize = 200;

/// Written when the bootstrap is built: seconds since 1970.
const BUILD_DATE: &str = "/etc/bedplate/build-date";

/// The whole body, at most `limit` bytes and within a minute.
pub(super) fn body(response: Response, limit: u64) -> Result<Vec<u8>> {
    body_within(response, limit, BODY_WITHIN)
}

fn body_within(response: Response, limit: u64, within: Duration) -> Result<Vec<u8>> {
    let url = response.url().to_string();
    let reading = || format!("reading the answer of {url}");
    let mut reader = response.reader();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let deadline = Instant::now() + within;
    loop {
        let count = reader.read(&mut buffer).map_err(read_error).context(Kind::Master, reading)?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&buffer[..count]);
        if !u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
            return Err(Error::new(Kind::Master, format!("{}: it exceeds {limit} bytes", reading())));
        }
        if Instant::now() > deadline {
            let seconds = within.as_secs_f64();
            return Err(Error::new(Kind::Master, format!("{}: not complete after {seconds:.1} s", reading())));
        }
    }
}

/// The beginning of a body in printable characters, for messages.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words = words.collect::<Vec<_>>().join(" ");
    if words.is_empty() { "nothing".to_owned() } else { words }
}

/// Sets the clock of a bootstrap by the `Date` of an answer; any other machine keeps its own time.
pub(super) fn follow_clock(response: &Response) {
    let Some(built) = build_date() else { return };
    let Some(told) = response.header("date").and_then(clock::parse_http_date) else { return };
    // A master whose clock is before our build is wrong.
    let result = if told < built { Ok(false) } else { clock::follow(told) };
    note(result, "the master's time");
}

/// Before any TLS the clock of a bootstrap is at least its build date.
pub(super) fn raise_clock() {
    if let Some(built) = build_date() {
        note(clock::set_at_least(built), "the build date of this bootstrap");
    }
}

fn build_date() -> Option<i64> {
    static DATE: OnceLock<Option<i64>> = OnceLock::new();
    *DATE.get_or_init(|| std::fs::read_to_string(BUILD_DATE).ok()?.trim().parse().ok())
}

fn note(result: Result<bool>, source: &str) {
    match result {
        Ok(true) => info!("the clock is set to {source}: {}", clock::now_rfc3339()),
        Ok(false) => {}
        // Without TLS the clock only makes times in logs wrong; with TLS the next call says why it fails.
        Err(error) => warn!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Answer, Server};
    use crate::http::{Client, Method, Settings};

    #[test]
    fn a_body_that_drips_for_ever_is_given_up() {
        let server = Server::start(|_| Answer::Drip);
        let client = Client::new(&Settings::default()).unwrap();
        let response = client.request(Method::GET, &server.url()).send().unwrap();
        let error = body_within(response, 1 << 20, Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().ends_with(": not complete after 0.2 s"), "{error}");
    }

    #[test]
    fn strange_answers_are_shown_short_and_printable() {
        assert_eq!(excerpt(b"<html>\r\n\x1b[2J  busy\0</html>"), "<html> [2J busy </html>");
        assert_eq!(excerpt(b" \n"), "nothing");
        assert!(excerpt(&[b'x'; 5000]).len() <= EXCERPT);
    }
}
