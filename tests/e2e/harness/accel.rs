//! How a machine is run: with KVM where it works, else by translation (TCG). Found by trying.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::artefacts::Bootstrap;
use super::http::{Reply, Server};
use super::process::Daemon;

/// A machine that works gets there in one to two seconds.
const TRIAL: Duration = Duration::from_secs(20);

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// QEMU's arguments for it.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
        }
    }
}

/// The accelerator of this host, tried once. `BEDPLATE_E2E_ACCEL` (`kvm` or `tcg`) decides without a trial.
pub fn of_this_host(bootstrap: &Bootstrap) -> Accelerator {
    static FOUND: OnceLock<Accelerator> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let found = match std::env::var("BEDPLATE_E2E_ACCEL").as_deref() {
            Ok("kvm") => Accelerator::Kvm,
            Ok("tcg") => Accelerator::Tcg,
            Ok(other) => panic!("BEDPLATE_E2E_ACCEL is {other:?}, expected kvm or tcg"),
            Err(_) if boots_a_kernel(bootstrap) => Accelerator::Kvm,
            Err(_) => Accelerator::Tcg,
        };
        println!("machines run with {found:?}");
        found
    })
}

/// Whether a machine under KVM fetches a kernel by iPXE and runs it until it misses its root file system.
///
/// The device node says nothing: it may be there without hardware behind it, and nested hosts exist where a machine can
/// be created, firmware crawls, and QEMU aborts on a register that the kernel refuses.
fn boots_a_kernel(bootstrap: &Bootstrap) -> bool {
    if !std::path::Path::new("/dev/kvm").exists() {
        return false;
    }
    let folder = std::env::temp_dir().join(format!("bedplate-kvm-trial-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written to");
    let (serial, server) = (folder.join("serial.log"), Server::start());
    let url = server.url();
    server.folder("/bootstrap/", bootstrap.folder());
    let script = format!("#!ipxe\nkernel {url}/bootstrap/vmlinuz console=ttyS0 panic=-1\nboot\n");
    server.route("/boot.ipxe", move |_| Reply::text(script.clone()));
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(Accelerator::Kvm.arguments());
    qemu.args([
        "-machine",
        "pc,graphics=off",
        "-m",
        "512",
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-boot",
        "n",
    ]);
    qemu.args(["-netdev", &format!("user,id=n0,bootfile={url}/boot.ipxe"), "-device", "virtio-net-pci,netdev=n0"]);
    qemu.arg("-serial").arg(format!("file:{}", serial.display()));
    let mut daemon = Daemon::start("KVM trial", &qemu, &folder.join("qemu.log"), false);
    let began = std::time::Instant::now();
    let mut code = None;
    while code.is_none() && began.elapsed() < TRIAL {
        code = daemon.ended();
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(daemon);
    let said = std::fs::read(&serial).unwrap_or_default();
    let works = code == Some(0) && String::from_utf8_lossy(&said).contains("Unable to mount root fs");
    std::fs::remove_dir_all(&folder).expect("the trial's folder is ours");
    works
}
