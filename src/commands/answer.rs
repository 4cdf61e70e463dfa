//! What an agent makes of a master's answers: any of them may be nonsense.

use std::sync::OnceLock;
use std::time::Duration;

use log::{info, warn};

use crate::error::{Error, Kind, Result};
use crate::http::Response;
use crate::sys::clock;

/// How long a master may take to answer.
pub(super) const WITHIN: Duration = Duration::from_secs(20);

/// How long the whole body of an answer may take: one that drips is as good as none.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// Written when the bootstrap is built: seconds since 1970.
const BUILD_DATE: &str = "/etc/bedplate/build-date";

/// The whole body, at most `limit` bytes and within a minute.
pub(super) fn body(response: Response, limit: u64) -> Result<Vec<u8>> {
    response.bytes_within(limit, BODY_WITHIN).map_err(|error| Error::new(Kind::Master, error.to_string()))
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
        let error = response.bytes_within(1 << 20, Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().ends_with(": not complete after 0.2 s"), "{error}");
    }
}
