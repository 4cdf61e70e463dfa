//! One run at a time.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context as _, Error, Kind, Result};

/// Held as long as a run lasts; the kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: Flock<File>,
}

impl RunLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// `Refused` when another run holds it; the message names its process.
    pub fn take(path: &Path) -> Result<Self> {
        let what = || format!("locking {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context(Kind::Refused, what)?;
        }
        // Not truncated: the holder's number in it is wanted when the lock is taken already.
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .context(Kind::Refused, what)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).and_then(|()| file.rewind()).context(Kind::Refused, what)?;
                writeln!(file, "{}", std::process::id()).context(Kind::Refused, what)?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).context(Kind::Refused, what)?;
                let holder = holder.trim();
                let by = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                Err(Error::new(Kind::Refused, format!("another run holds {}{by}", path.display()))
                    .advise("wait for it to end; nothing was written by this one"))
            }
            Err((_, cause)) => Err(Error::caused(Kind::Refused, what(), cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_run_is_refused_while_the_first_lasts() {
        let path = std::env::temp_dir().join(format!("bedplate-lock-{}", std::process::id()));
        let first = RunLock::take(&path).unwrap();
        let error = RunLock::take(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("another run holds {} (process {})", path.display(), std::process::id()));
        assert_eq!(error.kind(), Kind::Refused);
        drop(first);
        RunLock::take(&path).unwrap();
        fs::remove_file(path).unwrap();
    }
}
