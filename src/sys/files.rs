//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{Context as _, Error, Kind, Result};

/// Replaces a file, readable by its owner alone: a reader, and a power cut, find the old content or the new.
///
/// The folder is made when it is absent.
///
/// # Errors
/// `Usage`: the path is the caller's choice.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    // A device or pipe that the caller names (/dev/null) is written to; a rename would put a file in its place.
    if path.exists() && !path.is_file() {
        let kind = fs::metadata(path).context(Kind::Usage, writing)?.file_type();
        if kind.is_block_device() {
            return Err(Error::new(Kind::Usage, format!("{}: it is a block device", writing())));
        }
        return OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut it| it.write_all(bytes))
            .context(Kind::Usage, writing);
    }
    let name = path.file_name().ok_or_else(|| Error::new(Kind::Usage, format!("{}: not a file's path", writing())))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).context(Kind::Usage, writing)?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.unfinished", std::process::id()));
    let unfinished = folder.join(unfinished);
    let written = write_and_rename(&unfinished, path, folder, bytes).context(Kind::Usage, writing);
    if written.is_err() {
        // The first error counts; what is left lies beside the file and says by its name what it is.
        let _left = fs::remove_file(&unfinished);
    }
    written
}

fn write_and_rename(unfinished: &Path, path: &Path, folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    // The rename itself is durable only with its folder.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_private() {
        let folder = std::env::temp_dir().join(format!("bedplate-files-{}", std::process::id()));
        let path = folder.join("new").join("report.json");
        replace_private(&path, b"one").unwrap();
        replace_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let error = replace_private(Path::new("/proc/no/report.json"), b"").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().starts_with("writing /proc/no/report.json: "), "{error}");
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        replace_private(Path::new("/dev/null"), b"report").unwrap();
        assert!(!Path::new("/dev/null").is_file());
        assert_eq!(replace_private(Path::new("/dev/full"), b"report").unwrap_err().kind(), Kind::Usage);
        assert!(!Path::new("/dev/full").is_file());
    }
}
