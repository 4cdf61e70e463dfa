//! Why an entry cannot be made.

use nix::errno::Errno;

use crate::error::{Error, Kind};

use super::name::shown;

/// Why an entry cannot be made.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What the archive asks for cannot be.
    Archive(String),
    /// What was tried, and what the kernel said.
    Kernel(String, Errno),
    /// An invariant is broken.
    Bug(&'static str),
}

impl Trouble {
    pub(super) fn no_link_target(target: &[u8]) -> Self {
        Self::Archive(format!("the hard link's target {} is not there", shown(target)))
    }

    /// The error about this entry.
    pub(super) fn about(self, name: &[u8]) -> Error {
        let name = if name.is_empty() { "the folder itself".to_owned() } else { shown(name) };
        match self {
            Self::Archive(words) => Error::new(Kind::Image, format!("making {name}: {words}")),
            Self::Kernel(what, errno) => Error::new(kind(errno), format!("making {name}: {what}: {}", errno.desc())),
            Self::Bug(what) => Error::bug(format!("making {name}: {what}")),
        }
    }
}

/// Whose fault it is: names that lead nowhere are the archive's.
fn kind(errno: Errno) -> Kind {
    match errno {
        Errno::ELOOP
        | Errno::ENOTDIR
        | Errno::ENAMETOOLONG
        | Errno::ENOENT
        | Errno::EEXIST
        | Errno::EISDIR
        | Errno::EXDEV
        | Errno::EMLINK
        | Errno::E2BIG
        | Errno::ERANGE
        | Errno::EINVAL => Kind::Image,
        _ => Kind::Medium,
    }
}

/// Names what was tried.
pub(super) trait Attempt<T> {
    fn attempt(self, what: &str) -> Result<T, Trouble>;
}

impl<T> Attempt<T> for Result<T, Errno> {
    fn attempt(self, what: &str) -> Result<T, Trouble> {
        self.map_err(|errno| Trouble::Kernel(what.to_owned(), errno))
    }
}
