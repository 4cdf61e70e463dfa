//! Files of a TFTP tree that say, by MAC address, that a machine starts from its disk.
//!
//! What stood there before is kept beside and put back. The tree is a folder of this machine or a mounted one. Its folders
//! are resolved beneath its root by the kernel, and no last name is followed, so that a link in the tree leads nowhere else.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};

use super::State;
use crate::error::{Context as _, Error, Kind, Result};

/// The first line of what is written here, by which it is known again.
const MARK: &str = "# Written by bedplate: this machine starts from its disk.\n";

/// pxelinux: -1 is the next device of the firmware's order. As Cobbler writes it.
const PXELINUX: &str = "default local\nprompt 0\ntimeout 1\ntotaltimeout 0\nontimeout local\n\n\
                        label local\n    localboot -1\n";

/// GRUB: on UEFI back to the firmware, which goes on with the next boot entry; else the first disk's boot code.
const GRUB: &str = "set timeout=0\nset default=local\n\nmenuentry local --id local {\n    \
                    if [ \"$grub_platform\" = efi ]; then\n        exit\n    else\n        \
                    set root=(hd0)\n        chainloader +1\n        boot\n    fi\n}\n";

/// What the file that stood there before is kept as: no boot loader asks for such a name.
const FORMER: &str = ".before-bedplate";
const UNFINISHED: &str = ".bedplate-unfinished";

/// A TFTP tree and the files in it that are a node's.
#[derive(Debug, Clone)]
pub struct Tftp {
    root: PathBuf,
    files: Vec<Place>,
}

/// A file of a boot loader.
#[derive(Debug, Clone)]
struct Place {
    /// From the root.
    folder: PathBuf,
    name: String,
    content: String,
}

/// An open folder and the file in it.
struct Opened<'a> {
    folder: OwnedFd,
    place: &'a Place,
}

impl Tftp {
    pub(super) fn new(root: PathBuf, grub: &Path, mac: &str) -> Self {
        // Both loaders put the hardware type in front; 01 is Ethernet.
        let mac = format!("01-{}", mac.replace(':', "-").to_ascii_lowercase());
        let place = |folder: &Path, name: String, content: &str| Place {
            folder: folder.to_owned(),
            name,
            content: format!("{MARK}{content}"),
        };
        let pxelinux = place(Path::new("pxelinux.cfg"), mac.clone(), PXELINUX);
        Self { root, files: vec![pxelinux, place(grub, format!("grub.cfg-{mac}"), GRUB)] }
    }

    /// Whether the tree is there, and has the folder of a boot loader.
    ///
    /// # Errors
    /// `Master` when it is not.
    pub fn check(&self) -> Result<()> {
        self.open().map(|_| ())
    }

    /// Writes the files of this node, or puts back what stood there before, and looks whether it is so.
    ///
    /// # Errors
    /// `Master` when the tree is not there, a path leads out of it, or it cannot be written.
    pub fn switch(&self, state: State) -> Result<()> {
        for opened in self.open()? {
            let path = || self.root.join(&opened.place.folder).join(&opened.place.name);
            let doing = || format!("{}: {}", state.switching(), path().display());
            let switched = if state.is_on() { opened.restore() } else { opened.write() };
            switched.context(Kind::Master, doing)?;
            let is_ours = opened.is_ours().context(Kind::Master, doing)?;
            if is_ours == state.is_on() {
                return Err(Error::new(Kind::Master, format!("{}: it is otherwise when read back", doing())));
            }
        }
        Ok(())
    }

