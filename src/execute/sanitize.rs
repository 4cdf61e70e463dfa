//! Devices that erase themselves: NVMe through nvme-cli, ATA through hdparm.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::DiskIdentity;
use crate::sys::command::{Call, Tool};
use crate::sys::signal;

/// How often an NVMe device is asked how far it is.
const ASKED: Duration = Duration::from_secs(2);
/// How long a device may take at most; the largest disks overwrite themselves within two days.
const LONGEST: Duration = Duration::from_secs(48 * 60 * 60);
/// A password that ATA demands before it erases; it is gone with the data. No secret: whoever finds a disk locked after a
/// power cut unlocks it with this.
const PASSWORD: &str = "bedplate";

/// What a disk is spoken to by.
enum Family {
    Nvme { controller: PathBuf },
    Ata,
}

impl Family {
    fn of(disk: &DiskIdentity) -> Result<Self> {
        let name = disk.device.trim_start_matches("/dev/");
        let folder = Path::new("/sys/block").join(name);
        if name.starts_with("nvme") {
            // nvme0n1 is a namespace of nvme0.
            let controller = name.rsplit_once('n').map_or(name, |(controller, _)| controller);
            return Ok(Self::Nvme { controller: Path::new("/dev").join(controller) });
        }
        let path = fs::canonicalize(folder).unwrap_or_default();
        let is_ata = |part: &str| part.strip_prefix("ata").is_some_and(|rest| rest.parse::<u32>().is_ok());
        if path.iter().any(|part| part.to_str().is_some_and(is_ata)) {
            return Ok(Self::Ata);
        }
        Err(Error::new(Kind::Hardware, format!("{} is neither NVMe nor ATA: it cannot erase itself", disk.device))
            .advise("erase it with the mode overwrite or discard"))
    }
}

/// The tool that erases this disk.
pub fn required_tools(disk: &DiskIdentity) -> Result<Vec<Tool>> {
    Ok(vec![match Family::of(disk)? {
        Family::Nvme { .. } => Tool::Nvme,
        Family::Ata => Tool::Hdparm,
    }])
}

/// Has a disk erase itself; returns what it said.
pub fn sanitize(disk: &DiskIdentity, progress: &dyn Fn(u64, u64)) -> Result<String> {
    match Family::of(disk)? {
        Family::Nvme { controller } => nvme(disk, &controller, progress),
        Family::Ata => ata(&disk.device),
    }
}

/// What an NVMe controller can do. NVM Express base specification 2.0, figure 275.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NvmeAbilities {
    /// Sanitize: bit 0 by a new key, bit 1 of blocks, bit 2 by overwriting.
    sanitize: u64,
    /// Whether it has the command Format NVM.
    formats: bool,
    /// Whether formatting or erasing one namespace concerns all of them.
    formats_all: bool,
}

impl NvmeAbilities {
    fn parse(answer: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(answer).context(Kind::Tool, || "reading what nvme id-ctrl says")?;
        let field = |key: &str| value[key].as_u64().unwrap_or(0);
        let formats_all = field("fna") & 0b11 != 0;
        Ok(Self { sanitize: field("sanicap") & 0b111, formats: field("oacs") & 0b10 != 0, formats_all })
    }

