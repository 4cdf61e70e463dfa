//! Owners, rights, lists, attributes and times of what was made.
//!
//! The order counts: a new owner takes set-user-id and capabilities away, and a list changes the rights of the group. What
//! an entry in a folder changes of the folder (its time) or gets from it (the default list) is set when all is made.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, fstat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

use crate::sys::xattr;

use super::acl::{self, Owner};
use super::entry::{Attributes, Entry, What};
use super::name::{shown, split};
use super::tree::{look, resolve};
use super::trouble::{Attempt as _, Trouble};

const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";
/// What may wait for the end: beyond it the folders that are probably done get theirs.
const LATER_MOST: usize = 32 << 20;
/// As much as is read of the target's list of users.
const USERS_MOST: u64 = 16 << 20;

/// Sets everything of an open file.
pub(super) fn apply(file: &File, entry: &Entry) -> Result<(), Trouble> {
    let Attributes { uid, gid, mode, mtime, .. } = &entry.attributes;
    fchown(file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid))).attempt("changing the owner")?;
    fchmod(file, Mode::from_bits_truncate(*mode)).attempt("changing the rights")?;
    if let Some(list) = ready(&entry.attributes.access_list) {
        xattr::set(file, ACCESS_LIST, &list).attempt("setting the access control list")?;
    }
    apply_extended(file, entry)?;
    futimens(file, &omit(), &time(*mtime)).attempt("setting the time")
}

/// Sets everything of what cannot be opened: links, devices, pipes.
pub(super) fn apply_at(folder: &OwnedFd, last: &[u8], entry: &Entry) -> Result<(), Trouble> {
    let Attributes { uid, gid, mode, mtime, .. } = &entry.attributes;
    let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
    fchownat(folder, last, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW).attempt("changing the owner")?;
    // A link has no rights of its own; what was just made under this name is no other link.
    if !matches!(entry.what, What::Symlink(_)) {
        let mode = Mode::from_bits_truncate(*mode);
        fchmodat(folder, last, mode, FchmodatFlags::FollowSymlink).attempt("changing the rights")?;
        if let Some(list) = ready(&entry.attributes.access_list) {
            xattr::set_at(folder, last, ACCESS_LIST, &list).attempt("setting the access control list")?;
        }
    }
    for (name, value) in &entry.attributes.extended {
        xattr::set_at(folder, last, name, value).attempt(&format!("setting attribute {}", shown(name)))?;
    }
    utimensat(folder, last, &omit(), &time(*mtime), UtimensatFlags::NoFollowSymlink).attempt("setting the time")
}

/// Sets the extended attributes of something open; lists of a folder wait.
pub(super) fn apply_extended(file: impl AsFd + Copy, entry: &Entry) -> Result<(), Trouble> {
    for (name, value) in
        entry.attributes.extended.iter().filter(|(name, _)| !is_list(name) || entry.what != What::Directory)
    {
        xattr::set(file, name, value).attempt(&format!("setting attribute {}", shown(name)))?;
    }
    Ok(())
}

/// Lists come as attributes, too, as the kernel has them.
fn is_list(name: &[u8]) -> bool {
    name == ACCESS_LIST || name == DEFAULT_LIST
}

/// Whether an entry that is no folder has a list that names users, whose numbers are known when all is made.
pub(super) fn waits(entry: &Entry) -> bool {
    let list = &entry.attributes.access_list;
    !matches!(entry.what, What::Symlink(_)) && !list.is_empty() && ready(list).is_none()
}

/// A list that needs nobody's number.
fn ready(text: &[u8]) -> Option<Vec<u8>> {
    acl::binary(text, |_, _| None).ok().flatten()
}

fn time((seconds, nanoseconds): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanoseconds))
}

/// The time of the last reading stays as it is.
fn omit() -> TimeSpec {
    TimeSpec::UTIME_OMIT
}

/// What is set when all is made.
#[derive(Default)]
pub(super) struct Later {
    waiting: Vec<Waiting>,
    size: usize,
}

struct Waiting {
    name: Vec<u8>,
    is_folder: bool,
    /// Device and inode: what has the name at the end may be another.
    identity: (u64, u64),
    attributes: Attributes,
}

impl Later {
    pub(super) fn add_folder(&mut self, entry: &Entry, identity: (u64, u64)) {
        self.add(entry, true, identity);
    }

    pub(super) fn add_list(&mut self, entry: &Entry, identity: (u64, u64)) {
        self.add(entry, false, identity);
    }

