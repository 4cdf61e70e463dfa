//! Boot scripts.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::bootstraps::{FIRST, SECOND, archive, root_of};
use crate::support::{Master, OTHER};

const MAC: &str = "52:54:00:00:00:01";

#[test]
fn first_script_asks_again_with_the_machines_identities() {
    let master = Master::start();
    let answer = master.call("GET", "/boot.ipxe", None, b"");
    let url = master.url();
    let expected = format!(
        "#!ipxe\nchain --replace {url}/boot.ipxe?mac=${{netX/mac}}&uuid=${{uuid}}&serial=${{serial:uristring}} || exit\n"
    );
    assert_eq!((answer.status, answer.text()), (200, expected));
    assert!(answer.header("date").is_some(), "the agent sets its clock by it");
}

#[test]
fn unknown_machine_gets_the_bootstrap_once_and_then_its_own_disk() {
    let master = Master::configured("kernel_args = \"console=ttyS0,115200\"\n");
    let (script, token) = master.boot_from(OTHER, MAC);
    let (url, token) = (master.url(), token.unwrap());
    let kernel = format!(
        "kernel {url}/bootstrap/vmlinuz initrd=initrd.img boot=bedplate bedplate.master={url} bedplate.token={token} \
         BOOTIF=01-52-54-00-00-00-01 console=ttyS0,115200 || goto failed\n"
    );
    assert!(script.starts_with("#!ipxe\n") && script.contains(&kernel), "{script}");
    assert!(script.contains(&format!("initrd --name initrd.img {url}/bootstrap/initrd.img ")), "{script}");
    assert_eq!(master.boot_from(OTHER, MAC).0, "#!ipxe\necho bedplate: own disk\nexit\n");
    let master = master.kill_and_restart();
    assert_eq!(master.boot(MAC), None, "once, also over a restart");
}

