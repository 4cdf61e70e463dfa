//! Wall clock and time since boot.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::error::{Context as _, Kind, Result};

/// A clock that differs by no more is left alone: the answer that told the time took its time, too.
const TOLERANCE_SECONDS: u64 = 2;

/// The wall clock as RFC 3339 in UTC, to the second.
#[must_use]
pub fn now_rfc3339() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    // Years beyond 9999 have no RFC 3339 form; a clock that wrong is shown as the epoch.
    now.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// Milliseconds since the machine started, suspended time included.
#[must_use]
pub fn since_boot_ms() -> u64 {
    // CLOCK_BOOTTIME exists on every kernel since 2.6.39; without it there is no time to tell.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(millis)
    })
}

/// The wall clock in seconds since 1970.
#[must_use]
pub fn now_epoch() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Moves the wall clock forward to `epoch` when it is behind; says whether it did.
///
/// # Errors
/// `Refused` when the kernel does not let this process do it.
pub fn set_at_least(epoch: i64) -> Result<bool> {
    if now_epoch() >= epoch {
        return Ok(false);
    }
    set(epoch).map(|()| true)
}

/// Sets the wall clock to `epoch` when it differs by more than two seconds; says whether it did.
///
/// # Errors
/// `Refused` when the kernel does not let this process do it.
pub fn follow(epoch: i64) -> Result<bool> {
    if now_epoch().abs_diff(epoch) <= TOLERANCE_SECONDS {
        return Ok(false);
    }
    set(epoch).map(|()| true)
}

fn set(epoch: i64) -> Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(epoch, 0))
        .context(Kind::Refused, || format!("setting the clock to {epoch} s after 1970"))
}

/// The seconds since 1970 in a `Date` header (RFC 9110, section 5.6.7, preferred form).
#[must_use]
pub fn parse_http_date(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok().map(OffsetDateTime::unix_timestamp)
}

/// An identifier for a run: the time in microseconds and the process, in hexadecimal.
#[must_use]
pub fn run_id() -> String {
    let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
    format!("{micros:x}-{:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn a_clock_that_is_right_is_not_touched() {
        assert!(!set_at_least(0).unwrap());
        assert!(!follow(now_epoch()).unwrap());
    }
}
