//! What is asked of an installed system from outside, by ssh: is it what the request wanted?

use serde_json::Value;

use super::document::{ROOT_MIB, SWAP_MIB};
use super::ssh::Ssh;

/// Waits for cloud-init's end and checks everything that a request of one disk with LVM promises.
///
/// `ssh` logs in as the account of the request, with its key.
#[track_caller]
pub fn check(ssh: &Ssh, hostname: &str) {
    first_boot_is_done(ssh);
    assert_eq!(ssh.ask("hostname -f"), hostname, "host name with its domain");
    assert_eq!(ssh.ask("sudo -n id -u"), "0", "the account's right to become root");
    runs_from_its_disk(ssh);
    volumes_have_their_sizes(ssh);
    mounts_are_those_of_fstab(ssh);
    config_drive_is_there(ssh);
}

#[track_caller]
fn first_boot_is_done(ssh: &Ssh) {
    let waited = ssh.run("cloud-init status --wait --long", 120);
    assert!(waited.stdout.contains("status: done"), "cloud-init status: {}", waited.words());
    let result: Value = json(&ssh.ask("cat /run/cloud-init/result.json"));
    assert_eq!(result["v1"]["errors"], Value::Array(Vec::new()), "errors of cloud-init: {result}");
    let source = result["v1"]["datasource"].as_str().unwrap_or_default();
    assert!(source.contains("NoCloud"), "cloud-init was configured by {source:?}, not by the config drive");
}

#[track_caller]
fn runs_from_its_disk(ssh: &Ssh) {
    let line = ssh.ask("cat /proc/cmdline");
    assert!(!line.contains("boot=bedplate"), "the bootstrap runs, not the installed system: {line}");
    assert!(line.contains("root="), "no root file system on the kernel line: {line}");
    assert_eq!(ssh.ask("findmnt -n -o SOURCE /"), "/dev/mapper/os-root", "source of the root file system");
}

#[track_caller]
fn volumes_have_their_sizes(ssh: &Ssh) {
    let report = json(&ssh.ask("sudo -n lvs --units b --nosuffix --reportformat json -o vg_name,lv_name,lv_size"));
    let volumes = report["report"][0]["lv"].as_array().cloned().unwrap_or_default();
    let mut seen: Vec<(String, u64)> = volumes
        .iter()
        .map(|volume| {
            let name = format!("{}/{}", text(&volume["vg_name"]), text(&volume["lv_name"]));
            (name, text(&volume["lv_size"]).parse().unwrap_or_default())
        })
        .collect();
    seen.sort();
    let wanted = [("os/root".to_owned(), ROOT_MIB << 20), ("os/swap".to_owned(), SWAP_MIB << 20)];
    assert_eq!(seen, wanted, "logical volumes and their bytes");
    // The file system fills its volume: what a resize leaves over is below a block group of 128 MiB.
    let size: u64 = ssh
        .ask("sudo -n dumpe2fs -h /dev/mapper/os-root 2>/dev/null | sed -n 's/^Block count: *//p'")
        .parse()
        .unwrap_or(0);
    assert_eq!(size * 4096, ROOT_MIB << 20, "bytes of the root file system");
}

/// Every line of fstab names a UUID, and what the kernel mounted there is the file system with this UUID.
#[track_caller]
fn mounts_are_those_of_fstab(ssh: &Ssh) {
    let table = ssh.ask("cat /etc/fstab");
    let mut seen = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [source, mount, kind, ..] = fields[..] else { panic!("a line of fstab has too few fields: {line}") };
        let uuid = source.strip_prefix("UUID=").unwrap_or_else(|| panic!("fstab does not name a UUID: {line}"));
        let device = ssh.ask(&format!("sudo -n blkid -c /dev/null -U {uuid}"));
        let device = ssh.ask(&format!("readlink -f {device}"));
        let used = if kind == "swap" {
            ssh.ask("sed -n '2s/ .*//p' /proc/swaps")
        } else {
            ssh.ask(&format!("readlink -f $(findmnt -n -o SOURCE --mountpoint {mount})"))
        };
        let used = ssh.ask(&format!("readlink -f {used}"));
        assert_eq!(used, device, "what the kernel uses at {mount} and what fstab names");
        seen.push(if kind == "swap" { "swap".to_owned() } else { mount.to_owned() });
    }
    seen.sort();
    assert_eq!(seen, ["/", "/boot", "swap"], "mount points of fstab:\n{table}");
}

#[track_caller]
fn config_drive_is_there(ssh: &Ssh) {
    let device = ssh.ask("sudo -n blkid -c /dev/null -L cidata || sudo -n blkid -c /dev/null -L CIDATA");
    let facts = json(&ssh.ask(&format!("lsblk -J -b -o NAME,TYPE,SIZE,FSTYPE {device}")));
    let facts = &facts["blockdevices"][0];
    assert_eq!(facts["type"], "part", "the config drive {device} is a partition: {facts}");
    assert_eq!(facts["fstype"], "vfat", "file system of the config drive: {facts}");
    assert_eq!(facts["size"], 20 << 20, "bytes of the config drive: {facts}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("expected JSON, found {text:?}: {error}"))
}
