//! External tools: one list of all that may be called, argument vectors, checked exit status.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use log::debug;

use super::child;
use crate::error::{Error, Kind, Result};

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
    Hdparm,
    Kpartx,
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
    Nvme,
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
            Self::Hdparm => "hdparm",
            Self::Kpartx => "kpartx",
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
            Self::Nvme => "nvme",
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

    /// How long it may take: minutes for those that ask or note something, an hour for those that write or check all of a
    /// file system. What takes longer waits for a disk that is dead.
    const fn limit(self) -> Duration {
        match self {
            Self::Blkid | Self::Kpartx | Self::Lvm | Self::Mdadm | Self::Sfdisk | Self::Udevadm => {
                Duration::from_secs(5 * 60)
            }
            _ => Duration::from_secs(60 * 60),
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
    limit: Option<Duration>,
}

impl Call {
    /// A call with these arguments. Exit status 0 alone is success.
    pub fn new<A: AsRef<OsStr>>(tool: Tool, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        Self { tool, arguments, environment: Vec::new(), input: None, allowed: vec![0], limit: None }
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

    /// Ends the tool when it takes longer, instead of the tool's own limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
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
    /// `Tool` when it is missing, cannot be started, is killed, takes too long, or exits with a status that is not allowed;
    /// the error carries the end of its stderr.
    pub fn run(self) -> Result<Output> {
        let line = self.line();
        debug!("running {line}");
        let mut command = Command::new(self.tool.find()?);
        command
            .args(&self.arguments)
            // Parsed output must not depend on the caller's language; nothing else of the caller's environment is needed.
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", SEARCH.join(":"))
            // lvm2 complains on stderr about every descriptor that it did not open.
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        let limit = self.limit.unwrap_or_else(|| self.tool.limit());
        let output = child::run(command, self.input, limit).map_err(|error| error.within(format!("running {line}")))?;
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
