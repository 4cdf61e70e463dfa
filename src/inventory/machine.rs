//! Firmware, system, processors and memory.

use std::collections::BTreeSet;

use super::tree::{TABLE_LIMIT, Tree};
use super::{Cpu, Firmware, FirmwareMode, Memory, System};
use crate::units::Bytes;

/// UEFI 2.10, section 3.3: `SecureBoot` in the global variable namespace.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// How the firmware started this system.
pub(super) fn firmware(tree: &Tree) -> Firmware {
    if tree.exists("/sys/firmware/efi") {
        // efivarfs puts four bytes of attributes in front of the value.
        let secure_boot = tree.bytes(SECURE_BOOT, 64).and_then(|variable| variable.get(4).map(|&value| value == 1));
        return Firmware { mode: FirmwareMode::Uefi, secure_boot };
    }
    if tree.exists("/sys/firmware") {
        return Firmware { mode: FirmwareMode::Bios, secure_boot: None };
    }
    tree.warn("/sys/firmware", "there is none: BIOS and UEFI cannot be told apart");
    Firmware::default()
}

/// What the machine says of itself.
pub(super) fn system(tree: &Tree) -> System {
    if !tree.exists("/sys/class/dmi/id") {
        tree.warn("/sys/class/dmi/id", "the kernel found no SMBIOS tables");
    }
    let dmi = |name: &str| {
        tree.attribute(&format!("/sys/class/dmi/id/{name}"))
            .filter(|value| !value.eq_ignore_ascii_case("not specified"))
    };
    System {
        manufacturer: dmi("sys_vendor"),
        product: dmi("product_name"),
        // Nailgun's `version` is the chassis' (reference of the discovery payload), not the product's.
        version: dmi("chassis_version"),
        family: dmi("product_family"),
        serial: dmi("product_serial"),
        uuid: dmi("product_uuid"),
        hostname: tree
            .attribute("/proc/sys/kernel/hostname")
            .or_else(|| tree.attribute("/etc/hostname"))
            .filter(|name| name != "(none)"),
        os: tree.text("/etc/os-release", 64 << 10).and_then(|text| os_id(&text)),
    }
}

/// `ID` of os-release(5), lower case.
fn os_id(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("ID="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_ascii_lowercase())
}

/// Processors.
pub(super) fn cpu(tree: &Tree) -> Cpu {
    let Some(text) = tree.text("/proc/cpuinfo", TABLE_LIMIT) else {
        tree.warn("/proc/cpuinfo", "it could not be read: processors are unknown");
        return Cpu::default();
    };
    let mut cpu = parse_cpuinfo(&text);
    // The current clock moves by itself; the highest does not.
    if let Some(khz) = tree.number::<u32>("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq") {
        cpu.mhz = Some(khz / 1000);
    }
    cpu
}

fn parse_cpuinfo(text: &str) -> Cpu {
    let mut cpu = Cpu::default();
    let mut packages = BTreeSet::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "processor" => cpu.threads += 1,
            "physical id" => {
                packages.insert(value);
            }
            "model name" if cpu.model.is_none() => {
                cpu.model =
                    Some(value.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|name| !name.is_empty());
            }
            "cpu MHz" if cpu.mhz.is_none() => cpu.mhz = value.split('.').next().and_then(|whole| whole.parse().ok()),
            "flags" if cpu.flags.is_empty() => cpu.flags = value.split_whitespace().map(str::to_owned).collect(),
            _ => {}
        }
    }
    // A kernel that tells no packages (a guest without topology) runs on one.
    cpu.sockets = u32::try_from(packages.len()).unwrap_or(u32::MAX).max(u32::from(cpu.threads > 0));
    cpu
}

/// Memory.
pub(super) fn memory(tree: &Tree) -> Memory {
    let total = tree.text("/proc/meminfo", 64 << 10).as_deref().and_then(mem_total);
    if total.is_none() {
        tree.warn("/proc/meminfo", "it holds no MemTotal: the size of the memory is unknown");
    }
    Memory { total: total.unwrap_or_default() }
}

fn mem_total(text: &str) -> Option<Bytes> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024).map(Bytes::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_packages_told_apart() {
        let text = "processor\t: 0\nmodel name\t: Example  CPU @ 2GHz\ncpu MHz\t\t: 2596.120\nphysical id\t: 0\nflags\t\t: fpu vme\n\n\
                    processor\t: 1\nmodel name\t: Example  CPU @ 2GHz\ncpu MHz\t\t: 1200.000\nphysical id\t: 1\nflags\t\t: fpu\n";
        let expected = Cpu {
            model: Some("Example CPU @ 2GHz".to_owned()),
            sockets: 2,
            threads: 2,
            mhz: Some(2596),
            flags: vec!["fpu".to_owned(), "vme".to_owned()],
        };
        assert_eq!(parse_cpuinfo(text), expected);
        assert_eq!(parse_cpuinfo("processor : 0\n").sockets, 1);
        assert_eq!(parse_cpuinfo("garbage"), Cpu::default());
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       2031616 kB\n"), Some(Bytes::new(2_080_374_784)));
        assert_eq!(mem_total("MemTotal: 99999999999999999999 kB"), None);
        assert_eq!(mem_total(""), None);
    }

    #[test]
    fn os_is_told_without_quotes_in_lower_case() {
        assert_eq!(os_id("NAME=x\nID=\"Debian\"\n").as_deref(), Some("debian"));
        assert_eq!(os_id("VERSION_ID=1\n"), None);
    }
}
