//! Whether a disk holds anything at all, asked of the disk itself.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::hidden::{self, Hidden};
use super::tree::Tree;
use super::{Disk, Partition, Trace};
use crate::error::{Context as _, Kind, Result};
use crate::sys::traces;
use crate::units::Bytes;

/// What is read from each end of a disk: partition tables, and the superblocks of LVM, md and all common file systems.
const SAMPLE: u64 = 1 << 20;

/// A disk that has not answered by then is reported as unknown; one that spins up takes about ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a look at a disk brought.
struct Seen {
    has_data: bool,
    hidden: Option<Hidden>,
    traces: Vec<Trace>,
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
    disk.traces = seen.traces;
    if let Some(hidden) = seen.hidden {
        disk.table = Some("gpt".to_owned());
        disk.lacks_protective_mbr = true;
        // A kernel that read the table before its protective MBR was erased still has the partitions.
        if disk.partitions.is_empty() {
            disk.partitions = hidden.partitions;
            disk.signatures.extend(hidden.signatures);
        }
    }
}

fn see(disk: &Disk) -> Result<Seen> {
    let has_data = has_data(&disk.device, disk.size.get()).context(Kind::Medium, || "reading its ends")?;
    // What udev remembers is no proof: rereading a table tells it nothing when no partition is left.
    let may_hide_a_table = has_data && disk.table.as_deref().is_none_or(|table| table == "gpt");
    let mut file = File::open(&disk.device).context(Kind::Medium, || "opening it")?;
    let hidden = if may_hide_a_table { hidden::read(disk, &mut file)? } else { None };
    let partitions = hidden.as_ref().filter(|_| disk.partitions.is_empty()).map(|hidden| &hidden.partitions);
    let is_gpt = hidden.is_some() || disk.table.as_deref() == Some("gpt");
    let traces = traces_on(disk, partitions.unwrap_or(&disk.partitions), is_gpt, &mut file)
        .context(Kind::Medium, || "looking for superblocks")?;
    Ok(Seen { has_data, hidden, traces })
}

/// Everything that is recognised on a disk and its partitions. What lies in a partition is told of that alone: the
/// superblock at the end of the last one may seem to be that of the disk.
fn traces_on(disk: &Disk, partitions: &[Partition], is_gpt: bool, file: &mut File) -> io::Result<Vec<Trace>> {
    let trace = |device: &str, found: &traces::Found| Trace {
        device: device.to_owned(),
        kind: found.kind.to_owned(),
        offset: found.offset,
    };
    let is_inside = |offset: Bytes| {
        let holds = |it: &Partition| offset >= it.start && offset.saturating_sub(it.start) < it.size;
        partitions.iter().any(holds)
    };
    let on_disk = traces::find(file, Bytes::ZERO, disk.size)?;
    // The headers of the table that is told of are no leftovers.
    let on_disk = on_disk.iter().filter(|it| !(is_inside(it.offset) || is_gpt && it.kind == "gpt"));
    let mut all: Vec<_> = on_disk.map(|it| trace(&disk.device, it)).collect();
    for partition in partitions {
        // A table that a larger disk left behind: what lies beyond this one is not there.
        if partition.start.checked_add(partition.size).is_some_and(|end| end <= disk.size) {
            let found = traces::find(file, partition.start, partition.size)?;
            all.extend(found.iter().map(|it| trace(&partition.device, it)));
        }
    }
    Ok(all)
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
    use uuid::Uuid;

    use super::*;
    use crate::sys::gpt;
    use crate::units::{Bytes, Lba, SectorSize};

    #[test]
    fn table_without_protective_mbr_is_found_whatever_kernel_and_udev_remember() {
        let path = std::env::temp_dir().join(format!("bedplate-remembered-{}", std::process::id()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let entry = gpt::Entry {
            number: 1,
            first: Lba::new(2048),
            last: Lba::new(4095),
            type_guid: Uuid::from_u128(1),
            guid: Uuid::from_u128(2),
            name: "data".to_owned(),
        };
        gpt::write(&mut file, Bytes::mib(64), SectorSize::B512, Uuid::from_u128(3), &[entry], [0; 440]).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 2], 510).unwrap();
        let partition = |name: &str| crate::inventory::Partition {
            number: 1,
            device: name.to_owned(),
            start: Bytes::mib(1),
            size: Bytes::mib(1),
        };
        let own = crate::inventory::partition_device(path.to_str().unwrap(), 1);
        let look = |table: Option<&str>, partitions: Vec<crate::inventory::Partition>| {
            let mut disk = crate::inventory::testing::disk(path.to_str().unwrap(), Bytes::mib(64));
            (disk.table, disk.partitions) = (table.map(str::to_owned), partitions);
            let seen = see(&disk).unwrap();
            note(&mut disk, seen);
            let names: Vec<_> = disk.partitions.into_iter().map(|it| it.device).collect();
            (disk.table, disk.lacks_protective_mbr, names)
        };
        let found = [
            look(None, Vec::new()),
            look(Some("gpt"), Vec::new()),
            look(Some("gpt"), vec![partition("kernel's")]),
            look(Some("dos"), vec![partition("kernel's")]),
        ];
        std::fs::remove_file(&path).unwrap();
        let expected = |table: &str, lacks: bool, name: &str| (Some(table.to_owned()), lacks, vec![name.to_owned()]);
        assert_eq!(
            found,
            [
                expected("gpt", true, &own),
                expected("gpt", true, &own),
                expected("gpt", true, "kernel's"),
                expected("dos", false, "kernel's"),
            ]
        );
    }

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
