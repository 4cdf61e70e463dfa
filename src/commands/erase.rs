//! `erase --disk DISK..`: makes the named disks empty, and no others.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::plan::print;
use super::{provision, report_file};
use crate::configdrive::ConfigDrive;
use crate::error::{Error, Kind, Result};
use crate::execute::{self, Done, Inputs, Run};
use crate::http::Client;
use crate::inventory::{self, Disk, Inventory};
use crate::plan::{self, Plan};
use crate::report::{DiskState, ErrorReport, Outcome, Report, Reporter};
use crate::request::EraseMode;
use crate::sys::{memory, mount};
use crate::units::MaxWindow;

/// Options of `erase`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The disks, each by a name that stays with it: a link below /dev/disk, its serial number or its WWN
    #[arg(long = "disk", value_name = "DISK", required = true, num_args = 1..)]
    pub disks: Vec<String>,
    /// How: quick (signatures), discard, sanitize (the device's own way) or overwrite (zeroes)
    #[arg(long, value_name = "MODE", default_value = "quick", value_parser = mode)]
    pub mode: EraseMode,
    /// Show what would be done and lost; touches nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the report goes
    #[arg(long, value_name = "FILE", help = "Where the report goes [default: /var/log/bedplate/erase-report.json]")]
    pub report: Option<PathBuf>,
    /// Send events there: `-` for stdout, a file, or an http(s) URL (repeatable)
    #[arg(long, value_name = "DEST")]
    pub events: Vec<String>,
}

/// Where reports go when nobody says otherwise.
const REPORT_FILE: &str = "/var/log/bedplate/erase-report.json";

fn mode(word: &str) -> Result<EraseMode, String> {
    let words = EraseMode::ALL.map(EraseMode::word).join(", ");
    EraseMode::of_word(word).ok_or_else(|| format!("expected one of {words}"))
}

/// Shows the plan and carries it out; nothing more of a dry run than the plan.
///
/// # Errors
/// Those before anything is begun; what happens later is in the report.
pub fn run(args: &Args, reporter: &Reporter, http: &Client) -> Result<Option<Report>> {
    execute::require_root()?;
    let begun = Instant::now();
    let _lock = execute::lock()?;
    if !args.dry_run {
        mount::unmount_leftovers(Path::new(provision::OURS))?;
    }
    let machine = inventory::collect(Path::new("/"));
    let chosen = choose(&args.disks, &machine)?;
    let disks: Vec<_> = chosen.iter().map(|choice| choice.disk).collect();
    let plan = plan::erase(&disks, args.mode, &machine)?;
    if args.dry_run {
        print(&plan.text(std::io::stdout().is_terminal()))?;
        return Ok(None);
    }
    require_lasting_names(&chosen, args.mode)?;
    for loss in &plan.destroys {
        reporter.log(format!("will be lost: {}: {}", loss.device, loss.what));
    }
    reporter.log(format!("plan {}", plan.digest));
    let path = args.report.as_deref().unwrap_or(Path::new(REPORT_FILE));
    report_file::begin(path, reporter.id())?;
    reporter.run_started(concat!("bedplate ", env!("CARGO_PKG_VERSION")));
    let (done, result) = carry_out(&plan, reporter, http);
    let report = report(&plan, &done, result.as_ref().err(), begun, reporter);
    reporter.run_finished(if result.is_ok() { "erased" } else { "failed" }, result.as_ref().err());
    report_file::save(&report, path)?;
    Ok(Some(report))
}

fn carry_out(plan: &Plan, reporter: &Reporter, http: &Client) -> (Done, Result<()>) {
    let config_drive = ConfigDrive::default();
    let max_window = MaxWindow::default();
    if let Err(error) = execute::prepare(plan, http, max_window) {
        return (Done::default(), Err(error));
    }
    let target = Path::new("/nonexistent");
    let mut run = Run::new(Inputs { http, config_drive: &config_drive, reporter, target, max_window });
    let result = run.carry_out(plan);
    let (done, closed) = run.close(false);
    (done, result.and(closed))
}

fn report(plan: &Plan, done: &Done, error: Option<&Error>, begun: Instant, reporter: &Reporter) -> Report {
    let state = |device: &str| {
        let step = format!("erase {device}");
        match (done.steps.iter().any(|it| it.step == step), done.begun.contains(&step)) {
            (true, _) => DiskState::Erased,
            (false, true) => DiskState::Unknown,
            (false, false) => DiskState::Untouched,
        }
    };
    Report {
        run: reporter.id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        outcome: if error.is_none() { Outcome::Done } else { Outcome::Failed },
        error: error.map(|error| ErrorReport::of(error, done.failed_step.as_deref())),
        plan_digest: Some(plan.digest.clone()),
        disks: plan.disks.iter().map(|it| (it.disk.device.clone(), state(&it.disk.device))).collect(),
        steps: done.steps.clone(),
        images: Vec::new(),
        warnings: plan.warnings.clone(),
        seconds: begun.elapsed().as_secs_f64(),
        peak_memory: memory::peak(),
    }
}

/// A disk, and whether it was named by what stays with it.
#[derive(Debug)]
struct Choice<'a> {
    disk: &'a Disk,
    is_lasting: bool,
}

