//! The log of a build, its phases, and what is told of a failure.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use log::warn;

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::Cancel;
use crate::sys::clock;
use crate::sys::job::{Job, Watch};

use super::{Phase, Progress};

/// Lines of a phase that are kept for its error.
const KEPT: usize = 200;

/// The kernel's words when a file system is full.
const FULL: &str = "No space left on device";

/// Hears everything that a build says.
pub(super) struct Journal<'a> {
    progress: &'a mut dyn Progress,
    cancel: Cancel,
    path: PathBuf,
    file: File,
    is_broken: bool,
    phase: Phase,
    tail: VecDeque<String>,
    /// Where scripts tell their phases, and how much of it was read.
    marks: Option<(PathBuf, usize)>,
}

impl<'a> Journal<'a> {
    /// Begins the log.
    ///
    /// # Errors
    /// `Usage` when it cannot be written.
    pub(super) fn open(path: PathBuf, progress: &'a mut dyn Progress, cancel: Cancel) -> Result<Self> {
        // Scripts may print what only root is to see.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.context(Kind::Usage, || format!("writing the log {}", path.display()))?;
        progress.log(&path);
        let (tail, marks) = (VecDeque::new(), None);
        Ok(Self { progress, cancel, path, file, is_broken: false, phase: Phase::Check, tail, marks })
    }

    /// A phase begins.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.tail.clear();
        self.write(&format!("== {} {}", clock::now_rfc3339(), phase.doing()));
        self.progress.phase(phase);
    }

    /// The phase that the build is at.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// A line of the build's own.
    pub(super) fn note(&mut self, line: &str) {
        self.write(line);
        self.progress.line(line);
    }

    /// Lines of this phase, the last ones.
    pub(super) fn lines(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Follows the phases that scripts write there.
    pub(super) fn follow(&mut self, marks: PathBuf) {
        self.marks = Some((marks, 0));
    }

    /// Runs a job and keeps what it says.
    ///
    /// # Errors
    /// `Interrupted`, `Terminated` when the build is cancelled; `Tool` as [`Job::run`].
    pub(super) fn run(&mut self, job: Job) -> Result<i32> {
        job.run(self)
    }

    /// The last words of a job that failed, those of the tool that carried it left out.
    pub(super) fn last_words(&self) -> String {
        // By these mmdebstrap and the hook tell how they end after a failure.
        let of_others = |line: &&String| {
            let line = line.trim();
            !line.is_empty() && !["I: ", "E: ", "W: ", "bedplate: "].iter().any(|mark| line.starts_with(mark))
        };
        let lines: Vec<_> = self.tail.iter().filter(of_others).collect();
        let errors: Vec<_> = self.tail.iter().filter(|line| line.starts_with("E: ")).collect();
        let lines = if lines.is_empty() { errors } else { lines };
        let last = lines[lines.len().saturating_sub(3)..].iter().map(|line| line.trim()).collect::<Vec<_>>();
        if last.is_empty() { "it said nothing".to_owned() } else { last.join(" | ") }
    }

    fn write(&mut self, line: &str) {
        if self.is_broken {
            return;
        }
        // A build that fills its file system is to end with its own words, not with those about its log.
        if let Err(cause) = writeln!(self.file, "{line}") {
            warn!("writing the log {}: {cause}; it ends here", self.path.display());
            self.is_broken = true;
        }
    }

    fn read_marks(&mut self) {
        let Some((path, read)) = &mut self.marks else { return };
        // Absent before the first one; a line that is being written has no end yet.
        let text = fs::read_to_string(path).unwrap_or_default();
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let fresh = text.get(*read..complete).unwrap_or_default();
        let phases: Vec<_> = fresh.lines().filter_map(Phase::of_name).collect();
        *read = complete.max(*read);
        for phase in phases {
            if phase != self.phase {
                self.enter(phase);
            }
        }
    }

    /// Gives an error its phase, and says where the log is; removes a log that nobody asked for after a success.
    pub(super) fn end<T>(mut self, outcome: Result<T>, build_dir: &Path, is_wanted: bool) -> Result<T> {
        match outcome {
            Ok(done) => {
                if !is_wanted && let Err(cause) = fs::remove_file(&self.path) {
                    warn!("removing {}: {cause}", self.path.display());
                }
                Ok(done)
            }
            Err(error) => {
                let error = self.explain(error, build_dir);
                self.write(&format!("== {} {error}", clock::now_rfc3339()));
                let log = format!("the log is {}", self.path.display());
                Err(match error.advice() {
                    Some(advice) => {
                        let advice = format!("{advice}; {log}");
                        error.advise(advice)
                    }
                    None => error.advise(log),
                })
            }
        }
    }

    /// A full file system has many faces: each tool says it in its own way, and some do not say it.
    fn explain(&self, error: Error, build_dir: &Path) -> Error {
        let is_stopped = matches!(error.kind(), Kind::Interrupted | Kind::Terminated);
        let is_storage = |cause: &std::io::Error| cause.kind() == ErrorKind::StorageFull;
        let mut next = std::error::Error::source(&error);
        let mut is_full = error.to_string().contains(FULL) || self.tail.iter().any(|line| line.contains(FULL));
        while let Some(cause) = next {
            is_full |= cause.downcast_ref::<std::io::Error>().is_some_and(is_storage);
            next = cause.source();
        }
        if is_full && !is_stopped && self.phase > Phase::Check {
            let doing = self.phase.doing();
            return Error::new(Kind::Medium, format!("{doing}: {FULL}: {}", build_dir.display()))
                .advise("a build takes up to 4 GB; name another folder with build_dir or --image-build-dir");
        }
        if self.phase == Phase::Check { error } else { error.within(self.phase.doing()) }
    }
}

impl Watch for Journal<'_> {
    fn line(&mut self, line: &str) {
        self.read_marks();
        self.write(line);
        self.progress.line(line);
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    fn glance(&mut self) -> Result<()> {
        self.read_marks();
        self.cancel.check()
    }
}
