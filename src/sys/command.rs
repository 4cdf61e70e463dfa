//! External tools: one list of all that may be called, argument vectors, checked exit status.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use log::debug;

use crate::error::{Context as _, Error, Kind, Result};

/// Where tools are looked for, whatever the caller's PATH says.
pub(super) const SEARCH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// As much of a tool's stderr as an error carries.
const STDERR_KEPT: usize = 1024;

/// Every external tool that this program may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named as its tool")]
pub enum Tool {
    AptCache,
    AptGet,
    Bash,
    Blkid,
    Btrfs,
    Btrfstune,
    Chroot,
    Cpio,
    DpkgDeb,
    E2fsck,
    Gpgv,
    Lvm,
    Mdadm,
    MkfsBtrfs,
    MkfsExt2,
    MkfsExt3,
    MkfsExt4,
    MkfsVfat,
    MkfsXfs,
    Mksquashfs,
    Mkswap,
    Mmdebstrap,
    Resize2fs,
    Rsync,
    Setpriv,
    Sfdisk,
    Tar,
    Tune2fs,
    Udevadm,
    Unshare,
    XfsAdmin,
    XfsGrowfs,
    Zstd,
}

impl Tool {
    /// The file name of the tool.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AptCache => "apt-cache",
            Self::AptGet => "apt-get",
            Self::Bash => "bash",
            Self::Blkid => "blkid",
            Self::Btrfs => "btrfs",
            Self::Btrfstune => "btrfstune",
            Self::Chroot => "chroot",
            Self::Cpio => "cpio",
            Self::DpkgDeb => "dpkg-deb",
            Self::E2fsck => "e2fsck",
            Self::Gpgv => "gpgv",
            Self::Lvm => "lvm",
            Self::Mdadm => "mdadm",
            Self::MkfsBtrfs => "mkfs.btrfs",
            Self::MkfsExt2 => "mkfs.ext2",
            Self::MkfsExt3 => "mkfs.ext3",
            Self::MkfsExt4 => "mkfs.ext4",
            Self::MkfsVfat => "mkfs.vfat",
            Self::MkfsXfs => "mkfs.xfs",
            Self::Mksquashfs => "mksquashfs",
            Self::Mkswap => "mkswap",
            Self::Mmdebstrap => "mmdebstrap",
            Self::Resize2fs => "resize2fs",
            Self::Rsync => "rsync",
            Self::Setpriv => "setpriv",
            Self::Sfdisk => "sfdisk",
            Self::Tar => "tar",
            Self::Tune2fs => "tune2fs",
            Self::Udevadm => "udevadm",
            Self::Unshare => "unshare",
            Self::XfsAdmin => "xfs_admin",
            Self::XfsGrowfs => "xfs_growfs",
            Self::Zstd => "zstd",
        }
    }

    /// The tool's path on this machine.
    ///
    /// # Errors
    /// `Tool` when it is in none of the system's folders.
    pub fn find(self) -> Result<PathBuf> {
        SEARCH.iter().map(|folder| Path::new(folder).join(self.name())).find(|path| path.is_file()).ok_or_else(|| {
            Error::new(Kind::Tool, format!("{} is not installed: looked in {}", self.name(), SEARCH.join(", ")))
        })
    }
}

/// What a tool printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status, one of those that were allowed.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as `KEY=VALUE` lines, as mdadm writes them; other lines are left out.
    #[must_use]
    pub fn assignments(&self) -> BTreeMap<String, String> {
        let pairs = self.stdout.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// A call of a tool: arguments as a vector, never a shell string, never a secret among them.
#[derive(Debug)]
pub struct Call {
    tool: Tool,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
    allowed: Vec<i32>,
}

impl Call {
    /// A call with these arguments. Exit status 0 alone is success.
    pub fn new<A: AsRef<OsStr>>(tool: Tool, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self { tool, arguments, environment: Vec::new(), input: None, allowed: vec![0] }
    }

    /// Also takes these exit statuses as success.
    #[must_use]
    pub fn allow(mut self, statuses: &[i32]) -> Self {
        self.allowed.extend_from_slice(statuses);
        self
    }

    /// Sets a variable of the tool's environment, no secret.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.into(), value.as_ref().to_owned()));
        self
    }

    /// Feeds the tool's standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// The command line, for logs and errors.
    #[must_use]
    pub fn line(&self) -> String {
        let words = self.arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
        std::iter::once(self.tool.name().to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs the tool and waits for it.
    ///
    /// # Errors
    /// `Tool` when it is missing, cannot be started, is killed, or exits with a status that is not allowed; the error
    /// carries the end of its stderr.
    pub fn run(self) -> Result<Output> {
        let line = self.line();
        debug!("running {line}");
        let mut child = Command::new(self.tool.find()?)
            .args(&self.arguments)
            // Parsed output must not depend on the caller's language; nothing else of the caller's environment is needed.
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", SEARCH.join(":"))
            // lvm2 complains on stderr about every descriptor that it did not open.
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(Kind::Tool, || format!("starting {line}"))?;
        let feeder = self.input.zip(child.stdin.take()).map(|(bytes, mut stdin)| {
            std::thread::spawn(move || {
                // A tool that exits without reading its input says why through its status.
                let _unread = stdin.write_all(&bytes);
            })
        });
        let output = child.wait_with_output().context(Kind::Tool, || format!("waiting for {line}"))?;
        if let Some(feeder) = feeder {
            feeder.join().map_err(|_| Error::bug(format!("the thread that feeds {line} panicked")))?;
        }
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let Some(status) = output.status.code() else {
            return Err(Error::new(Kind::Tool, format!("running {line}: {}", output.status)));
        };
        if self.allowed.contains(&status) {
            return Ok(Output { status, stdout, stderr });
        }
        let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
        Err(Error::new(Kind::Tool, format!("running {line}: exit status {status}: {}", tail(said))))
    }
}

/// The end of a tool's words on one line.
fn tail(said: &str) -> String {
    let trimmed = said.trim();
    let from = trimmed.len().saturating_sub(STDERR_KEPT);
    let from = (from..=trimmed.len()).find(|&at| trimmed.is_char_boundary(at)).unwrap_or(trimmed.len());
    trimmed[from..].split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_carries_status_and_words_of_the_tool() {
        let error = Call::new(Tool::Blkid, ["--no-such-option"]).run().unwrap_err();
        assert_eq!(error.kind(), Kind::Tool);
        assert!(error.to_string().starts_with("running blkid --no-such-option: exit status "), "{error}");
    }

    #[test]
    fn tail_keeps_whole_characters() {
        let long = "ä".repeat(STDERR_KEPT);
        assert!(tail(&long).len() <= STDERR_KEPT);
    }
}
