//! Whether a disk holds anything at all, asked of the disk itself.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Disk;
use super::hidden::{self, Hidden};
use super::tree::Tree;
use crate::error::{Context as _, Kind, Result};

/// What is read from each end of a disk: partition tables, and the superblocks of LVM, md and all common file systems.
const SAMPLE: u64 = 1 << 20;

/// A disk that has not answered by then is reported as unknown; one that spins up takes about ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a look at a disk brought.
struct Seen {
    has_data: bool,
    hidden: Option<Hidden>,
}

/// Looks at the first and the last MiB of every disk, all disks at once, and for tables that the kernel does not see.
pub(super) fn look(tree: &Tree, disks: &mut [Disk]) {
    let (answer, answers) = mpsc::channel();
    for (index, disk) in disks.iter().enumerate() {
        let (answer, looked_at) = (answer.clone(), disk.clone());
        // Not joined: a thread that hangs in a dead disk must not hang the rest.
        let looking = move || {
            // Nobody listens any more when the disk was too slow.
            let _unheard = answer.send((index, see(&looked_at)));
        };
        if let Err(error) = std::thread::Builder::new().name(format!("look {}", disk.name)).spawn(looking) {
            tree.warn(&disk.device, format!("whether it holds data is unknown: {error}"));
        }
    }
    drop(answer);
    let deadline = Instant::now() + PATIENCE;
    let mut is_answered = vec![false; disks.len()];
    loop {
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((index, result)) => {
                is_answered[index] = true;
                match result {
                    Ok(seen) => note(&mut disks[index], seen),
                    Err(error) => {
                        tree.warn(&disks[index].device, format!("what it holds is unknown: {error}"));
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                for (disk, _) in disks.iter().zip(&is_answered).filter(|(_, is_answered)| !**is_answered) {
                    let waited = PATIENCE.as_secs();
                    tree.warn(&disk.device, format!("whether it holds data is unknown: no answer within {waited} s"));
                }
                break;
            }
        }
    }
}

fn note(disk: &mut Disk, seen: Seen) {
    disk.has_data = Some(seen.has_data);
    if let Some(hidden) = seen.hidden {
        disk.table = Some("gpt".to_owned());
        disk.lacks_protective_mbr = true;
        disk.partitions = hidden.partitions;
        disk.signatures.extend(hidden.signatures);
    }
}

fn see(disk: &Disk) -> Result<Seen> {
    let has_data = has_data(&disk.device, disk.size.get()).context(Kind::Medium, || "reading its ends")?;
    let may_hide_a_table = has_data && disk.table.is_none() && disk.partitions.is_empty();
    let hidden = if may_hide_a_table {
        let mut file = File::open(&disk.device).context(Kind::Medium, || "opening it")?;
        hidden::read(disk, &mut file)?
    } else {
        None
    };
    Ok(Seen { has_data, hidden })
}

fn has_data(path: &str, size: u64) -> io::Result<bool> {
    let mut disk = File::open(path)?;
    let mut sample = Vec::new();
    for offset in [0, size.saturating_sub(SAMPLE)] {
        sample.clear();
        disk.seek(SeekFrom::Start(offset))?;
        (&mut disk).take(SAMPLE.min(size)).read_to_end(&mut sample)?;
        if sample.iter().any(|&byte| byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_at_either_end_is_data() {
        let path = std::env::temp_dir().join(format!("bedplate-content-{}", std::process::id()));
        let size = 8 * SAMPLE;
        let holds = |offset: Option<u64>| {
            let file = File::create(&path).unwrap();
            file.set_len(size).unwrap();
            if let Some(offset) = offset {
                std::os::unix::fs::FileExt::write_all_at(&file, b"x", offset).unwrap();
            }
            has_data(path.to_str().unwrap(), size).unwrap()
        };
        let seen = [holds(None), holds(Some(0)), holds(Some(size - 1)), holds(Some(size / 2))];
        std::fs::remove_file(&path).unwrap();
        assert_eq!(seen, [false, true, true, false]);
    }
}
