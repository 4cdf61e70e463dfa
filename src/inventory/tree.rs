//! Reads of small files below a root, bounded in every direction: a saved or hostile tree neither hangs nor fills memory.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::{Warning, natural_key};

/// A sysfs attribute is at most one page.
const ATTRIBUTE_LIMIT: u64 = 4096;

/// The longest table read: `/proc/cpuinfo` takes about 1.5 KiB for each of at most a few thousand processors.
pub(super) const TABLE_LIMIT: u64 = 16 << 20;

/// Entries read of one folder; more than any machine has devices of one kind.
const ENTRIES_LIMIT: usize = 20_000;

/// The file system below a root, with what could not be read of it.
pub(super) struct Tree {
    root: PathBuf,
    warnings: RefCell<Vec<Warning>>,
}

impl Tree {
    /// The tree below `root`, `/` for the live machine.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), warnings: RefCell::default() }
    }

    /// Whether it is the running machine, so that its devices can be asked.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Notes that something could not be read.
    pub(super) fn warn(&self, source: impl Into<String>, reason: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning { source: source.into(), reason: reason.into() });
    }

    /// What could not be read.
    pub(super) fn into_warnings(self) -> Vec<Warning> {
        self.warnings.into_inner()
    }

    /// The trimmed text of an attribute; absent when it does not exist or is empty, and with a warning when it cannot be read.
    pub(super) fn attribute(&self, path: &str) -> Option<String> {
        self.text(path, ATTRIBUTE_LIMIT).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// As [`Self::attribute`], for attributes that the kernel refuses to show in ordinary states of a device.
    pub(super) fn attribute_if_shown(&self, path: &str) -> Option<String> {
        let bytes = self.read(path, ATTRIBUTE_LIMIT).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// An attribute that is a number.
    pub(super) fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        let text = self.attribute(path)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.warn(path, format!("{text:?} is not a number in range"));
        }
        number
    }

    /// The text of a file of at most `limit` bytes.
    pub(super) fn text(&self, path: &str, limit: u64) -> Option<String> {
        self.bytes(path, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The content of a file of at most `limit` bytes.
    pub(super) fn bytes(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        match self.read(path, limit) {
            Ok(bytes) => Some(bytes),
            Err(error) if is_absence(&error) => None,
            Err(error) => {
                self.warn(path, error.to_string());
                None
            }
        }
    }

    /// The names in a folder, in natural order; none when it does not exist.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = match fs::read_dir(self.below(path)) {
            Ok(entries) => entries,
            Err(error) => {
                if !is_absence(&error) {
                    self.warn(path, error.to_string());
                }
                return Vec::new();
            }
        };
        let mut names: Vec<_> =
            entries.take(ENTRIES_LIMIT).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_by_cached_key(|name| natural_key(name));
        names
    }

    /// Whether there is something at a path.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.below(path).exists()
    }

    /// The last component of what a link points to.
    pub(super) fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.below(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The path below the root with all links resolved, as the live machine would show it.
    pub(super) fn resolve(&self, path: &str) -> Option<String> {
        let real = fs::canonicalize(self.below(path)).ok()?;
        let root = fs::canonicalize(&self.root).ok()?;
        Some(format!("/{}", real.strip_prefix(root).ok()?.to_str()?))
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        // Opening a FIFO for reading waits for a writer unless told not to.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.below(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut bytes)?;
        if u64::try_from(read).is_ok_and(|read| read <= limit) {
            Ok(bytes)
        } else {
            Err(io::Error::other(format!("longer than {limit} bytes")))
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    // A device that went away while it was read answers ENODEV.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32)
}