    /// How a namespace is erased beside so many others that must stay.
    fn method(self, others: usize) -> Option<NvmeMethod> {
        // Blocks are really erased; a new key alone leaves what was written.
        let actions = [(0b010, 2, "block erase"), (0b001, 4, "crypto erase"), (0b100, 3, "overwrite")];
        let action = actions.into_iter().find(|(bit, ..)| self.sanitize & bit != 0);
        match action {
            // It concerns the whole device.
            Some((_, action, words)) if others == 0 => Some(NvmeMethod::Sanitize { action, words }),
            _ if self.formats && (others == 0 || !self.formats_all) => Some(NvmeMethod::Format),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NvmeMethod {
    Sanitize { action: u8, words: &'static str },
    Format,
}

fn nvme(disk: &DiskIdentity, controller: &Path, progress: &dyn Fn(u64, u64)) -> Result<String> {
    let path = controller.to_string_lossy().into_owned();
    let answer = Call::new(Tool::Nvme, ["id-ctrl", "--output-format=json", &path]).run()?.stdout;
    let others = other_namespaces(disk, controller);
    match NvmeAbilities::parse(&answer)?.method(others.len()) {
        Some(NvmeMethod::Sanitize { action, words }) => {
            Call::new(Tool::Nvme, ["sanitize", &path, &format!("--sanact={action}")]).run()?;
            follow(&path, progress)?;
            Ok(format!("it has sanitized itself ({words})"))
        }
        Some(NvmeMethod::Format) => {
            // --force: it would wait ten seconds for a person.
            Call::new(Tool::Nvme, ["format", &disk.device, "--ses=1", "--force"]).limit(LONGEST).run()?;
            Ok("it has formatted itself (user data erase)".to_owned())
        }
        None if others.is_empty() => Err(Error::new(Kind::Hardware, "it has neither sanitize nor format")
            .advise("erase it with the mode overwrite or discard")),
        None => Err(Error::new(
            Kind::Refused,
            format!("it can only erase all of its namespaces, and {} would be lost, too", others.join(", ")),
        )
        .advise("erase it with the mode overwrite or discard")),
    }
}

/// Namespaces of the same controller, by name.
fn other_namespaces(disk: &DiskIdentity, controller: &Path) -> Vec<String> {
    let name = controller.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = disk.device.trim_start_matches("/dev/");
    let entries = fs::read_dir(Path::new("/sys/class/nvme").join(&name)).into_iter().flatten().flatten();
    // nvme0n2; with several paths nvme0c1n2 stands for it.
    let is_namespace = |entry: &str| {
        let rest = entry.strip_prefix(name.as_str())?;
        let number = rest.rsplit_once('n')?.1;
        (rest.starts_with(['n', 'c']) && number.parse::<u32>().is_ok()).then(|| format!("{name}n{number}"))
    };
    let names = entries.filter_map(|entry| is_namespace(entry.file_name().to_str()?));
    let mut others: Vec<_> = names.filter(|it| it != own).collect();
    others.sort();
    others.dedup();
    others
}

/// Asks the device how far it is until it is done. It goes on by itself, whatever becomes of this program.
fn follow(controller: &str, progress: &dyn Fn(u64, u64)) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = Call::new(Tool::Nvme, ["sanitize-log", "--output-format=json", controller]).run()?.stdout;
        match SanitizeState::parse(&answer)? {
            SanitizeState::Done => return Ok(()),
            SanitizeState::Running(parts) => progress(parts, 65_536),
            SanitizeState::Failed(status) => {
                let message = format!("the device failed to sanitize itself: status {status:#x}");
                return Err(Error::new(Kind::Medium, message).advise("replace the disk: it may still hold data"));
            }
        }
        if begun.elapsed() > LONGEST {
            return Err(Error::new(Kind::Medium, "the device still sanitizes itself after 48 hours"));
        }
        signal::pause(ASKED)?;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SanitizeState {
    Done,
    /// So many parts of 65536.
    Running(u64),
    Failed(u64),
}

impl SanitizeState {
    /// NVM Express base specification 2.0, figure 291: the status is in the lowest three bits.
    fn parse(answer: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(answer).context(Kind::Tool, || "reading what nvme sanitize-log says")?;
        // Of some versions the log stands below the name of the device.
        let log = value.as_object().and_then(|object| object.values().find(|it| it.is_object())).unwrap_or(&value);
        let number = |value: &Value| {
            let text = value.as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
            value.as_u64().or(text)
        };
        let field = |key: &str| number(&log[key]).or_else(|| number(&value[key]));
        let status = field("sstat")
            .or_else(|| field("sstat_int"))
            .ok_or_else(|| Error::new(Kind::Tool, format!("nvme sanitize-log tells no status: {}", answer.trim())))?;
        Ok(match status & 0b111 {
            1 | 4 => Self::Done,
            2 => Self::Running(field("sprog").unwrap_or(0)),
            _ => Self::Failed(status),
        })
    }
}

/// What a disk says of its security, as hdparm prints it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct AtaSecurity {
    is_supported: bool,
    is_enabled: bool,
    is_locked: bool,
    is_frozen: bool,
    has_enhanced: bool,
    /// What the disk needs, normally and for the enhanced erasure.
    minutes: [Option<u64>; 2],
}

impl AtaSecurity {
    fn parse(answer: &str) -> Self {
        let mut found = Self::default();
        let lines = answer.lines().skip_while(|line| !line.starts_with("Security:")).skip(1);
        for line in lines.take_while(|line| line.starts_with(char::is_whitespace)) {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["supported"] => found.is_supported = true,
                ["enabled"] => found.is_enabled = true,
                ["locked"] => found.is_locked = true,
                ["frozen"] => found.is_frozen = true,
                ["supported:", "enhanced", "erase"] => found.has_enhanced = true,
                words => {
                    let minutes = |kind: &str| line.split('.').find(|part| part.contains(kind)).and_then(minutes);
                    if words.contains(&"ERASE") {
                        found.minutes = [minutes("for SECURITY"), minutes("for ENHANCED")];
                    }
                }
            }
        }
        found
    }

    fn obstacle(self) -> Option<Error> {
        let refused = |message: &str, advice: &str| Some(Error::new(Kind::Refused, message).advise(advice));
        if !self.is_supported {
            return Some(
                Error::new(Kind::Hardware, "it has no secure erase")
                    .advise("erase it with the mode overwrite or discard"),
            );
        }
        if self.is_locked || self.is_enabled {
            let advice =
                format!("take the password off first: hdparm --security-disable PASSWORD; ours is {PASSWORD:?}");
            return refused("it is protected by a password", &advice);
        }
        if self.is_frozen {
            let advice = "suspend the machine and wake it (echo mem > /sys/power/state), or pull the disk's power and plug \
                          it in again, then try once more; or erase it with the mode overwrite";
            return refused("the firmware has frozen its security settings", advice);
        }
        None
    }
}

/// The number at the beginning of `24min for SECURITY ERASE UNIT`; more than 508 are told as 508.
fn minutes(text: &str) -> Option<u64> {
    let digits: String = text.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn ata(device: &str) -> Result<String> {
    let security = AtaSecurity::parse(&Call::new(Tool::Hdparm, ["-I", device]).run()?.stdout);
    if let Some(obstacle) = security.obstacle() {
        return Err(obstacle);
    }
    let (option, words, needed) = if security.has_enhanced {
        ("--security-erase-enhanced", "enhanced secure erase", security.minutes[1])
    } else {
        ("--security-erase", "secure erase", security.minutes[0])
    };
    let asked = |option: &str| ["--user-master", "u", option, PASSWORD, device].map(str::to_owned);
    Call::new(Tool::Hdparm, asked("--security-set-pass")).run()?;
    let begun = Instant::now();
    if let Err(error) = Call::new(Tool::Hdparm, asked(option)).limit(LONGEST).run() {
        let unlocked = Call::new(Tool::Hdparm, asked("--security-disable")).run();
        let left = format!("it may be locked: hdparm --user-master u --security-disable {PASSWORD} {device}");
        return Err(if unlocked.is_err() { error.advise(left) } else { error });
    }
    let after = AtaSecurity::parse(&Call::new(Tool::Hdparm, ["-I", device]).run()?.stdout);
    if after.is_enabled {
        return Err(Error::new(Kind::Medium, "it is still protected by a password: it has not erased itself")
            .advise(format!("hdparm --user-master u --security-disable {PASSWORD} {device}")));
    }
    let told = needed.map_or_else(String::new, |needed| format!(", for which it estimated {needed} min"));
    Ok(format!("it has erased itself in {} s ({words}{told})", begun.elapsed().as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvme_device_is_erased_as_a_whole_only_when_nothing_else_is_on_it() {
        let able = |sanicap: u64, oacs: u64, fna: u64| {
            NvmeAbilities::parse(&format!(r#"{{"sanicap": {sanicap}, "oacs": {oacs}, "fna": {fna}}}"#)).unwrap()
        };
        let block = NvmeMethod::Sanitize { action: 2, words: "block erase" };
        let crypto = NvmeMethod::Sanitize { action: 4, words: "crypto erase" };
        assert_eq!(able(0b111, 0b10, 0).method(0), Some(block));
        assert_eq!(able(0b101, 0b10, 0).method(0), Some(crypto));
        assert_eq!(able(0b111, 0b10, 0).method(1), Some(NvmeMethod::Format));
        assert_eq!(able(0, 0b10, 0b10).method(0), Some(NvmeMethod::Format));
        assert_eq!(able(0b111, 0b10, 0b10).method(1), None, "formatting one would format the other");
        assert_eq!(able(0, 0, 0).method(0), None);
        assert!(NvmeAbilities::parse("nothing").is_err());
    }

    #[test]
    fn log_of_sanitizing_is_read_in_the_forms_of_several_versions() {
        let parse = |text: &str| SanitizeState::parse(text).unwrap();
        assert_eq!(parse(r#"{"sprog": 1024, "sstat": 258}"#), SanitizeState::Running(1024));
        assert_eq!(parse(r#"{"nvme0": {"sprog": 65535, "sstat": 257}}"#), SanitizeState::Done);
        assert_eq!(parse(r#"{"sprog": 65535, "sstat": "0x3"}"#), SanitizeState::Failed(3));
        assert!(SanitizeState::parse("{}").is_err());
    }

    const SECURITY: &str = "\n/dev/sda:\n\nATA device\n\tModel Number: X\nSecurity: \n\tMaster password revision code = 65534\n\t\tsupported\n\tnot\tenabled\n\tnot\tlocked\n\t\tfrozen\n\tnot\texpired: security count\n\t\tsupported: enhanced erase\n\t24min for SECURITY ERASE UNIT. 508min for ENHANCED SECURITY ERASE UNIT.\nLogical Unit WWN\n";

    #[test]
    fn frozen_and_locked_disks_are_refused_with_what_to_do() {
        let found = AtaSecurity::parse(SECURITY);
        let expected = AtaSecurity {
            is_supported: true,
            is_frozen: true,
            has_enhanced: true,
            minutes: [Some(24), Some(508)],
            ..AtaSecurity::default()
        };
        assert_eq!(found, expected);
        let error = found.obstacle().unwrap();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::Refused, "the firmware has frozen its security settings")
        );
        let thawed = AtaSecurity::parse(&SECURITY.replace("\t\tfrozen", "\tnot\tfrozen"));
        assert!(thawed.obstacle().is_none());
        let locked = AtaSecurity::parse(&SECURITY.replace("not\tenabled", "\tenabled"));
        assert_eq!(locked.obstacle().unwrap().to_string(), "it is protected by a password");
        assert_eq!(AtaSecurity::parse("").obstacle().unwrap().kind(), Kind::Hardware);
    }
}
