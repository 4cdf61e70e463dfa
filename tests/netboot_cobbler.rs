//! `netboot` of the real program against a real cobblerd 3.3, with the files that it writes for pxelinux and GRUB.
//!
//! The objects in Cobbler are made and read by Python's own XML-RPC, which shares no code with the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use support::cobblerd::Cobblerd;

const MACS: [&str; 2] = ["52:54:00:77:00:01", "52:54:00:77:00:02"];

/// Makes two systems.
const MAKE: &str = r#"
boot = arguments[0]
make("distro", name="bootstrap", kernel=boot + "/vmlinuz", initrd=boot + "/initrd.img", breed="generic", os_version="",
     arch="x86_64", kernel_options="boot=live")
make("profile", name="bootstrap", distro="bootstrap")
for number in "1", "2":
    make("system", name="node-" + number, profile="bootstrap", netboot_enabled=True,
         modify_interface={"macaddress-eth0": "52:54:00:77:00:0" + number})
"#;

/// Whether network boot of both systems is enabled.
const ASK: &str = r#"
print(*[cobbler.get_system("node-" + number)["netboot_enabled"] for number in "12"])
"#;

/// A running cobblerd with two systems.
struct Site(Cobblerd);

impl Site {
    fn start() -> Self {
        let cobblerd = Cobblerd::start();
        let boot = cobblerd.scratch.path("boot");
        fs::create_dir(&boot).unwrap();
        for file in ["vmlinuz", "initrd.img"] {
            fs::write(boot.join(file), file).unwrap();
        }
        cobblerd.python(MAKE, &[boot.to_str().unwrap()]);
        Self(cobblerd)
    }

    /// Runs `bedplate netboot`, as talkative as it is for developers; returns its exit code and the error.
    fn netboot(&self, state: &str, password: &str, further: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bedplate"))
            .args(["--debug", "netboot", state, "--cobbler-url", &self.0.url(), "--cobbler-user", "cobbler"])
            .args(["--cobbler-password-file", password])
            .args(further)
            .env_remove("RUST_LOG")
            .env("no_proxy", "*")
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        // cobblerd's own tokens are base64 of 25 bytes.
        assert!(!said.contains("hunter2"), "{said}");
        let is_token = |word: &str| word.len() == 36 && word.ends_with("==");
        assert!(!said.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c)).any(is_token), "{said}");
        let mut errors = said.lines().filter(|line| !line.starts_with("bedplate: what to do: "));
        let last = errors.next_back().unwrap_or_default().replace(&self.0.url(), "URL");
        (output.status.code().unwrap(), last)
    }

    fn pxelinux(&self, node: usize) -> String {
        let name = format!("pxelinux.cfg/01-{}", MACS[node - 1].replace(':', "-"));
        self.0.tftp(&name).unwrap()
    }

    fn grub(&self, node: usize) -> String {
        self.0.tftp(&format!("grub/system/{}", MACS[node - 1])).unwrap()
    }

    /// What both loaders make of both nodes: whether they start from their disks.
    #[track_caller]
    fn assert_starts_from_disk(&self, expected: [bool; 2]) {
        let word = |is_local: bool| if is_local { "False" } else { "True" };
        assert_eq!(self.0.python(ASK, &[]), format!("{} {}", word(expected[0]), word(expected[1])));
        for (node, is_local) in [1, 2].into_iter().zip(expected) {
            let (pxelinux, grub) = (self.pxelinux(node), self.grub(node));
            assert_eq!(pxelinux.contains("localboot -1"), is_local, "node {node}: {pxelinux}");
            assert_eq!(pxelinux.contains("/images/bootstrap/vmlinuz"), !is_local, "node {node}: {pxelinux}");
            // The menu entry stays; what is taken without a choice counts.
            assert_eq!(grub.contains("set default='local'"), is_local, "node {node}: {grub}");
            assert_eq!(grub.contains(&format!("set default='node-{node}'")), !is_local, "node {node}: {grub}");
        }
    }
}

const DONE: i32 = 0;
const MASTER: i32 = 16;

#[test]
fn needs_root_cobblerd_writes_the_files_of_the_node_and_of_no_other() {
    let cobblerd = Site::start();
    let password = cobblerd.0.password();
    cobblerd.assert_starts_from_disk([false, false]);
    assert_eq!(cobblerd.netboot("off", &password, &["--netboot-system", "node-1"]).0, DONE);
    cobblerd.assert_starts_from_disk([true, false]);
    // Twice is as good as once.
    assert_eq!(cobblerd.netboot("off", &password, &["--netboot-system", "node-1"]).0, DONE);
    cobblerd.assert_starts_from_disk([true, false]);
    assert_eq!(cobblerd.netboot("off", &password, &["--netboot-mac", MACS[1], "--cobbler-sync", "false"]).0, DONE);
    cobblerd.assert_starts_from_disk([true, true]);
    assert_eq!(cobblerd.netboot("on", &password, &["--netboot-mac", &MACS[0].to_ascii_uppercase()]).0, DONE);
    cobblerd.assert_starts_from_disk([false, true]);
    assert_eq!(cobblerd.netboot("on", &password, &["--netboot-system", "node-2", "--cobbler-sync", "false"]).0, DONE);
    cobblerd.assert_starts_from_disk([false, false]);
}

#[test]
fn needs_root_what_cobblerd_refuses_is_told_and_changes_nothing() {
    let mut cobblerd = Site::start();
    let (password, wrong) = (cobblerd.0.password(), cobblerd.0.scratch.path("wrong"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&wrong).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    file.write_all(b"hunter2").unwrap();
    let wrong = wrong.to_str().unwrap();
    let failed = |words: &str| (MASTER, format!("bedplate: switching network boot off: {words}"));
    assert_eq!(
        cobblerd.netboot("off", wrong, &["--netboot-system", "node-1"]),
        failed("logging in to Cobbler at URL as \"cobbler\": fault 1: login failed (cobbler)")
    );
    assert_eq!(
        cobblerd.netboot("off", &password, &["--netboot-system", "node-9"]),
        failed("asking Cobbler at URL for system \"node-9\": fault 1: internal error, unknown system name node-9")
    );
    assert_eq!(
        cobblerd.netboot("off", &password, &["--netboot-mac", "52:54:00:77:00:09"]),
        failed(
            "looking for the system in Cobbler at URL: expected one with the MAC address 52:54:00:77:00:09, found none"
        )
    );
    cobblerd.assert_starts_from_disk([false, false]);
    cobblerd.0.stop();
    let (code, words) = cobblerd.netboot("off", &password, &["--netboot-system", "node-1", "--netboot-timeout", "1"]);
    assert_eq!(code, MASTER);
    assert!(
        words.starts_with("bedplate: switching network boot off: 3 attempts: calling login of Cobbler: "),
        "{words}"
    );
    assert!(words.ends_with("Connection refused (os error 111)"), "{words}");
}

#[test]
fn needs_root_a_cobblerd_that_comes_back_within_the_attempts_is_served() {
    let mut cobblerd = Site::start();
    let password = cobblerd.0.password();
    cobblerd.0.stop();
    cobblerd.0.restart();
    // It needs some seconds to start; the attempts are ten seconds apart.
    assert_eq!(cobblerd.netboot("off", &password, &["--netboot-system", "node-1"]).0, DONE);
    cobblerd.assert_starts_from_disk([true, false]);
}
