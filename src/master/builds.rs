//! Builds of bootstrap images in the background: one at a time, followed from afar, ended with the master.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::Cancel;
use crate::sys::clock;

use super::bootstraps::build::{self, Phase, Progress, Request};
use super::bootstraps::store::Store as Images;
use super::store::write_durably;

/// What became of the last build.
const LAST: &str = "last.json";

/// What the last build said.
const LOG: &str = "last.log";

/// As much of a log as one answer holds.
const LOG_PART: usize = 1 << 20;

/// How long the end of a master waits for the end of a build: its processes are killed and its mounts undone.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// What a build came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// It goes on.
    Running,
    /// The image is imported, and active where that was asked for.
    Done,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// The build that goes on, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Build {
    /// What it came to.
    pub state: BuildState,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
    /// What it is at, or was at when it ended: `check`, `system`, `squashfs`, ..
    pub phase: String,
    /// The same for people.
    pub doing: String,
    /// How many phases are behind it.
    pub phases_done: usize,
    /// How many phases there are.
    pub phases: usize,
    /// The image that it made.
    pub uuid: Option<String>,
    /// Whether that image was made the active one.
    pub activated: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// What may help.
    pub advice: Option<String>,
}

impl Build {
    fn new() -> Self {
        let mut build = Self {
            state: BuildState::Running,
            started: clock::now_rfc3339(),
            ended: None,
            phase: String::new(),
            doing: String::new(),
            phases_done: 0,
            phases: Phase::ALL.len(),
            uuid: None,
            activated: false,
            error: None,
            advice: None,
        };
        build.enter(Phase::Check);
        build
    }

    fn enter(&mut self, phase: Phase) {
        phase.name().clone_into(&mut self.phase);
        phase.doing().clone_into(&mut self.doing);
        self.phases_done = Phase::ALL.iter().position(|other| *other == phase).unwrap_or_default();
    }

    fn end(&mut self, state: BuildState, cause: Option<&Error>) {
        self.state = state;
        self.ended = Some(clock::now_rfc3339());
        self.error = cause.map(ToString::to_string);
        self.advice = cause.and_then(Error::advice).map(str::to_owned);
    }
}

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogPart {
    pub(crate) bytes: Vec<u8>,
    /// Where the next part begins.
    pub(crate) next: u64,
}

/// The builds of a master.
#[derive(Debug)]
pub(crate) struct Builds {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Build>,
    running: Option<Cancel>,
    is_ending: bool,
}