    /// The folders of those boot loaders that the tree has.
    fn open(&self) -> Result<Vec<Opened<'_>>> {
        let opening = || format!("opening the TFTP tree {}", self.root.display());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(&self.root, flags, Mode::empty()).context(Kind::Master, opening)?;
        let mut opened = Vec::new();
        for place in &self.files {
            let how =
                OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            match openat2(&root, &place.folder, how) {
                Ok(folder) => opened.push(Opened { folder, place }),
                Err(Errno::ENOENT) => {}
                Err(Errno::EXDEV) => {
                    let message = format!("{}: {} leads out of it", opening(), place.folder.display());
                    return Err(Error::new(Kind::Master, message));
                }
                Err(errno) => {
                    return Err(Error::caused(
                        Kind::Master,
                        format!("{}: {}", opening(), place.folder.display()),
                        errno,
                    ));
                }
            }
        }
        if opened.is_empty() {
            let folders: Vec<_> = self.files.iter().map(|place| place.folder.display().to_string()).collect();
            let message = format!("{}: expected the folder {}, found none", opening(), folders.join(" or "));
            return Err(Error::new(Kind::Master, message).advise("is it mounted, and is tftp-root its root?"));
        }
        Ok(opened)
    }
}

impl Opened<'_> {
    fn former(&self) -> String {
        format!("{}{FORMER}", self.place.name)
    }

    /// Keeps what is there and puts ours in its place in one step.
    fn write(&self) -> std::io::Result<()> {
        let (folder, name) = (&self.folder, self.place.name.as_str());
        let unfinished = format!("{name}{UNFINISHED}");
        remove(folder, &unfinished)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // A TFTP server hands out what everybody can read.
        let readable = Mode::from_bits_truncate(0o644);
        let mut file = File::from(openat(folder, unfinished.as_str(), flags, readable)?);
        nix::sys::stat::fchmod(&file, readable)?;
        file.write_all(self.place.content.as_bytes())?;
        file.sync_all()?;
        if self.exists(name)? && !self.is_ours()? {
            let former = self.former();
            // One of an earlier time, before somebody wrote the file anew.
            remove(folder, &former)?;
            match linkat(folder, name, folder, former.as_str(), LinkatFlags::empty()) {
                // A file system without hard links: for a moment there is no file, and the loader takes its default.
                Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                    renameat(folder, name, folder, former.as_str())?;
                }
                linked => linked?,
            }
        }
        renameat(folder, unfinished.as_str(), folder, name)?;
        self.keep()
    }

    /// Puts back what was there before ours; what is not ours stays.
    fn restore(&self) -> std::io::Result<()> {
        if !self.is_ours()? {
            return Ok(());
        }
        let (folder, former) = (&self.folder, self.former());
        if self.exists(&former)? {
            renameat(folder, former.as_str(), folder, self.place.name.as_str())?;
        } else {
            remove(folder, &self.place.name)?;
        }
        self.keep()
    }

    /// Renames are durable with their folder.
    fn keep(&self) -> std::io::Result<()> {
        File::from(self.folder.try_clone()?).sync_all()
    }

    fn exists(&self, name: &str) -> std::io::Result<bool> {
        match fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the file is there and was written here. Links and whatever else is no file are not ours.
    fn is_ours(&self) -> std::io::Result<bool> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.folder, self.place.name.as_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        let mut begin = Vec::with_capacity(MARK.len());
        file.take(crate::units::widen(MARK.len())).read_to_end(&mut begin)?;
        Ok(begin == MARK.as_bytes())
    }
}

