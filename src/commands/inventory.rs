//! `inventory`: shows what is there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Kind, Result};
use crate::inventory::{self, Disk, FirmwareMode, Inventory, Use};

/// Shows the machine: system, processors, memory, disks with what is on them, network interfaces.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Reads a saved tree of /sys, /proc, /run and /etc instead of this machine.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Prints the inventory on standard output.
///
/// # Errors
/// `Usage` when `--root` is no folder, or standard output is closed.
pub fn run(args: &Args) -> Result<()> {
    let named = || format!("reading the saved tree {}", args.root.display());
    let root = args.root.canonicalize().context(Kind::Usage, named)?;
    std::fs::read_dir(&root).context(Kind::Usage, named)?;
    let inventory = inventory::collect(&root);
    let text = if args.json {
        let mut text =
            serde_json::to_string_pretty(&inventory).context(Kind::Bug, || "writing the inventory as JSON")?;
        text.push('\n');
        text
    } else {
        table(&inventory, is_live(&root))
    };
    std::io::stdout().write_all(text.as_bytes()).context(Kind::Usage, || "printing the inventory")
}

fn is_live(root: &Path) -> bool {
    root == Path::new("/")
}

/// One screen that a person can read.
fn table(inventory: &Inventory, is_live: bool) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("System", system(inventory)),
        ("Firmware", firmware(inventory)),
        ("Processors", processors(inventory)),
        ("Memory", inventory.memory.total.to_string()),
    ] {
        line(&mut text, &format!("{name:<11} {value}"));
    }
    line(&mut text, "");
    let mut rows = vec![["DISK", "SIZE", "MODEL", "SERIAL", "BUS", "ON IT"].map(str::to_owned)];
    rows.extend(inventory.disks.iter().map(|disk| {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let content = content(disk, is_live);
        [
            disk.name.clone(),
            disk.size.to_string(),
            known(&disk.model),
            known(&disk.serial),
            known(&disk.transport),
            content,
        ]
    }));
    columns(&mut text, &rows);
    line(&mut text, "");
    let mut rows = vec![["INTERFACE", "MAC", "STATE", "SPEED", "ADDRESS", "DRIVER", ""].map(str::to_owned)];
    rows.extend(inventory.interfaces.iter().map(|interface| {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [
            interface.name.clone(),
            interface.mac.clone(),
            interface.state.clone(),
            or_dash(interface.speed.map(|speed| format!("{speed} Mbit/s"))),
            or_dash(interface.ip.as_ref().map(|ip| match &interface.netmask {
                Some(mask) => format!("{ip}/{mask}"),
                None => ip.clone(),
            })),
            or_dash(interface.driver.clone()),
            if interface.is_pxe { "boots".to_owned() } else { String::new() },
        ]
    }));
    columns(&mut text, &rows);
    if !inventory.warnings.is_empty() {
        line(&mut text, "");
        for warning in &inventory.warnings {
            line(&mut text, &format!("warning: {}: {}", warning.source, warning.reason));
        }
    }
    text
}

fn system(inventory: &Inventory) -> String {
    let system = &inventory.system;
    let words: Vec<_> = [&system.manufacturer, &system.product].into_iter().flatten().map(String::as_str).collect();
    let mut text = if words.is_empty() { "unknown".to_owned() } else { words.join(" ") };
    if let Some(serial) = &system.serial {
        text.push_str(&format!(", serial {serial}"));
    }
    if let Some(uuid) = &system.uuid {
        text.push_str(&format!(", UUID {uuid}"));
    }
    text
}

fn firmware(inventory: &Inventory) -> String {
    let mode = match inventory.firmware.mode {
        FirmwareMode::Bios => "BIOS",
        FirmwareMode::Uefi => "UEFI",
        FirmwareMode::Unknown => "unknown",
    };
    match inventory.firmware.secure_boot {
        Some(true) => format!("{mode}, Secure Boot on"),
        Some(false) => format!("{mode}, Secure Boot off"),
        None => mode.to_owned(),
    }
}

