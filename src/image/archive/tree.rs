//! The tree that an archive is unpacked to.
//!
//! No path of the archive is ever put together with one of this system: the kernel resolves every folder with the target as
//! its root (`RESOLVE_IN_ROOT`), so that links lead within the target wherever they point, and what is made is made in an
//! open folder under one last name that is not followed.

use std::collections::{BTreeMap, btree_map};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mkdirat, mknodat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, syncfs, unlinkat};

use super::content::Contents;
use super::entry::{Entry, What};
use super::name::split;
use super::settings::{self, Later};
use super::trouble::{Attempt as _, Trouble};

/// How often the kernel may say that something moved while it looked.
const TRIES: usize = 32;

/// An open folder with entries in the making.
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder of the last entry: the next one is often in it, too.
    recent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// The file systems that something was made in, by device.
    systems: BTreeMap<u64, OwnedFd>,
    /// What is set at the end.
    later: Later,
    /// Whether anything may have been made.
    is_begun: bool,
    /// Hashes of the files, where they are wanted.
    pub(super) contents: Option<Contents>,
}

/// A file that waits for its data.
pub(super) struct NewFile {
    pub(super) file: File,
    folder: Rc<OwnedFd>,
}

impl Tree {
    /// Opens a folder that is there.
    pub(super) fn open(folder: &Path, keeps_hashes: bool) -> Result<Self, Trouble> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(folder, flags, Mode::empty()).attempt("opening the folder")?;
        let contents = keeps_hashes.then(Contents::default);
        Ok(Self { root, recent: None, systems: BTreeMap::new(), later: Later::default(), is_begun: false, contents })
    }

    /// Writes out what is still in memory alone.
    pub(super) fn flush(&self) -> nix::Result<()> {
        syncfs(&self.root)?;
        self.systems.values().try_for_each(syncfs)
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Whether anything may have been made.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Makes everything but a regular file, whole.
    pub(super) fn make(&mut self, entry: &Entry) -> Result<(), Trouble> {
        self.is_begun = true;
        if entry.what == What::Directory {
            return self.make_directory(entry);
        }
        let (folder, last) = split(&entry.name);
        let folder = self.folder(folder)?;
        if let What::HardLink(target) = &entry.what {
            return self.make_hard_link(&folder, last, target);
        }
        self.remove(&folder, last)?;
        match &entry.what {
            What::Symlink(words) => {
                symlinkat(words.as_slice(), &folder, last).attempt("making the symbolic link")?;
                self.recent = None;
            }
            What::CharacterDevice(major, minor) => node(&folder, last, SFlag::S_IFCHR, (*major, *minor))?,
            What::BlockDevice(major, minor) => node(&folder, last, SFlag::S_IFBLK, (*major, *minor))?,
            What::Fifo => node(&folder, last, SFlag::S_IFIFO, (0, 0))?,
            What::File(_) | What::HardLink(_) | What::Directory => {
                return Err(Trouble::Bug("an entry is made by the wrong function"));
            }
        }
        settings::apply_at(&folder, last, entry)?;
        self.keep_for_later(entry, &folder, last)
    }

    /// Makes an empty file that nobody else may read yet.
    pub(super) fn make_file(&mut self, entry: &Entry) -> Result<NewFile, Trouble> {
        self.is_begun = true;
        let (folder, last) = split(&entry.name);
        let folder = self.folder(folder)?;
        self.remove(&folder, last)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&folder, last, flags, Mode::S_IRUSR | Mode::S_IWUSR).attempt("making the file")?;
        Ok(NewFile { file: file.into(), folder })
    }

    /// Gives a file whose data are written its attributes.
    pub(super) fn complete(&mut self, entry: &Entry, made: NewFile, hash: Option<u64>) -> Result<(), Trouble> {
        settings::apply(&made.file, entry)?;
        if let (Some(contents), Some(hash)) = (&mut self.contents, hash) {
            let found = fstat(&made.file).attempt("looking at the file")?;
            contents.insert(found.st_dev, found.st_ino, hash);
        }
        self.keep_for_later(entry, &made.folder, split(&entry.name).1)
    }

    /// Sets what can only be set when nothing is made any more: times and rights of folders, lists that name users.
    pub(super) fn finish(&mut self) -> Result<(), (Vec<u8>, Trouble)> {
        let later = std::mem::take(&mut self.later);
        later.apply(&self.root)
    }

    fn make_directory(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let (folder, last) = split(&entry.name);
        // The target's own entry.
        let made = if entry.name.is_empty() {
            Rc::new(self.root.try_clone().map_err(|_| Trouble::Bug("the target cannot be opened twice"))?)
        } else {
            let folder = self.folder(folder)?;
            match look(&folder, last)? {
                Some(found) if is_kind(&found, SFlag::S_IFDIR) => {}
                _ => {
                    self.remove(&folder, last)?;
                    mkdirat(&folder, last, Mode::S_IRWXU).attempt("making the folder")?;
                }
            }
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            Rc::new(openat(&folder, last, flags, Mode::empty()).attempt("opening the folder")?)
        };
        let found = fstat(made.as_ref()).attempt("looking at the folder")?;
        settings::apply_extended(made.as_ref(), entry)?;
        self.later.add_folder(entry, (found.st_dev, found.st_ino));
        if self.later.is_large() {
            self.later.apply_outside(&self.root, &entry.name).map_err(|(_, trouble)| trouble)?;
        }
        Ok(())
    }

    fn make_hard_link(&mut self, folder: &Rc<OwnedFd>, last: &[u8], target: &[u8]) -> Result<(), Trouble> {
        let (there, name) = split(target);
        let there = match resolve(&self.root, there, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => return Err(Trouble::no_link_target(target)),
            other => other.attempt("looking for the hard link's target")?,
        };
        let found = match look(&there, name)? {
            Some(found) if is_kind(&found, SFlag::S_IFDIR) => {
                return Err(Trouble::Archive("a hard link to a folder cannot be made".to_owned()));
            }
            Some(found) if !name.is_empty() => found,
            _ => return Err(Trouble::no_link_target(target)),
        };
        if look(folder, last)?.is_some_and(|old| (old.st_dev, old.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        self.remove(folder, last)?;
        linkat(&there, name, folder, last, LinkatFlags::empty()).attempt("making the hard link")
    }

    fn keep_for_later(&mut self, entry: &Entry, folder: &OwnedFd, last: &[u8]) -> Result<(), Trouble> {
        if settings::waits(entry) {
            let found = look(folder, last)?.ok_or(Trouble::Bug("what was made is gone"))?;
            self.later.add_list(entry, (found.st_dev, found.st_ino));
            if self.later.is_large() {
                self.later.apply_outside(&self.root, &entry.name).map_err(|(_, trouble)| trouble)?;
            }
        }
        Ok(())
    }

    /// Opens the folder of an entry; the archive need not have told of it.
    fn folder(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Trouble> {
        if let Some((recent, folder)) = &self.recent
            && recent == path
        {
            return Ok(Rc::clone(folder));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let opened = match resolve(&self.root, path, flags) {
            Err(Errno::ENOENT) => {
                self.make_missing(path)?;
                resolve(&self.root, path, flags)
            }
            other => other,
        };
        let folder = opened.attempt("opening its folder")?;
        if let btree_map::Entry::Vacant(place) =
            self.systems.entry(fstat(&folder).attempt("looking at its folder")?.st_dev)
        {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            place.insert(openat(&folder, ".", flags, Mode::empty()).attempt("opening its folder")?);
        }
        let folder = Rc::new(folder);
        self.recent = Some((path.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// Makes each missing folder on the way, as root's.
    fn make_missing(&self, path: &[u8]) -> Result<(), Trouble> {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (parent, last) = split(&path[..end]);
            let parent =
                resolve(&self.root, parent, OFlag::O_PATH | OFlag::O_DIRECTORY).attempt("opening its folder")?;
            match mkdirat(&parent, last, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno).attempt("making its folder"),
            }
        }
        Ok(())
    }

    /// Takes away what stands in the way of an entry that is no folder. A folder must be empty for that.
    fn remove(&mut self, folder: &OwnedFd, last: &[u8]) -> Result<(), Trouble> {
        let Some(found) = look(folder, last)? else { return Ok(()) };
        if !is_kind(&found, SFlag::S_IFREG) {
            // A folder that was found through it is another one from now on.
            self.recent = None;
        }
        if is_kind(&found, SFlag::S_IFDIR) {
            return match unlinkat(folder, last, UnlinkatFlags::RemoveDir) {
                Err(Errno::EBUSY) => Err(Trouble::Archive("a file system is mounted there".to_owned())),
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                    Err(Trouble::Archive("a folder that is not empty stands in its place".to_owned()))
                }
                other => other.attempt("replacing the folder"),
            };
        }
        unlinkat(folder, last, UnlinkatFlags::NoRemoveDir).attempt("replacing what stands there")?;
        if let Some(contents) =
            self.contents.as_mut().filter(|_| is_kind(&found, SFlag::S_IFREG) && found.st_nlink == 1)
        {
            contents.remove(found.st_dev, found.st_ino);
        }
        Ok(())
    }
}

/// Opens a path with the target as the root of everything.
pub(super) fn resolve(root: &OwnedFd, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut opened = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        opened = openat2(root, path, how);
        if !matches!(opened, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    opened
}

/// What has this name in a folder, itself and not what it leads to.
pub(super) fn look(folder: impl AsFd, last: &[u8]) -> Result<Option<FileStat>, Trouble> {
    if last.is_empty() {
        return Ok(None);
    }
    match fstatat(folder, last, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).attempt("looking at what stands there"),
    }
}

pub(super) fn is_kind(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn node(folder: &OwnedFd, last: &[u8], kind: SFlag, (major, minor): (u64, u64)) -> Result<(), Trouble> {
    // The kernel has 12 bits for one and 20 for the other (linux/kdev_t.h).
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Trouble::Archive(format!("device number {major}:{minor} is none")));
    }
    mknodat(folder, last, kind, Mode::empty(), makedev(major, minor)).attempt("making the device or pipe")
}
