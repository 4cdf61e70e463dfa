//! What the sinks' tests share.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::{Event, EventKind};

/// A bare event of run `r1`, so many milliseconds after boot.
pub fn event(kind: EventKind, boot_time_ms: u64) -> Event {
    Event {
        run: "r1".to_owned(),
        seq: 1,
        time: "2026-01-02T03:04:05Z".to_owned(),
        boot_time_ms,
        kind,
        step: None,
        bytes_done: None,
        bytes_total: None,
        rate: None,
        eta_s: None,
        message: None,
        error: None,
    }
}

/// A writer whose text the test reads afterwards.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
