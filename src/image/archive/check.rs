//! Reading back: every file is read from the medium and compared with what was written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, openat, posix_fadvise};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Whence, lseek};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::cancel::Cancel;
use crate::units::widen;

use super::content::{Content, Expected, Sorted, kept};
use super::name::shown;
use super::tree::{is_kind, look, resolve};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Reads all files back and compares them. What they hold must have been written out: only then can memory drop it.
///
/// # Errors
/// `Medium` with the name of the first that differs or cannot be read.
pub(super) fn read_back(
    root: &OwnedFd,
    mut expected: Sorted,
    cancel: &Cancel,
    mut on_read: impl FnMut(u64),
) -> Result<()> {
    let mut walk = Walk { buffer: vec![0; BUFFER], read: 0 };
    let mut folders = vec![Vec::new()];
    while let Some(path) = folders.pop() {
        cancel.check()?;
        walk.folder(root, &path, &mut expected, &mut folders, &mut on_read)
            .map_err(|error| error.within("reading back"))?;
    }
    match expected.missing() {
        0 => Ok(()),
        missing => {
            let text = format!("reading back: {missing} of {} files are not there any more", expected.len());
            Err(Error::new(Kind::Medium, text))
        }
    }
}

struct Walk {
    buffer: Vec<u8>,
    read: u64,
}

impl Walk {
    fn folder(
        &mut self,
        root: &OwnedFd,
        path: &[u8],
        expected: &mut Sorted,
        folders: &mut Vec<Vec<u8>>,
        on_read: &mut impl FnMut(u64),
    ) -> Result<()> {
        let doing = || shown(path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let folder = resolve(root, path, flags).context(Kind::Medium, doing)?;
        // The folder is open already; its own link in /proc leads to it whatever its path is.
        for found in fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).context(Kind::Medium, doing)? {
            let last: OsString = found.context(Kind::Medium, doing)?.file_name();
            let last = last.as_bytes();
            let whole = || if path.is_empty() { last.to_vec() } else { [path, b"/", last].concat() };
            let Some(found) = look(folder.as_fd(), last).map_err(|trouble| trouble.about(&whole()))? else { continue };
            if is_kind(&found, SFlag::S_IFDIR) {
                folders.push(whole());
            } else if is_kind(&found, SFlag::S_IFREG)
                && let Expected::Hash(hash) = expected.take(found.st_dev, found.st_ino)
            {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let file = openat(&folder, last, flags, Mode::empty()).context(Kind::Medium, || shown(&whole()))?;
                let (content, at) = self.file(&File::from(file));
                let content = content.map_err(|cause| {
                    Error::caused(Kind::Medium, format!("{}: at byte {at}", shown(&whole())), cause)
                })?;
                if kept(content) != hash {
                    let text = format!("{} does not hold what was written", shown(&whole()));
                    return Err(Error::new(Kind::Medium, text));
                }
                on_read(self.read);
            }
        }
        Ok(())
    }

    /// The hash of a file as it is on the medium, and how far reading came.
    fn file(&mut self, file: &File) -> (io::Result<u64>, u64) {
        let mut at = 0;
        let read = self.content(file, &mut at);
        (read, at)
    }

    fn content(&mut self, mut file: &File, at: &mut u64) -> io::Result<u64> {
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        let length = file.metadata()?.len();
        let mut content = Content::new();
        while *at < length {
            // Holes are not read. What a file system without knowledge of them says is data throughout.
            let from = i64::try_from(*at).map_err(io::Error::other)?;
            match lseek(file, from, Whence::SeekData) {
                Ok(data) => *at = u64::try_from(data).map_err(io::Error::other)?,
                Err(Errno::ENXIO) => break,
                Err(errno) => return Err(errno.into()),
            }
            let hole = lseek(file, i64::try_from(*at).map_err(io::Error::other)?, Whence::SeekHole)?;
            let end = u64::try_from(hole).map_err(io::Error::other)?;
            lseek(file, i64::try_from(*at).map_err(io::Error::other)?, Whence::SeekSet)?;
            while *at < end {
                let most = usize::try_from(end - *at).unwrap_or(usize::MAX).min(self.buffer.len());
                match file.read(&mut self.buffer[..most]) {
                    Ok(0) => return Ok(content.finish(*at)),
                    Ok(count) => {
                        content.add(*at, &self.buffer[..count]);
                        *at = at.saturating_add(widen(count));
                        self.read = self.read.saturating_add(widen(count));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(content.finish(length))
    }
}
