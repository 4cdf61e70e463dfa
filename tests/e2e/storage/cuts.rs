//! Power cuts, all of them: QEMU records every write and every flush of an installation; afterwards every state in which a
//! cut could have left the disk is judged here, without a machine.
//!
//! A disk may lose what was not flushed, in any order. Whether a state starts at all is in its first sector alone, so of
//! each stretch between two flushes all these are judged: every prefix; only what wrote the first sector; all but that; and
//! some subsets by chance.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::harness::disk::hex;
use crate::harness::process;
use crate::harness::wait::Deadline;
use crate::harness::write_log::{Told, WriteLog};

const SECTOR: usize = 512;
/// Where boot code ends (the disk's signature and the table of DOS follow).
const CODE: usize = 440;
/// Subsets by chance of each stretch.
const BY_CHANCE: u64 = 4;

/// What a first sector does to a BIOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is passed by: there is no signature.
    Nothing,
    /// It hands back to the firmware (`int 18h`).
    HandsBack,
    /// It runs GRUB.
    Grub,
    /// The signature is there and no code that is known: a BIOS hangs.
    Hangs,
}

/// Looks at a first sector.
pub fn start_of(sector: &[u8]) -> Start {
    let code = &sector[..CODE];
    if sector[510..512] != [0x55, 0xaa] {
        Start::Nothing
    } else if code.windows(4).any(|word| word == b"GRUB") {
        Start::Grub
    } else if code.windows(2).any(|word| word == [0xcd, 0x18]) {
        Start::HandsBack
    } else {
        Start::Hangs
    }
}

/// What was found in one recorded run.
#[derive(Debug, Default, Clone)]
pub struct Verdict {
    pub writes: usize,
    pub flushes: usize,
    pub states: u64,
    pub passed_by: u64,
    pub handed_back: u64,
    pub complete: u64,
    pub faults: Vec<String>,
    /// Prefixes (numbers of entries) for a look with a real machine: the last of each sort.
    pub samples: Vec<(Start, usize)>,
}

/// A recorded run over a disk, and by what its complete states are known.
pub struct Replay<'a> {
    log: &'a WriteLog,
    folder: &'a Path,
    /// Trees of the old and the new system; without the old one, nothing was on the disk.
    systems: Vec<Vec<String>>,
}

impl<'a> Replay<'a> {
    /// A run that led from `base` to `end`, in a folder for copies.
    #[track_caller]
    pub fn new(log: &'a WriteLog, base: &Path, end: &Path, folder: &'a Path) -> Self {
        let is_system = |path: &&Path| start_of(&first_sector(path)) == Start::Grub;
        let systems = [base, end].iter().filter(|path| is_system(path)).map(|path| system_on(path, folder)).collect();
        Self { log, folder, systems }
    }

    /// Judges every state.
    #[track_caller]
    pub fn judge(&self, base: &Path, seed: u64) -> Verdict {
        let flushed = copy(base, &self.folder.join("flushed.raw"));
        let file = File::options().read(true).write(true).open(&flushed).expect("the copy was just made");
        let mut verdict = Verdict::default();
        let mut stretch: Vec<Told> = Vec::new();
        let entries = self.log.entries();
        for (number, told) in entries.iter().enumerate() {
            if *told != Told::Flush {
                stretch.push(*told);
                verdict.writes += 1;
            }
            if *told == Told::Flush || number + 1 == entries.len() {
                verdict.flushes += usize::from(*told == Told::Flush);
                self.judge_stretch(&flushed, &stretch, number, seed, &mut verdict);
                stretch.drain(..).for_each(|told| self.log.apply(told, &file));
            }
        }
        verdict
    }

    /// All states in which the writes of one stretch may have reached the medium, on top of what was flushed.
    #[track_caller]
    fn judge_stretch(&self, flushed: &Path, stretch: &[Told], end: usize, seed: u64, verdict: &mut Verdict) {
        let begin = end.saturating_sub(stretch.len());
        let is_first = |told: &Told| WriteLog::touches(*told, 0, SECTOR as u64);
        let mut chosen: Vec<(String, Vec<usize>)> = Vec::new();
        // Nothing of this stretch is all of the one before.
        for count in usize::from(begin > 0)..=stretch.len() {
            chosen.push((format!("the first {} things told", begin + count), (0..count).collect()));
        }
        let (first, others): (Vec<usize>, Vec<usize>) = (0..stretch.len()).partition(|&it| is_first(&stretch[it]));
        if !first.is_empty() && !others.is_empty() {
            chosen.push((format!("of {begin} to {end} only the first sector"), first));
            chosen.push((format!("of {begin} to {end} all but the first sector"), others));
        }
        // Of two writes the prefixes and what comes of the first sector are nearly all that there is.
        for round in 0..if stretch.len() > 2 { BY_CHANCE } else { 0 } {
            let bits = hex(&Sha256::digest(format!("{seed} {end} {round}")));
            let is_kept = |it: &usize| bits.as_bytes()[it % bits.len()] >= b'8';
            chosen.push((
                format!("of {begin} to {end} subset {round} by chance"),
                (0..stretch.len()).filter(is_kept).collect(),
            ));
        }
        let before = first_sector(flushed);
        for (name, subset) in chosen {
            let mut sector = before.clone();
            subset.iter().for_each(|&it| self.log.overlay(stretch[it], 0, &mut sector));
            verdict.states += 1;
            let start = start_of(&sector);
            match start {
                Start::Nothing => verdict.passed_by += 1,
                Start::HandsBack => verdict.handed_back += 1,
                Start::Hangs => verdict.faults.push(format!("{name}: a signature and no code, a BIOS hangs")),
                Start::Grub => match self.completeness(flushed, stretch, &subset) {
                    Ok(()) => verdict.complete += 1,
                    Err(difference) => verdict.faults.push(format!("{name}: GRUB starts, and {difference}")),
                },
            }
            if name.starts_with("the first") {
                verdict.samples.retain(|(known, _)| *known != start);
                verdict.samples.push((start, begin + subset.len()));
            }
        }
    }

