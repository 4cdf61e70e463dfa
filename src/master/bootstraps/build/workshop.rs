//! The folder that a build works in, and the lock that keeps others out.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use crate::error::{Context as _, Kind, Result};
use crate::sys::clock;
use crate::sys::lock::RunLock;

/// Begins the name of everything that a build has in the build folder; whatever is found of it belongs to a build that died.
const NAME: &str = "bedplate-build.";

/// Logs of failed builds that are kept.
const LOGS_KEPT: usize = 10;

/// Processes that were just killed may still make files for a moment.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

/// The folder of one build, gone when the build is.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: PathBuf,
    parent: PathBuf,
    id: String,
    _lock: RunLock,
}

impl Workshop {
    /// Takes the lock, removes what builds that died have left, and makes the folder.
    ///
    /// # Errors
    /// `Refused` when another build goes on there, `Usage` when the folder cannot be made.
    pub(super) fn open(parent: &Path) -> Result<Self> {
        let making = || format!("making {}", parent.display());
        DirBuilder::new().recursive(true).mode(0o755).create(parent).context(Kind::Usage, making)?;
        // An absolute path: tools work in other folders.
        let parent = fs::canonicalize(parent).context(Kind::Usage, making)?;
        let lock =
            RunLock::take(&parent.join("bedplate-build.lock")).map_err(|error| error.within("building a bootstrap"))?;
        sweep(&parent)?;
        let id = clock::run_id();
        let folder = parent.join(format!("{NAME}{id}"));
        let making = || format!("making {}", folder.display());
        // apt fetches as a user of its own.
        DirBuilder::new().mode(0o755).create(&folder).context(Kind::Medium, making)?;
        Ok(Self { folder, parent, id, _lock: lock })
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a folder in the folder, with those above it.
    ///
    /// # Errors
    /// `Medium`.
    pub(super) fn make(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).context(Kind::Medium, || format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file in the folder that its owner alone can read.
    ///
    /// # Errors
    /// `Medium`.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .context(Kind::Medium, || format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Where the log goes: there, or beside the folder.
    pub(super) fn log(&self, wanted: Option<&Path>) -> PathBuf {
        wanted.map_or_else(|| self.parent.join(format!("{NAME}{}.log", self.id)), Path::to_owned)
    }

    /// Removes the folder; what cannot be removed is told, and left to the next build.
    pub(super) fn close(self) {
        if let Err(error) = remove(&self.folder) {
            warn!("{error}");
        }
    }
}

/// Removes what builds have left that were killed, and all but the newest logs.
fn sweep(parent: &Path) -> Result<()> {
    let reading = || format!("reading {}", parent.display());
    let mut logs = Vec::new();
    for entry in fs::read_dir(parent).context(Kind::Usage, reading)? {
        let entry = entry.context(Kind::Usage, reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(NAME) || name == format!("{NAME}lock") {
            continue;
        }
        let kind = entry.file_type().context(Kind::Usage, reading)?;
        if kind.is_dir() {
            warn!("removing {}, which a build that was killed has left", entry.path().display());
            remove(&entry.path())?;
        } else if kind.is_file() && name.ends_with(".log") {
            logs.push(entry.path());
        }
    }
    // The time of a build is the first part of its name.
    logs.sort();
    for log in logs.iter().rev().skip(LOGS_KEPT - 1) {
        fs::remove_file(log).context(Kind::Usage, || format!("removing {}", log.display()))?;
    }
    Ok(())
}

/// Removes a folder with everything in it.
pub(super) fn remove(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + REMOVE_WITHIN;
    loop {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() < deadline => thread::sleep(REMOVE_WITHIN / 50),
            outcome => return outcome.context(Kind::Medium, || format!("removing {}", folder.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scratch::Scratch;

    use super::*;

    #[test]
    fn leftovers_go_and_a_second_build_is_refused() {
        let scratch = Scratch::new();
        let parent = scratch.path("build");
        fs::create_dir_all(parent.join("bedplate-build.dead/root/etc")).unwrap();
        fs::create_dir(parent.join("other")).unwrap();
        for number in 0..12 {
            fs::write(parent.join(format!("bedplate-build.{number:02}.log")), "x").unwrap();
        }
        let workshop = Workshop::open(&parent).unwrap();
        let error = Workshop::open(&parent).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().starts_with("building a bootstrap: another run holds "), "{error}");
        workshop.write("secret", "x").unwrap();
        workshop.close();
        let left = fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<_> = left.collect();
        left.sort();
        let logs = (3..12).map(|number| format!("bedplate-build.{number:02}.log"));
        assert_eq!(left, logs.chain(["bedplate-build.lock".into(), "other".into()]).collect::<Vec<_>>());
    }
}
