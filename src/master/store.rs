//! The folder that holds the master's state. A file is either the old or the new one, whatever kills the master.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context as _, Error, Kind, Result};
use crate::request::Secret;

use super::token;

/// Marks a file that is being written; whatever has it at a start is a leftover.
const UNFINISHED: &str = ".unfinished-";

/// Numbers unfinished files, so that two writers never share one.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// The state folder of a running master; held exclusively.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// Creates what is missing, takes the lock, removes what a killed master left unfinished.
    ///
    /// # Errors
    /// `Refused` when another master holds the folder; `Usage` when it cannot be created or read.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let folder = |name: &str, mode: u32| {
            let path = root.join(name);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .context(Kind::Usage, || format!("creating {}", path.display()))
        };
        folder("", 0o755)?;
        for name in ["nodes", "documents", "strangers", "events", "requests", "profiles", "builds"] {
            folder(name, 0o700)?;
        }
        for name in ["bootstrap", "targetimages", "loaders", "loaders/grub"] {
            folder(name, 0o755)?;
        }
        let store = Self { root: root.to_owned(), _lock: lock(root)? };
        for name in ["", "nodes", "documents", "strangers", "events", "requests", "loaders/grub", "builds"] {
            store.sweep(&root.join(name))?;
        }
        Ok(store)
    }

    /// A path inside the folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The token that operators show; made at the first start.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn operator_token(&self) -> Result<Secret> {
        let path = self.path("operator.token");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim())),
            Ok(_) => Err(Error::new(Kind::Usage, format!("{} is empty", path.display()))
                .advise("remove it: the next start makes a new one")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let token = token::fresh()?;
                self.write("operator.token", format!("{}\n", token.reveal()).as_bytes())?;
                Ok(token)
            }
            Err(error) => Err(Error::caused(Kind::Usage, format!("reading {}", path.display()), error)),
        }
    }

    /// Replaces a file at once and durably; it can be read by its owner alone.
    ///
    /// # Errors
    /// `Medium` when the file system refuses; the old file is then still there.
    pub(crate) fn write(&self, relative: &str, bytes: &[u8]) -> Result<()> {
        write_durably(&self.path(relative), bytes, 0o600)
    }

    /// The same for a file that everybody may read, as a TFTP server does under a user of its own. One that holds these
    /// bytes already stays.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn publish(&self, relative: &str, bytes: &[u8]) -> Result<()> {
        if self.read(relative)?.is_some_and(|old| old == bytes) {
            return Ok(());
        }
        write_durably(&self.path(relative), bytes, 0o644)
    }

    /// Replaces a file by a value as JSON.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_json<T: Serialize>(&self, relative: &str, value: &T) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(value).context(Kind::Bug, || format!("serialising {relative}"))?;
        self.write(relative, &bytes)
    }

    /// A JSON file as a value; nothing when there is none.
    ///
    /// # Errors
    /// `Medium` when it cannot be read, `Bug` when it does not parse.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, relative: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read(relative)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes)
            .context(Kind::Bug, || format!("parsing {}", self.path(relative).display()))?;
        Ok(Some(value))
    }

    /// A file's bytes; nothing when there is none.
    ///
    /// # Errors
    /// `Medium` when it cannot be read.
    pub(crate) fn read(&self, relative: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(relative);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::caused(Kind::Medium, format!("reading {}", path.display()), error)),
        }
    }

    /// Removes a file, durably; an absent one is fine.
    ///
    /// # Errors
    /// `Medium` when the file system refuses.
    pub(crate) fn remove(&self, relative: &str) -> Result<()> {
        let path = self.path(relative);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::caused(Kind::Medium, format!("removing {}", path.display()), error)),
        }
    }

    /// Names of the files in a folder, sorted.
    ///
    /// # Errors
    /// `Medium` when it cannot be listed.
    pub(crate) fn names(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let failed = || format!("listing {}", path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).context(Kind::Medium, failed)? {
            if let Ok(name) = entry.context(Kind::Medium, failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sweep(&self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).context(Kind::Usage, || format!("listing {}", folder.display()))? {
            let path = entry.context(Kind::Usage, || format!("listing {}", folder.display()))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED)) {
                fs::remove_file(&path).context(Kind::Medium, || format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn lock(root: &Path) -> Result<Flock<File>> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .context(Kind::Usage, || format!("opening {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        Error::caused(Kind::Refused, format!("locking {}", path.display()), errno)
            .advise("another bedplate-master serves this folder: stop it, or choose another --dir")
    })
}

/// Writes beside the file, flushes, renames over it, and flushes the folder.
/// # Errors
/// `Medium` when the file system refuses; the old file is then still there.
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let failed = || format!("writing {}", path.display());
    let name = path.file_name().ok_or_else(|| Error::bug(format!("{} has no file name", path.display())))?;
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished =
        path.with_file_name(format!("{UNFINISHED}{}-{number}-{}", std::process::id(), name.to_string_lossy()));
    let written = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, path))
        .context(Kind::Medium, failed);
    if written.is_err() {
        // The next start sweeps it away; the error above is what counts.
        let _swept_later = fs::remove_file(&unfinished);
    }
    written?;
    sync_folder(path)
}

/// Makes a rename or removal in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .context(Kind::Medium, || format!("flushing {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("bedplate-store-{}-{name}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn second_master_on_a_folder_is_refused() {
        let root = scratch("lock");
        let first = Store::open(&root).unwrap();
        assert_eq!(Store::open(&root).unwrap_err().kind(), Kind::Refused);
        drop(first);
        Store::open(&root).unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn leftovers_of_a_killed_master_are_swept_and_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = scratch("sweep");
        let store = Store::open(&root).unwrap();
        store.write("requests/1.json", b"{}").unwrap();
        let mode = fs::metadata(store.path("requests/1.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(store.path("nodes/.unfinished-1-0-7.json"), b"{\"id\":").unwrap();
        drop(store);
        assert_eq!(Store::open(&root).unwrap().names("nodes").unwrap(), Vec::<String>::new());
        fs::remove_dir_all(root).unwrap();
    }
}