impl Builds {
    /// Reads what became of the last build. One that was going on ended with the master that did it.
    ///
    /// # Errors
    /// `Medium` when the folder cannot be read or written.
    pub(crate) fn open(folder: PathBuf) -> Result<Arc<Self>> {
        // A build works in another folder than the master.
        let folder = std::path::absolute(&folder).context(Kind::Usage, || format!("finding {}", folder.display()))?;
        let path = folder.join(LAST);
        let mut last: Option<Build> = match std::fs::read(&path) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).context(Kind::Bug, || format!("parsing {}", path.display()))?)
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(Error::caused(Kind::Medium, format!("reading {}", path.display()), cause)),
        };
        let builds = Self { folder, state: Mutex::default() };
        if let Some(cut_off) = last.as_mut().filter(|build| build.state == BuildState::Running) {
            let cause = Error::new(Kind::Terminated, "the master ended before the build did");
            cut_off.end(BuildState::Failed, Some(&cause));
            warn!("the build of a bootstrap image of {}: {cause}", cut_off.started);
            builds.store(cut_off)?;
        }
        builds.lock().last = last;
        Ok(Arc::new(builds))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, build: &Build) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(build).context(Kind::Bug, || "serialising a build")?;
        write_durably(&self.folder.join(LAST), &bytes, 0o600)
    }

    /// Where the log of a build goes.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Where a build puts its archive, until it is imported.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The build that goes on, or the last one.
    pub(crate) fn last(&self) -> Option<Build> {
        self.lock().last.clone()
    }

    /// Starts a build, which goes on whoever listens. `activate` is called with the image that was imported.
    ///
    /// # Errors
    /// `Refused` while another one goes on; `Medium` when it cannot be noted.
    pub(crate) fn start(
        self: &Arc<Self>,
        request: Request,
        images: Images,
        activate: Option<impl FnOnce(&str) -> Result<()> + Send + 'static>,
    ) -> Result<Build> {
        let mut state = self.lock();
        if state.running.is_some() {
            return Err(Error::new(Kind::Refused, "a build of a bootstrap image goes on already"));
        }
        if state.is_ending {
            return Err(Error::new(Kind::Refused, "the master ends"));
        }
        let build = Build::new();
        self.store(&build)?;
        // That of the build before would be taken for this one's until this one has said something.
        if let Err(cause) = std::fs::remove_file(self.log_file())
            && cause.kind() != std::io::ErrorKind::NotFound
        {
            warn!("removing {}: {cause}", self.log_file().display());
        }
        let cancel = Cancel::default();
        let (builds, its_cancel) = (Arc::clone(self), cancel.clone());
        let run = move || {
            let outcome = builds.carry_out(&request, &images, &its_cancel, activate);
            builds.ended(outcome, &its_cancel);
        };
        thread::Builder::new().name("build".to_owned()).spawn(run).context(Kind::Bug, || "starting a thread")?;
        info!("a build of a bootstrap image begins");
        state.last = Some(build.clone());
        state.running = Some(cancel);
        Ok(build)
    }

    fn carry_out(
        self: &Arc<Self>,
        request: &Request,
        images: &Images,
        cancel: &Cancel,
        activate: Option<impl FnOnce(&str) -> Result<()>>,
    ) -> Result<()> {
        let built = build::build(request, &mut Told(self), cancel)?;
        let imported = images.import(&built.path);
        // It is in the store now, or is no use.
        if let Err(cause) = std::fs::remove_file(&built.path) {
            warn!("removing {}: {cause}", built.path.display());
        }
        let uuid = match imported {
            Ok(imported) => imported.uuid.to_string(),
            // Equal inputs have equal names: what is there is what was built.
            Err(error) if error.kind() == Kind::Refused => {
                info!("{error}: it is kept");
                built.uuid.to_string()
            }
            Err(error) => return Err(error),
        };
        self.change(|build| build.uuid = Some(uuid.clone()));
        if let Some(activate) = activate {
            activate(&uuid)?;
            self.change(|build| build.activated = true);
        }
        Ok(())
    }

    fn ended(&self, outcome: Result<()>, cancel: &Cancel) {
        let is_cancelled = cancel.check().is_err();
        let (result, cause) = match outcome {
            Ok(()) => (BuildState::Done, None),
            Err(_) if is_cancelled => (BuildState::Cancelled, Some(Error::new(Kind::Terminated, "it was cancelled"))),
            Err(cause) => (BuildState::Failed, Some(cause)),
        };
        self.change(|build| build.end(result, cause.as_ref()));
        let mut state = self.lock();
        state.running = None;
        match cause {
            None => info!("the build of a bootstrap image is done"),
            Some(cause) => warn!("the build of a bootstrap image: {cause}"),
        }
        drop(state);
    }

    fn change(&self, change: impl FnOnce(&mut Build)) {
        let mut state = self.lock();
        let Some(build) = &mut state.last else { return };
        change(build);
        if let Err(cause) = self.store(build) {
            // What is asked of this master is answered from memory.
            error!("{cause}");
        }
    }

    /// Ends the build that goes on; that takes a moment.
    ///
    /// # Errors
    /// `Refused` when none goes on.
    pub(crate) fn cancel(&self) -> Result<Build> {
        let state = self.lock();
        match (&state.running, &state.last) {
            (Some(cancel), Some(build)) => {
                cancel.cancel();
                info!("the build of a bootstrap image is cancelled");
                Ok(build.clone())
            }
            _ => Err(Error::new(Kind::Refused, "no build of a bootstrap image goes on")),
        }
    }

    /// Ends what goes on, and waits for that; nothing is started any more.
    pub(crate) fn stop(&self) {
        self.lock().is_ending = true;
        if self.cancel().is_err() {
            return;
        }
        let until = Instant::now() + ENDS_WITHIN;
        while self.lock().running.is_some() && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A part of the last build's log, from a byte on.
    ///
    /// # Errors
    /// `Medium` when it cannot be read.
    pub(crate) fn log(&self, offset: u64) -> Result<LogPart> {
        let path = self.log_file();
        let reading = || format!("reading {}", path.display());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Ok(LogPart { bytes: Vec::new(), next: 0 });
            }
            Err(cause) => return Err(Error::caused(Kind::Medium, reading(), cause)),
        };
        let size = file.metadata().context(Kind::Medium, reading)?.len();
        // A log that is shorter is another build's: the reader sees it by where the next part begins.
        let offset = offset.min(size);
        let length = usize::try_from(size - offset).unwrap_or(LOG_PART).min(LOG_PART);
        let mut bytes = vec![0; length];
        let count = file.read_at(&mut bytes, offset).context(Kind::Medium, reading)?;
        bytes.truncate(count);
        let next = offset.saturating_add(crate::units::widen(count));
        Ok(LogPart { bytes, next })
    }
}

/// Notes the phases of a build.
struct Told<'a>(&'a Arc<Builds>);

impl Progress for Told<'_> {
    fn log(&mut self, _path: &Path) {}

    fn phase(&mut self, phase: Phase) {
        self.0.change(|build| build.enter(phase));
    }

    fn line(&mut self, _line: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_build_that_was_cut_off_has_failed() {
        let scratch = Scratch::new();
        let open = || Builds::open(scratch.folder().to_owned()).unwrap();
        assert_eq!(open().last(), None);
        open().store(&Build::new()).unwrap();
        let last = open().last().unwrap();
        assert_eq!(
            (last.state, last.error.as_deref()),
            (BuildState::Failed, Some("the master ended before the build did"))
        );
        assert!(last.ended.is_some());
        assert_eq!(open().last().unwrap(), last, "told once");
    }

    #[test]
    fn a_log_is_read_in_parts_and_a_shorter_one_shows() {
        let scratch = Scratch::new();
        let builds = Builds::open(scratch.folder().to_owned()).unwrap();
        let part = |offset| builds.log(offset).map(|part| (String::from_utf8(part.bytes).unwrap(), part.next)).unwrap();
        assert_eq!(part(0), (String::new(), 0));
        std::fs::write(builds.log_file(), "one\ntwo\n").unwrap();
        assert_eq!(part(0), ("one\ntwo\n".to_owned(), 8));
        assert_eq!(part(4), ("two\n".to_owned(), 8));
        assert_eq!(part(8), (String::new(), 8));
        assert_eq!(part(99), (String::new(), 8));
    }
}
