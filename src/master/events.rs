//! Events of runs: one file a run, appended and flushed before they are acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Context as _, Kind, Result};
use crate::report::Event;

use super::refusal::Refusal;
use super::store::{Store, sync_folder};

/// A run writes at most this much; with five progress events a second that is a day.
const RUN_BYTES: u64 = 64 << 20;

/// Runs of a node that are kept.
const RUNS_KEPT: usize = 10;

/// The most of a run's end that is read for showing it.
const TAIL_BYTES: u64 = 64 << 10;

/// The run that a node reports.
#[derive(Debug)]
pub(crate) struct RunLog {
    id: String,
    last_seq: u64,
    bytes: u64,
}

/// A run's identifier: it becomes a file name.
pub(crate) fn is_run_id(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.bytes().all(is_letter)
}

/// Reads a batch: one event a line, all of one run.
///
/// # Errors
/// 400 that names the line.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let lines = body.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let mut events: Vec<Event> = Vec::new();
    for (at, line) in lines {
        let event: Event = serde_json::from_slice(line)
            .map_err(|error| Refusal::bad(format!("line {} is not an event: {error}", at + 1)))?;
        if !is_run_id(&event.run) {
            return Err(Refusal::bad(format!("line {}: run: expected at most 64 of A-Z a-z 0-9 . _ -", at + 1)));
        }
        if events.first().is_some_and(|first| first.run != event.run) {
            return Err(Refusal::bad(format!("line {}: another run than in line 1", at + 1)));
        }
        events.push(event);
    }
    Ok(events)
}

/// Appends those events that are new and returns them; they are durable then.
///
/// # Errors
/// 413 when the run says too much; 500 when they cannot be written.
pub(crate) fn append(
    store: &Store,
    node: u32,
    run: &mut Option<RunLog>,
    events: Vec<Event>,
) -> Result<(u64, Vec<Event>), Refusal> {
    let Some(id) = events.first().map(|event| event.run.clone()) else {
        return Ok((run.as_ref().map_or(0, |run| run.last_seq), Vec::new()));
    };
    let mut log = match run.take().filter(|run| run.id == id) {
        Some(log) => log,
        None => RunLog::open(store, node, id)?,
    };
    let mut bytes = Vec::new();
    let mut new = Vec::new();
    let mut last_seq = log.last_seq;
    for event in events {
        if event.seq <= last_seq {
            continue;
        }
        last_seq = event.seq;
        serde_json::to_writer(&mut bytes, &event).context(Kind::Bug, || "serialising an event")?;
        bytes.push(b'\n');
        new.push(event);
    }
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if log.bytes.saturating_add(length) > RUN_BYTES {
        return Err(Refusal::too_large(format!("run {} has more than {RUN_BYTES} bytes of events", log.id)));
    }
    if !new.is_empty() {
        // When this fails `run` stays empty, and the next batch looks at the file afresh.
        write(&store.path(&run_path(node, &log.id)), &bytes)?;
        log.last_seq = last_seq;
        log.bytes += length;
    }
    let last_seq = log.last_seq;
    *run = Some(log);
    Ok((last_seq, new))
}

/// The last events of the last run, at most `count`, oldest first.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn last(store: &Store, node: u32, count: usize) -> Result<Vec<Event>> {
    let Some(name) = runs(store, node)?.pop() else { return Ok(Vec::new()) };
    let path = store.path(&format!("events/{name}"));
    let failed = || format!("reading {}", path.display());
    let mut file = File::open(&path).context(Kind::Medium, failed)?;
    let length = file.metadata().context(Kind::Medium, failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).context(Kind::Medium, failed)?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).context(Kind::Medium, failed)?;
    // The first line may be cut off, and then does not parse.
    let events = bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let events: Vec<Event> = events.collect();
    Ok(events[events.len().saturating_sub(count)..].to_vec())
}

impl RunLog {
    /// Finds out how far a run got; what a killed master wrote in part is cut off.
    fn open(store: &Store, node: u32, id: String) -> Result<Self> {
        let path = store.path(&run_path(node, &id));
        let failed = || format!("reading {}", path.display());
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                forget_old_runs(store, node)?;
                return Ok(Self { id, last_seq: 0, bytes: 0 });
            }
            Err(error) => return Err(crate::error::Error::caused(Kind::Medium, failed(), error)),
        };
        let mut whole = 0;
        let mut last_seq = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Ok(event) = serde_json::from_slice::<Event>(line) else { break };
            if line.last() != Some(&b'\n') {
                break;
            }
            last_seq = event.seq;
            whole += line.len();
        }
        let length = u64::try_from(whole).unwrap_or(u64::MAX);
        if whole < bytes.len() {
            let file = OpenOptions::new().write(true).open(&path).context(Kind::Medium, failed)?;
            file.set_len(length).and_then(|()| file.sync_all()).context(Kind::Medium, failed)?;
        }
        Ok(Self { id, last_seq, bytes: length })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_new = !path.exists();
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_data()
        })
        .context(Kind::Medium, || format!("writing {}", path.display()))?;
    if is_new { sync_folder(path) } else { Ok(()) }
}

fn run_path(node: u32, run: &str) -> String {
    format!("events/{node}.{run}.ndjson")
}

/// File names of a node's runs, the last one written at the end.
fn runs(store: &Store, node: u32) -> Result<Vec<String>> {
    let prefix = format!("{node}.");
    let mut runs: Vec<_> = store.names("events")?.into_iter().filter(|name| name.starts_with(&prefix)).collect();
    runs.sort_by_key(|name| {
        std::fs::metadata(store.path(&format!("events/{name}"))).and_then(|data| data.modified()).ok()
    });
    Ok(runs)
}

fn forget_old_runs(store: &Store, node: u32) -> Result<()> {
    let runs = runs(store, node)?;
    for name in runs.iter().take((runs.len() + 1).saturating_sub(RUNS_KEPT)) {
        store.remove(&format!("events/{name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_cannot_leave_their_folder() {
        assert!(is_run_id("2026-01-01T00.00.00-ab_1"));
        for id in ["", "..", ".a", "a/b", "a\0", "a b"] {
            assert!(!is_run_id(id), "{id:?}");
        }
    }
}