    /// Whether a state that starts is one of the whole systems.
    #[track_caller]
    fn completeness(&self, flushed: &Path, stretch: &[Told], subset: &[usize]) -> Result<(), String> {
        let state = copy(flushed, &self.folder.join("state.raw"));
        let file = File::options().read(true).write(true).open(&state).expect("the copy was just made");
        subset.iter().for_each(|&it| self.log.apply(stretch[it], &file));
        drop(file);
        let seen = system_on(&state, self.folder);
        if self.systems.contains(&seen) {
            return Ok(());
        }
        let nearest = self.systems.iter().map(|system| difference(system, &seen)).min_by_key(Vec::len);
        let lines = nearest.unwrap_or_else(|| vec!["no system is known".to_owned()]);
        Err(format!("{} lines differ: {}", lines.len(), lines.iter().take(4).cloned().collect::<Vec<_>>().join("; ")))
    }
}

fn difference(expected: &[String], seen: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|line| !seen.contains(line)).map(|line| format!("missing {line}"));
    missing.chain(seen.iter().filter(|line| !expected.contains(line)).map(|line| format!("surplus {line}"))).collect()
}

/// The first sector of a file.
pub fn first_sector(path: &Path) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    let file = File::open(path).unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
    file.read_exact_at(&mut sector, 0).expect("a disk has a first sector");
    sector
}

/// A copy with the same holes.
#[track_caller]
pub fn copy(from: &Path, to: &Path) -> PathBuf {
    run("cp", &["--sparse=always", &from.display().to_string(), &to.display().to_string()], 30);
    to.to_owned()
}

#[track_caller]
fn run(program: &str, arguments: &[&str], cpu_seconds: u32) -> String {
    process::run(Command::new(program).args(arguments), &[], Deadline::cpu(cpu_seconds)).ok()
}

/// What a disk image holds, in lines: its table, and of each partition what it is and, where it is a file system of the
/// ext family, every file with its digest once the journal was replayed.
///
/// The agent leaves its report with the system when all is proved: that may be there or not.
#[track_caller]
fn system_on(image: &Path, folder: &Path) -> Vec<String> {
    let table = process::run(Command::new("sfdisk").arg("--json").arg(image), &[], Deadline::cpu(10));
    if table.code != 0 {
        return vec![format!("no table: {}", table.stderr.trim())];
    }
    let table: Value = serde_json::from_str(&table.stdout).unwrap_or(Value::Null);
    let mut lines = Vec::new();
    let partitions = table["partitiontable"]["partitions"].as_array().cloned().unwrap_or_default();
    for (number, partition) in partitions.iter().enumerate() {
        let field = |key: &str| partition[key].as_u64().unwrap_or(0);
        lines.push(format!("partition {number}: {} {} {}", field("start"), field("size"), partition["uuid"]));
        lines.extend(content_of(image, number, field("start") * 512, field("size") * 512, folder));
    }
    lines
}

#[track_caller]
fn content_of(image: &Path, number: usize, start: u64, size: u64, folder: &Path) -> Vec<String> {
    let (offset, length) = (format!("--offset={start}"), format!("--size={size}"));
    let image = image.display().to_string();
    let probe = Command::new("blkid")
        .args(["--probe", "--output", "export", &offset, &length, &image])
        .output()
        .expect("blkid can be started");
    let probe = String::from_utf8_lossy(&probe.stdout).into_owned();
    let value = |key: &str| probe.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("").to_owned();
    let kind = value("TYPE=");
    let mut lines = vec![format!("partition {number} holds {kind} {} {}", value("UUID="), value("LABEL="))];
    if kind.starts_with("ext") {
        let part = folder.join("part.raw");
        let script = format!(
            "rm -rf {0} {0}.tree; mkdir {0}.tree; dd if={image} of={0} bs=1M iflag=skip_bytes,count_bytes skip={start} \
             count={size} conv=sparse status=none; e2fsck -p {0} >/dev/null || [ $? = 1 ] || echo damaged; \
             debugfs -R 'rdump / {0}.tree' {0} 2>/dev/null; cd {0}.tree; rm -rf var/log/bedplate; \
             find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum; rm -rf {0}.tree",
            part.display()
        );
        lines.extend(run("sh", &["-c", &script], 30).lines().map(|line| format!("partition {number}: {line}")));
    }
    lines
}

#[test]
fn first_sectors_are_told_apart() {
    let sector = |code: &[u8], has_signature: bool| {
        let mut bytes = vec![0; SECTOR];
        bytes[100..100 + code.len()].copy_from_slice(code);
        bytes[510..].copy_from_slice(if has_signature { &[0x55, 0xaa] } else { &[0, 0] });
        start_of(&bytes)
    };
    assert_eq!(sector(b"GRUB", true), Start::Grub);
    assert_eq!(sector(b"GRUB", false), Start::Nothing);
    assert_eq!(sector(&[0xcd, 0x18], true), Start::HandsBack);
    assert_eq!(sector(b"", true), Start::Hangs);
}