/// The disk of each name.
fn choose<'a>(names: &[String], machine: &'a Inventory) -> Result<Vec<Choice<'a>>> {
    let mut chosen: Vec<Choice<'a>> = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        let found: Vec<_> = machine.disks.iter().filter_map(|disk| by_name(disk, name)).collect();
        match found.as_slice() {
            [] => {
                let known: Vec<_> = machine.disks.iter().map(|disk| disk.device.as_str()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                faults.push(Error::new(Kind::Hardware, format!("no disk is named {name}: the disks are {known}")));
            }
            [(disk, is_lasting)] => match chosen.iter_mut().find(|it| it.disk.device == disk.device) {
                Some(known) => known.is_lasting |= is_lasting,
                None => chosen.push(Choice { disk, is_lasting: *is_lasting }),
            },
            several => {
                let devices: Vec<_> = several.iter().map(|(disk, _)| disk.device.as_str()).collect();
                let message = format!("{name} is the name of several disks: {}", devices.join(", "));
                faults.push(
                    Error::new(Kind::Hardware, message).advise("name the disk by its link below /dev/disk/by-path"),
                );
            }
        }
    }
    Error::join(faults).map_or(Ok(chosen), Err)
}

fn by_name<'a>(disk: &'a Disk, name: &str) -> Option<(&'a Disk, bool)> {
    let is_number = |number: &Option<String>| number.as_deref() == Some(name);
    let is_lasting = disk.links.iter().any(|link| link == name && link.starts_with("/dev/disk/"))
        || is_number(&disk.serial)
        || is_number(&disk.wwn);
    (is_lasting || disk.device == name || disk.links.iter().any(|link| link == name)).then_some((disk, is_lasting))
}

/// The kernel gives its names anew at each start: whoever means a disk says so by a name that stays with it.
fn require_lasting_names(chosen: &[Choice<'_>], mode: EraseMode) -> Result<()> {
    let Some(unsure) = chosen.iter().find(|it| !it.is_lasting && lasting_name(it.disk).is_some()) else {
        return Ok(());
    };
    let names: Vec<_> = chosen.iter().filter_map(|it| lasting_name(it.disk)).collect();
    let what =
        format!("{} may be the name of another disk after the next start: nothing was erased", unsure.disk.device);
    Err(Error::new(Kind::Refused, what).advise(format!(
        "bedplate erase --mode {} --disk {}",
        mode.word(),
        names.join(" ")
    )))
}

/// A name that stays with the disk: the first of its links that tells of the device itself, else where it is plugged in.
fn lasting_name(disk: &Disk) -> Option<&str> {
    disk.by_id().next().or_else(|| disk.by_path().next()).or(disk.serial.as_deref()).or(disk.wwn.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    fn machine() -> Inventory {
        let disk = |name: &str, serial: &str| {
            let mut disk = Disk::unknown(name, Bytes::mib(1024));
            disk.serial = Some(serial.to_owned());
            disk.links = vec![format!("/dev/disk/by-id/ata-{serial}"), format!("/dev/disk/by-path/pci-{name}")];
            disk
        };
        let mut nameless = Disk::unknown("vdc", Bytes::mib(1024));
        nameless.links = Vec::new();
        Inventory {
            disks: vec![disk("sda", "A"), disk("sdb", "B"), disk("sdc", "B"), nameless],
            ..Inventory::default()
        }
    }

    fn devices(names: &[&str]) -> Result<Vec<(String, bool)>> {
        let machine = machine();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let chosen = choose(&names, &machine)?;
        require_lasting_names(&chosen, EraseMode::Discard)?;
        Ok(chosen.iter().map(|it| (it.disk.name.clone(), it.is_lasting)).collect())
    }

    #[test]
    fn disks_are_named_by_what_stays_with_them() {
        let expected = [("sda".to_owned(), true), ("sdb".to_owned(), true)];
        assert_eq!(devices(&["A", "/dev/disk/by-path/pci-sdb"]).unwrap(), expected);
        assert_eq!(devices(&["/dev/sda", "/dev/disk/by-id/ata-A"]).unwrap(), expected[..1], "one disk named twice");
        // What has no other name is called by the kernel's.
        assert_eq!(devices(&["/dev/vdc"]).unwrap(), [("vdc".to_owned(), false)]);
    }

    #[test]
    fn name_of_the_kernel_is_refused_with_the_command_that_names_the_disk() {
        let error = devices(&["/dev/sda", "/dev/disk/by-path/pci-sdb"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        let expected = "/dev/sda may be the name of another disk after the next start: nothing was erased";
        assert_eq!(error.to_string(), expected);
        let expected = "bedplate erase --mode discard --disk /dev/disk/by-id/ata-A /dev/disk/by-id/ata-B";
        assert_eq!(error.advice(), Some(expected));
    }

    #[test]
    fn unknown_and_ambiguous_names_are_told_at_once() {
        let error = devices(&["C", "B"]).unwrap_err();
        assert_eq!(error.kind(), Kind::Hardware);
        assert_eq!(
            error.to_string(),
            "2 faults: no disk is named C: the disks are /dev/sda, /dev/sdb, /dev/sdc, /dev/vdc; \
             B is the name of several disks: /dev/sdb, /dev/sdc"
        );
    }
}
