//! The plan as text, made to be read at three in the morning.

use std::fmt::Write as _;

use crate::layout::LaidPartition;
use crate::plan::{DiskIdentity, Plan, Step};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Renders the plan; `colour` for terminals.
pub fn text(plan: &Plan, colour: bool) -> String {
    let mut out = String::new();
    let paint = |code: &'static str, text: &str| if colour { format!("{code}{text}{PLAIN}") } else { text.to_owned() };
    // Writing to a String cannot fail.
    let mut line = |text: String| writeln!(out, "{text}").unwrap_or_default();

    let lost = plan.destroys.len();
    let count = match lost {
        0 => "NOTHING IS LOST: every disk named is empty or kept".to_owned(),
        1 => "1 THING IS LOST".to_owned(),
        n => format!("{n} THINGS ARE LOST"),
    };
    line(paint(if lost == 0 { BOLD } else { RED }, &count));
    for loss in &plan.destroys {
        line(paint(RED, &format!("  - {}: {}", loss.device, loss.what)));
    }
    for warning in &plan.warnings {
        line(paint(YELLOW, &format!("warning: {warning}")));
    }
    for disk in &plan.layout.disks {
        line(String::new());
        let who = plan.steps.iter().find_map(|step| identity(step, &disk.device));
        let who = who.map_or_else(|| format!("{} (kept)", disk.device), describe);
        line(paint(BOLD, &who));
        for partition in &disk.partitions {
            line(row(partition));
        }
    }
    for name in &plan.layout.untouched_disks {
        line(format!("\n{name}: untouched"));
    }
    if !plan.layout.vgs.is_empty() {
        line(String::new());
    }
    for group in &plan.layout.vgs {
        let volumes = plan.layout.lvs.iter().filter(|lv| lv.vg == group.name);
        let volumes: Vec<_> = volumes.map(|lv| format!("{} {}", lv.name, lv.size_mib)).collect();
        line(format!("VG {} on {}: {}", group.name, group.pvs.join(", "), volumes.join(", ")));
    }
    for array in &plan.layout.mds {
        line(format!("array {} ({}) of {}", array.name, array.level, array.devices.join(", ")));
    }
    line(format!("\n{}", paint(BOLD, "steps")));
    for (index, step) in plan.steps.iter().enumerate() {
        line(format!("{:4}. {step}", index + 1));
    }
    line(format!("\nplan digest {}", plan.digest));
    out
}

fn identity<'a>(step: &'a Step, device: &str) -> Option<&'a DiskIdentity> {
    match step {
        Step::WriteTable { disk, .. } if disk.device == device => Some(disk),
        _ => None,
    }
}

fn describe(disk: &DiskIdentity) -> String {
    let model = disk.model.as_deref().unwrap_or("model unknown");
    let serial = disk.serial.as_deref().map_or_else(|| "no serial".to_owned(), |serial| format!("serial {serial}"));
    format!("{}  {model}  {serial}  {}", disk.device, disk.size)
}

fn row(it: &LaidPartition) -> String {
    let kept = if it.keep_data { "  (kept)" } else { "" };
    format!("{:4}  {:>12} at {:>12}  {}{kept}", it.number, it.size_mib.to_string(), it.start_mib.to_string(), it.role)
}
