//! Events as JSON, one object on a line.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::{Event, Sink};
use crate::error::{Context as _, Error, Kind, Result};

/// Writes events as JSON lines.
pub struct JsonLinesSink {
    out: Box<dyn Write + Send>,
    destination: String,
    failure: Option<Error>,
}

impl JsonLinesSink {
    /// Writes to standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(std::io::stdout(), "standard output")
    }

    /// Appends to a file; a regular file becomes readable for its owner alone.
    ///
    /// # Errors
    /// `Usage` when it cannot be opened for writing.
    pub fn file(path: &Path) -> Result<Self> {
        let file = open_private(path).context(Kind::Usage, || format!("opening {} for events", path.display()))?;
        Ok(Self::new(file, path.display().to_string()))
    }

    /// Writes to `out`, named `destination` in errors.
    pub fn new(out: impl Write + Send + 'static, destination: impl Into<String>) -> Self {
        Self { out: Box::new(out), destination: destination.into(), failure: None }
    }
}

impl Sink for JsonLinesSink {
    fn accept(&mut self, event: &Event) {
        if self.failure.is_some() {
            // The rest would stand behind a gap or a cut line.
            return;
        }
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // One write a line: lines of two writers never mix.
            self.out.write_all(&line)?;
            self.out.flush()
        });
        self.failure = written.context(Kind::Master, || format!("writing events to {}", self.destination)).err();
        if let Some(failure) = &self.failure {
            log::warn!("{failure}: no further events go there");
        }
    }

    fn flush(&mut self, _within: Duration) -> Result<()> {
        // Told once: a second flush has nothing new to say.
        self.failure.as_ref().map_or(Ok(()), |failure| Err(Error::new(failure.kind(), failure.to_string())))
    }
}

/// Opens a file for appending, made with mode 0600; one that was there before is narrowed to it.
pub(super) fn open_private(path: &Path) -> std::io::Result<std::fs::File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // A pipe or a terminal keeps the mode that its owner gave it.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::super::testing::{Shared, event};
    use super::*;

    #[test]
    fn every_event_is_one_line_without_absent_keys() {
        let out = Shared::default();
        let mut sink = JsonLinesSink::new(out.clone(), "memory");
        sink.accept(&Event { message: Some("a\nb".into()), ..event(EventKind::Log, 7) });
        sink.accept(&event(EventKind::RunFinished, 8));
        assert_eq!(
            out.text(),
            "{\"run\":\"r1\",\"seq\":1,\"time\":\"2026-01-02T03:04:05Z\",\"boot_time_ms\":7,\"kind\":\"log\",\
             \"message\":\"a\\nb\"}\n\
             {\"run\":\"r1\",\"seq\":1,\"time\":\"2026-01-02T03:04:05Z\",\"boot_time_ms\":8,\"kind\":\"run_finished\"}\n"
        );
    }

    #[test]
    fn file_is_private_and_appended_to() {
        let folder = std::env::temp_dir().join(format!("bedplate-json-lines-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("events");
        std::fs::write(&path, "earlier\n").unwrap();
        JsonLinesSink::file(&path).unwrap().accept(&event(EventKind::RunFinished, 8));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("earlier\n{\"run\":\"r1\""), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn full_medium_is_reported_by_flush_and_ends_nothing() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = JsonLinesSink::new(full, "/dev/full");
        sink.accept(&event(EventKind::RunStarted, 1));
        sink.accept(&event(EventKind::RunFinished, 2));
        let error = sink.flush(Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "writing events to /dev/full: No space left on device (os error 28)");
    }
}