#[test]
fn live_bootstrap_is_served_with_the_digest_of_its_metadata() {
    let master = Master::configured("bootstrap = \"live\"\n");
    let refused = master.call("GET", &format!("/boot.ipxe?mac={MAC}"), None, b"");
    assert_eq!(refused.status, 500, "without an image");
    master
        .log_with("starting the live bootstrap: no bootstrap image is active, and there is no bootstrap/metadata.yaml");
    let hex = "ab".repeat(32);
    master.folder.write("bootstrap/root.squashfs", b"hsqs");
    let metadata =
        format!("extend_kopts: ''\nmodules:\n  rootfs:\n    raw_sha256: '{hex}'\n    raw_size: 4\nuuid: 'x'\n");
    master.folder.write("bootstrap/metadata.yaml", metadata);
    let (script, token) = master.boot_from(OTHER, MAC);
    let (url, token) = (master.url(), token.expect("the refused boot did not count"));
    let kernel = format!(
        "kernel {url}/bootstrap/vmlinuz initrd=initrd.img boot=live fetch={url}/bootstrap/root.squashfs \
         bedplate.squashfs=sha256:{hex} bedplate.master={url} bedplate.token={token} BOOTIF=01-52-54-00-00-00-01 || goto failed\n"
    );
    assert!(script.contains(&kernel), "{script}");
    assert_eq!(master.call("GET", "/bootstrap/root.squashfs", None, b"").body, b"hsqs");
    assert_eq!(master.call("GET", "/bootstrap/metadata.yaml", None, b"").status, 404);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a script by which kernel and initrd are fetched, without what differs from boot to boot.
fn fetched(script: &str) -> Vec<String> {
    let lines = script.lines().filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "));
    lines.map(|line| line.split(" bedplate.master=").next().unwrap().to_owned()).collect()
}

#[test]
fn active_image_is_served_from_its_own_folder_from_the_moment_of_its_activation() {
    let master = Master::configured("bootstrap = \"live\"\n");
    let bootstrap = |arguments: &[&str]| {
        let output = master.bootstrap(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (uuid, options) in [(FIRST, "net.ifnames=1"), (SECOND, "")] {
        let archive = archive(master.folder.path(), uuid, options);
        let said = bootstrap(&["import", archive.to_str().unwrap()]);
        assert!(said.ends_with(&format!("Bootstrap image {uuid} has been imported\n")), "{said}");
    }
    let url = master.url();
    let lines = |uuid: &str, options: &str| {
        let folder = format!("{url}/bootstraps/{uuid}");
        let digest = hex(&Sha256::digest(root_of(uuid)));
        [
            format!(
                "kernel {folder}/vmlinuz initrd=initrd.img boot=live fetch={folder}/root.squashfs bedplate.squashfs=sha256:{digest}{options}"
            ),
            format!("initrd --name initrd.img {folder}/initrd.img || goto failed"),
        ]
    };
    assert_eq!(bootstrap(&["activate", FIRST]), format!("Bootstrap image {FIRST} has been activated\n"));
    assert_eq!(fetched(&master.boot_from(OTHER, "52:54:00:00:00:01").0), lines(FIRST, " net.ifnames=1"));
    bootstrap(&["activate", SECOND]);
    assert_eq!(fetched(&master.boot_from(OTHER, "52:54:00:00:00:02").0), lines(SECOND, ""));
    // The first machine is in the middle of its boot.
    let get = |uuid: &str, name: &str| master.call("GET", &format!("/bootstraps/{uuid}/{name}"), None, b"");
    assert_eq!(get(FIRST, "root.squashfs").text(), root_of(FIRST));
    assert_eq!(get(FIRST, "initrd.img").text(), format!("initrd of {FIRST}"));
    for (uuid, name) in
        [(FIRST, "metadata.yaml"), ("active_bootstrap", "vmlinuz"), ("..", "operator.token"), (".lock", "vmlinuz")]
    {
        assert_eq!(get(uuid, name).status, 404, "{uuid}/{name}");
    }
    assert_eq!(bootstrap(&["rollback"]), format!("Bootstrap image {FIRST} has been activated\n"));
    assert_eq!(fetched(&master.boot_from(OTHER, "52:54:00:00:00:03").0), lines(FIRST, " net.ifnames=1"));
    bootstrap(&["activate", "--previous"]);
    let list: Value = serde_json::from_str(&bootstrap(&["list", "--json"])).unwrap();
    let status = |at: usize| list["images"][at]["status"].as_str().unwrap().to_owned();
    assert_eq!((status(0), status(1)), ("previous".into(), "active".into()));
    let refused = master.bootstrap(&["delete", SECOND]);
    assert_eq!(refused.status.code(), Some(12));
    let expected = format!("bedplate-master: deleting the bootstrap image {SECOND}: it is the active one\n");
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with(&expected), "{refused:?}");
    assert_eq!(bootstrap(&["delete", FIRST, "--force"]), format!("Bootstrap image {FIRST} has been deleted\n"));
    // A broken one is not served; nodes without a bootstrap are as before.
    std::fs::write(master.folder.path().join("bootstraps").join(SECOND).join("vmlinuz"), "x").unwrap();
    assert_eq!(master.call("GET", "/boot.ipxe?mac=52:54:00:00:00:04", None, b"").status, 500);
    master.log_with(&format!(
        "starting the live bootstrap: checking the bootstrap image {SECOND}: vmlinuz has 1 bytes, expected 46"
    ));
    assert_eq!(master.boot_from(OTHER, "52:54:00:00:00:03").0, "#!ipxe\necho bedplate: own disk\nexit\n");
}

#[test]
fn discovered_machine_boots_its_own_disk_until_a_person_asks() {
    let master = Master::configured("local_boot = \"sanboot\"\n");
    let (id, _) = master.discover(MAC);
    let local = "#!ipxe\necho bedplate: own disk\nsanboot --no-describe --drive 0x80 || exit\n";
    assert_eq!(master.boot_from(OTHER, MAC).0, local);
    assert!(master.nodes(&["discover", "5254.0000.0001"]).status.success());
    assert!(master.boot(MAC).is_some());
    assert_eq!(master.boot(MAC), None);
    assert!(master.nodes(&["discover", &id.to_string()]).status.success());
    assert!(master.nodes(&["local-boot", MAC]).status.success());
    assert_eq!(master.boot(MAC), None);
}

#[test]
fn nothing_that_a_machine_says_reaches_the_script() {
    let master = Master::start();
    for mac in ["52:54:00:00:00:01%0Aboot", "x", "", "52:54:00:00:00:01%20init=/bin/sh", "${net0/ip}"] {
        let answer = master.call("GET", &format!("/boot.ipxe?mac={mac}"), None, b"");
        assert_eq!(answer.status, 400, "{mac}");
    }
    let path = format!("/boot.ipxe?mac={MAC}&uuid=x%0Akernel%20evil&serial=y%0Aevil%20init=/bin/sh");
    let answer = master.call("GET", &path, None, b"");
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("evil"), "{}", answer.text());
}

#[test]
fn grub_finds_its_configuration_and_the_nodes_script() {
    let master = Master::configured("kernel_args = \"console=ttyS0,115200\"\n");
    let (url, host) = (master.url(), master.address);
    let first = master.call("GET", "/grub/grub.cfg", None, b"").text();
    assert!(first.contains(&format!("\nsource (http,{host})/boot.grub/$net_default_mac/$uuid\n")), "{first}");
    let written = master.folder.path().join("loaders/grub/grub.cfg");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), first, "what TFTP serves");
    let mode = std::fs::metadata(&written).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "a TFTP server is another user");

    let path = format!("/boot.grub/{MAC}/4c4c4544-0000-1000-8000-000000000001");
    let answer = master.call_from(OTHER, "GET", &path, None, b"");
    let script = answer.text();
    let token = script.split_once("'bedplate.token=").unwrap().1.split('\'').next().unwrap();
    let expected = format!(
        "echo \"bedplate: {MAC} starts the bootstrap\"\n\
         linux (http,{host})/bootstrap/vmlinuz 'boot=bedplate' 'bedplate.master={url}' 'bedplate.token={token}' \
         'BOOTIF=01-52-54-00-00-00-01' 'console=ttyS0,115200'\n\
         initrd (http,{host})/bootstrap/initrd.img\n\
         boot\n"
    );
    assert!(script.starts_with(&expected), "{script}");
    let known = master.call("GET", &format!("/boot.grub/{MAC}/"), None, b"").text();
    assert_eq!(known.trim_end(), "echo \"bedplate: own disk\"", "the bootstrap comes once");
    master.log_with(&format!("boot.grub: {MAC} at 127.0.0.2: bootstrap, unknown machine, discovery only"));
}

