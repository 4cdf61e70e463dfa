//! `bedplate unpack-image`: an archive of a root file system to a folder.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::Client;
use crate::image::{self, Job, Location, Written};
use crate::report::{Report, Reporter};

use super::image_options::ImageOptions;
use super::write_image::{Words, carry_out};

/// Unpacks an archive of files (tar, packed or not) to a folder, with everything that a root file system needs: owners,
/// rights, times, links, devices, holes, attributes and access control lists. Nothing is made outside the folder.
///
/// The folder must be empty but for `lost+found` and what is mounted in there.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address (http, https, file) or path of the archive
    pub source: Location,

    /// Folder that is there, usually where a new file system is mounted
    pub folder: PathBuf,

    /// What is expected of the archive, and where the report goes.
    #[command(flatten)]
    pub image: ImageOptions,
}

impl Options {
    /// The same as a job.
    #[must_use]
    pub fn job(&self) -> Job {
        let step = format!("unpack-image {}", self.folder.display());
        let mut job = Job::new(step, self.source.clone(), self.folder.clone());
        self.image.apply(&mut job);
        job
    }
}

/// Unpacks the archive and, if it is asked for, writes the report. Never exits; the report's error holds the exit code.
pub fn run(options: &Options, reporter: &Reporter, http: &Client) -> Report {
    let words = Words {
        verb: "unpack",
        gerund: "unpacking",
        done: "the archive is unpacked",
        failed: "the archive is not unpacked",
    };
    carry_out(&options.job(), options.image.report.as_deref(), reporter, &words, |job| {
        let outcome = require_free(job.target())
            .and_then(|()| options.image.proof.complete(job.clone(), http))
            .and_then(|job| image::unpack(&job, http, reporter));
        Written { outcome: outcome.map(|report| vec![report]), state: None }
    })
}

/// Refuses folders in which an archive would replace what is somebody's.
///
/// # Errors
/// `Usage`: it is no folder. `Refused`: it is this system's root, or holds something.
fn require_free(folder: &Path) -> Result<()> {
    let doing = || format!("unpacking to {}", folder.display());
    let refuse = |why: String| Err(Error::new(Kind::Refused, format!("{}: {why}", doing())));
    let found = fs::metadata(folder).context(Kind::Usage, doing)?;
    if !found.is_dir() {
        return Err(Error::new(Kind::Usage, format!("{}: it is not a folder", doing())));
    }
    let root = fs::metadata("/").context(Kind::Usage, doing)?;
    if (found.dev(), found.ino()) == (root.dev(), root.ino()) {
        return refuse("it is the root of this system".to_owned());
    }
    for entry in fs::read_dir(folder).context(Kind::Usage, doing)? {
        let entry = entry.context(Kind::Usage, doing)?;
        let metadata = entry.metadata().context(Kind::Usage, doing)?;
        let is_mount = metadata.is_dir() && metadata.dev() != found.dev();
        let is_lost_and_found = metadata.is_dir() && entry.file_name() == "lost+found";
        if !is_mount && !is_lost_and_found {
            return refuse(format!("it is not empty, {} is in it", entry.file_name().to_string_lossy()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_somebodys_are_refused() {
        let folder = std::env::temp_dir().join(format!("bedplate-unpack-image-{}", std::process::id()));
        let said = |folder: &Path| {
            require_free(folder)
                .map_err(|error| (error.kind(), error.to_string().replace(&folder.display().to_string(), "F")))
        };
        let refused = |kind, words: &str| Err((kind, format!("unpacking to F{words}")));
        let absent = said(&folder).unwrap_err();
        assert_eq!(
            (absent.0, absent.1.as_str()),
            (Kind::Usage, "unpacking to F: No such file or directory (os error 2)")
        );
        fs::create_dir_all(folder.join("lost+found")).unwrap();
        assert_eq!(said(&folder), Ok(()));
        assert_eq!(said(Path::new("/..")), refused(Kind::Refused, ": it is the root of this system"));
        fs::write(folder.join("file"), "").unwrap();
        assert_eq!(said(&folder), refused(Kind::Refused, ": it is not empty, file is in it"));
        assert_eq!(said(&folder.join("file")), refused(Kind::Usage, ": it is not a folder"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