    fn add(&mut self, entry: &Entry, is_folder: bool, identity: (u64, u64)) {
        let from = &entry.attributes;
        let lists = from.extended.iter().filter(|(name, _)| is_folder && is_list(name));
        let attributes = Attributes {
            extended: lists.cloned().collect(),
            access_list: from.access_list.clone(),
            default_list: from.default_list.clone(),
            ..*from
        };
        let waiting = Waiting { name: entry.name.clone(), is_folder, identity, attributes };
        self.size = self.size.saturating_add(waiting.size());
        self.waiting.push(waiting);
    }

    pub(super) fn is_large(&self) -> bool {
        self.size > LATER_MOST
    }

    /// Sets all.
    pub(super) fn apply(self, root: &OwnedFd) -> Result<(), (Vec<u8>, Trouble)> {
        let users = Users::read(root).map_err(|trouble| (b"etc/passwd".to_vec(), trouble))?;
        for it in self.waiting {
            it.apply(root, &users).map_err(|trouble| (it.name.clone(), trouble))?;
        }
        Ok(())
    }

    /// Sets what belongs to folders that the entry is not in: archives are made folder by folder.
    pub(super) fn apply_outside(&mut self, root: &OwnedFd, name: &[u8]) -> Result<(), (Vec<u8>, Trouble)> {
        let holds = |it: &Waiting| {
            it.is_folder
                && (it.name.is_empty()
                    || name
                        .strip_prefix(it.name.as_slice())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")))
        };
        let (stay, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(holds);
        self.size = stay.iter().map(Waiting::size).sum();
        self.waiting = stay;
        Self { waiting: done, size: 0 }.apply(root)
    }
}

impl Waiting {
    /// Bytes of memory, about.
    fn size(&self) -> usize {
        let Attributes { extended, access_list, default_list, .. } = &self.attributes;
        let lists: usize = extended.iter().map(|(name, value)| name.len() + value.len()).sum();
        size_of::<Self>() + self.name.len() + lists + access_list.len() + default_list.len()
    }

    fn apply(&self, root: &OwnedFd, users: &Users) -> Result<(), Trouble> {
        let resolve_name = |owner: Owner, name: &str| users.number(owner, name);
        let list = |text: &[u8]| acl::binary(text, resolve_name).map_err(Trouble::Archive);
        let access = list(&self.attributes.access_list)?;
        if !self.is_folder {
            let (folder, last) = split(&self.name);
            let Ok(folder) = resolve(root, folder, OFlag::O_PATH | OFlag::O_DIRECTORY) else { return Ok(()) };
            return match (look(&folder, last)?, access) {
                (Some(found), Some(list)) if (found.st_dev, found.st_ino) == self.identity => {
                    xattr::set_at(&folder, last, ACCESS_LIST, &list).attempt("setting the access control list")
                }
                _ => Ok(()),
            };
        }
        // A later entry may have replaced the folder by something else, whose settings these are not.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let Ok(folder) = resolve(root, &self.name, flags) else { return Ok(()) };
        let found = fstat(&folder).attempt("looking at the folder")?;
        if (found.st_dev, found.st_ino) != self.identity {
            return Ok(());
        }
        let Attributes { uid, gid, mode, mtime, .. } = &self.attributes;
        fchown(&folder, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid))).attempt("changing the owner")?;
        fchmod(&folder, Mode::from_bits_truncate(*mode)).attempt("changing the rights")?;
        for (name, list) in [(ACCESS_LIST, access), (DEFAULT_LIST, list(&self.attributes.default_list)?)] {
            if let Some(list) = list {
                xattr::set(&folder, name, &list).attempt("setting the access control list")?;
            }
        }
        for (name, value) in &self.attributes.extended {
            xattr::set(&folder, name, value).attempt("setting the access control list")?;
        }
        futimens(&folder, &omit(), &time(*mtime)).attempt("setting the time")
    }
}

/// The users and groups of the system in the archive: names in lists are theirs, not this system's.
struct Users {
    passwd: String,
    group: String,
}

impl Users {
    fn read(root: &OwnedFd) -> Result<Self, Trouble> {
        let text = |name: &[u8]| {
            // A pipe in its place must not be waited for.
            let Ok(file) = resolve(root, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK) else { return Ok(String::new()) };
            let file = File::from(file);
            if !file.metadata().is_ok_and(|it| it.is_file()) {
                return Ok(String::new());
            }
            let mut bytes = Vec::new();
            let read = file.take(USERS_MOST).read_to_end(&mut bytes);
            read.map_err(|cause| Trouble::Archive(format!("reading it: {cause}")))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self { passwd: text(b"etc/passwd")?, group: text(b"etc/group")? })
    }

    fn number(&self, owner: Owner, name: &str) -> Option<u32> {
        match owner {
            Owner::User => acl::number_in(&self.passwd, name),
            Owner::Group => acl::number_in(&self.group, name),
        }
    }
}