#[test]
fn lengths_are_told_in_the_one_spelling_that_grub_knows() {
    let master = Master::start();
    let answer = master.plain(&format!("GET /boot.grub/{MAC}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    assert!(answer.contains("\r\nContent-Length: 4096\r\n"), "{answer}");
}

#[test]
fn asking_how_long_a_script_of_grub_is_takes_nothing_away() {
    let master = Master::start();
    let path = format!("/boot.grub/{MAC}/");
    let head = master.call("HEAD", &path, None, b"");
    let script = master.call("GET", &path, None, b"");
    assert_eq!((head.header("content-length"), head.body.len()), (Some("4096"), 0));
    assert_eq!((script.header("content-length"), script.body.len()), (Some("4096"), 4096));
    assert!(script.text().contains("bedplate.token="), "{}", script.text());
}

#[test]
fn nothing_that_a_machine_says_reaches_a_script_of_grub() {
    let master = Master::start();
    for mac in ["52:54:00:00:00:01%0Aboot", "x", "$(reboot)", "52:54:00:00:00:01'%20reboot"] {
        assert_eq!(master.call("GET", &format!("/boot.grub/{mac}/"), None, b"").status, 400, "{mac}");
    }
    let answer = master.call("GET", &format!("/boot.grub/{MAC}/x%0Aevil"), None, b"");
    assert!(answer.status == 200 && !answer.text().contains("evil"), "{}", answer.text());
}

#[test]
fn argument_that_grub_would_change_is_refused_before_the_boot_counts() {
    let master = Master::configured("kernel_args = 'dyndbg=\"file x +p\"'\n");
    assert_eq!(master.call("GET", &format!("/boot.grub/{MAC}/"), None, b"").status, 500);
    master.log_with("the kernel argument dyndbg=\"file cannot go through GRUB");
    assert!(master.boot(MAC).is_some(), "iPXE passes it on as it is");
}

#[test]
fn boot_loaders_are_served_as_shim_asks_for_them() {
    let master = Master::start();
    master.folder.write("loaders/grubx64.efi", b"MZ");
    for path in ["/loaders/grubx64.efi", "/loaders//grubx64.efi"] {
        assert_eq!(master.call("GET", path, None, b"").body, b"MZ", "{path}");
    }
    for path in ["/loaders/revocations_sbat.efi", "/loaders/..%2foperator.token", "/loaders/", "/loaders/a/b"] {
        assert_eq!(master.call("GET", path, None, b"").status, 404, "{path}");
    }
}

#[test]
fn strangers_are_bounded() {
    let master = Master::configured("max_strangers = 2\n");
    let tokens: Vec<_> = (1..=4).map(|n| master.boot(&format!("52:54:00:00:00:0{n}")).is_some()).collect();
    assert_eq!(tokens, [true, true, false, false]);
}

#[test]
fn log_names_who_was_served_what_and_holds_no_token() {
    let master = Master::start();
    let token = master.boot_from(OTHER, MAC).1.unwrap();
    master.boot_from(OTHER, MAC);
    master.log_with(&format!("boot.ipxe: {MAC} at 127.0.0.2: bootstrap, unknown machine, discovery only"));
    let log = master.log_with(&format!("boot.ipxe: {MAC} at 127.0.0.2: own disk"));
    assert!(!log.contains(&token));
}