fn remove(folder: &OwnedFd, name: &str) -> std::io::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::scratch::Scratch;

    const PXE: &str = "pxelinux.cfg/01-52-54-00-00-00-0a";
    const GRUB_FILE: &str = "grub/grub.cfg-01-52-54-00-00-00-0a";

    fn tree(folders: &[&str]) -> (Scratch, Tftp) {
        let scratch = Scratch::new();
        for folder in folders {
            fs::create_dir_all(scratch.path(folder)).unwrap();
        }
        let tftp = Tftp::new(scratch.folder().to_owned(), Path::new("grub"), "52:54:00:00:00:0A");
        (scratch, tftp)
    }

    fn names(scratch: &Scratch, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(scratch.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(scratch: &Scratch, name: &str) -> String {
        fs::read_to_string(scratch.path(name)).unwrap()
    }

    #[test]
    fn both_loaders_are_told_and_what_stood_there_before_comes_back() {
        let (scratch, tftp) = tree(&["pxelinux.cfg", "grub"]);
        fs::write(scratch.path(PXE), "default bootstrap\n").unwrap();
        for _ in 0..2 {
            tftp.switch(State::Off).unwrap();
            assert_eq!(read(&scratch, PXE), format!("{MARK}{PXELINUX}"));
            assert_eq!(read(&scratch, GRUB_FILE), format!("{MARK}{GRUB}"));
            assert_eq!(read(&scratch, &format!("{PXE}{FORMER}")), "default bootstrap\n");
        }
        for _ in 0..2 {
            tftp.switch(State::On).unwrap();
            assert_eq!(read(&scratch, PXE), "default bootstrap\n");
            assert_eq!(names(&scratch, "pxelinux.cfg"), ["01-52-54-00-00-00-0a"]);
            assert_eq!(names(&scratch, "grub"), [""; 0], "there was none before");
        }
    }

    #[test]
    fn a_file_that_somebody_wrote_anew_is_what_comes_back() {
        let (scratch, tftp) = tree(&["pxelinux.cfg"]);
        fs::write(scratch.path(PXE), "old\n").unwrap();
        tftp.switch(State::Off).unwrap();
        fs::write(scratch.path(PXE), "new\n").unwrap();
        tftp.switch(State::On).unwrap();
        assert_eq!(read(&scratch, PXE), "new\n", "what is not ours stays");
        tftp.switch(State::Off).unwrap();
        tftp.switch(State::On).unwrap();
        assert_eq!(read(&scratch, PXE), "new\n");
    }

    #[test]
    fn links_are_kept_and_never_written_through() {
        let (scratch, tftp) = tree(&["pxelinux.cfg"]);
        fs::write(scratch.path("precious"), "precious\n").unwrap();
        symlink("../precious", scratch.path(PXE)).unwrap();
        symlink("../precious", scratch.path(&format!("{PXE}{UNFINISHED}"))).unwrap();
        tftp.switch(State::Off).unwrap();
        assert_eq!(read(&scratch, "precious"), "precious\n");
        assert!(fs::symlink_metadata(scratch.path(PXE)).unwrap().is_file());
        tftp.switch(State::On).unwrap();
        assert_eq!(fs::read_link(scratch.path(PXE)).unwrap(), Path::new("../precious"));
    }

    #[test]
    fn a_folder_that_leads_out_of_the_tree_is_refused() {
        let (outside, _) = tree(&["pxelinux.cfg"]);
        let (scratch, tftp) = tree(&[]);
        symlink(outside.path("pxelinux.cfg"), scratch.path("pxelinux.cfg")).unwrap();
        let error = tftp.switch(State::Off).unwrap_err();
        assert_eq!(error.kind(), Kind::Master);
        let expected = format!("opening the TFTP tree {}: pxelinux.cfg leads out of it", scratch.folder().display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(names(&outside, "pxelinux.cfg"), [""; 0]);
        let above = Tftp::new(scratch.path("pxelinux.cfg"), Path::new("../grub"), "52:54:00:00:00:0a");
        assert!(above.check().unwrap_err().to_string().ends_with(": ../grub leads out of it"));
    }

    #[test]
    fn a_link_within_the_tree_is_followed() {
        let (scratch, tftp) = tree(&["debian/pxelinux.cfg"]);
        symlink("debian/pxelinux.cfg", scratch.path("pxelinux.cfg")).unwrap();
        tftp.switch(State::Off).unwrap();
        assert_eq!(names(&scratch, "debian/pxelinux.cfg"), ["01-52-54-00-00-00-0a"]);
    }

    #[test]
    fn a_tree_without_the_folder_of_a_loader_is_refused() {
        let (scratch, tftp) = tree(&["images"]);
        let root = scratch.folder().display();
        let expected = format!("opening the TFTP tree {root}: expected the folder pxelinux.cfg or grub, found none");
        assert_eq!(tftp.check().unwrap_err().to_string(), expected);
        let gone = Tftp::new(scratch.path("gone"), Path::new("grub"), "52:54:00:00:00:0a");
        let error = gone.check().unwrap_err();
        assert_eq!(error.kind(), Kind::Master);
        assert!(error.to_string().ends_with("gone: ENOENT: No such file or directory"), "{error}");
    }
}