fn processors(inventory: &Inventory) -> String {
    let cpu = &inventory.cpu;
    let model = cpu.model.as_deref().unwrap_or("unknown model");
    format!("{}, {} threads in {} sockets", model, cpu.threads, cpu.sockets)
}

/// What is on a disk, in few words.
fn content(disk: &Disk, is_live: bool) -> String {
    let mut words = Vec::new();
    if disk.is_read_only {
        words.push("read-only".to_owned());
    }
    if let Some(table) = &disk.table {
        words.push(format!("{table}, {} partitions", disk.partitions.len()));
    }
    let mut kinds: Vec<_> = disk.signatures.iter().map(|signature| signature.kind.as_str()).collect();
    kinds.dedup();
    words.extend((!kinds.is_empty()).then(|| kinds.join(" ")));
    for used in &disk.uses {
        words.push(match used {
            Use::Mount { path, .. } => format!("mounted on {path}"),
            Use::Swap { .. } => "swap in use".to_owned(),
            Use::Holder { name, .. } => format!("held by {name}"),
        });
    }
    words.dedup();
    match (words.is_empty(), disk.has_data) {
        (false, _) => words.join("; "),
        (true, Some(false)) => "empty".to_owned(),
        (true, Some(true)) => "unknown data".to_owned(),
        (true, None) if is_live => "unknown".to_owned(),
        (true, None) => "-".to_owned(),
    }
}

/// Rows with their columns aligned.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(text, &cells.collect::<Vec<_>>().join("  "));
    }
}

/// Names come from devices: what would move the cursor is not printed.
fn line(text: &mut String, words: &str) {
    let shown: String = words.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    // Writing to a String does not fail.
    let _always_ok = writeln!(text, "{shown}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_disks_and_what_is_on_them() {
        let saved = r#"{
            "firmware": {"mode": "uefi", "secure_boot": false},
            "system": {"manufacturer": "QEMU", "product": "Standard PC", "serial": "S\u001b1"},
            "cpu": {"model": "Example CPU", "sockets": 1, "threads": 2, "flags": []},
            "memory": {"total": 2147483648},
            "disks": [
                {"name": "sda", "device": "/dev/sda", "size": 10737418240, "sector_size": 512, "major": 8, "minor": 0,
                 "model": "DISK", "transport": "ata", "table": "gpt",
                 "partitions": [{"number": 1, "device": "/dev/sda1", "start": 1048576, "size": 1048576}],
                 "signatures": [{"device": "/dev/sda1", "kind": "ext4"}],
                 "uses": [{"kind": "mount", "device": "/dev/sda1", "path": "/"}]},
                {"name": "sdb", "device": "/dev/sdb", "size": 1073741824, "sector_size": 512, "major": 8, "minor": 16, "has_data": false}],
            "interfaces": [{"name": "eth0", "mac": "52:54:00:00:00:01", "state": "up", "ip": "10.0.2.15",
                            "netmask": "255.255.255.0", "is_pxe": true, "driver": "virtio_net"}]}"#;
        let inventory = inventory::from_json(saved.as_bytes()).unwrap();
        let expected = "\
System      QEMU Standard PC, serial S?1
Firmware    UEFI, Secure Boot off
Processors  Example CPU, 2 threads in 1 sockets
Memory      2 GiB

DISK  SIZE    MODEL  SERIAL  BUS  ON IT
sda   10 GiB  DISK   -       ata  gpt, 1 partitions; ext4; mounted on /
sdb   1 GiB   -      -       -    empty

INTERFACE  MAC                STATE  SPEED  ADDRESS                  DRIVER
eth0       52:54:00:00:00:01  up     -      10.0.2.15/255.255.255.0  virtio_net  boots
";
        assert_eq!(table(&inventory, true), expected);
    }
}
