//! Wall clock and time since boot.

use nix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
