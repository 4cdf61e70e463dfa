//! Config drives are read by the real cloud-init: found by their labels, taken apart, judged by its own schema, and the network
//! rendered. It runs in a root directory that `packaging/cloud-init/build.sh` makes and caches, in namespaces of its own.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "support/loop_device.rs"]
mod loop_device;
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
#[path = "support/scratch.rs"]
mod scratch;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bedplate::configdrive::{self, ConfigDrive, Medium};
use bedplate::request::{self, ConfigDriveSpec, DriveFileSystem, DriveForm, Request};
use bedplate::units::{Bytes, SectorSize};
use loop_device::LoopDevice;
use scratch::Scratch;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// What a careless quoting would let loose, on one line.
const HOSTILE: &str = "a'b\"c$(touch /x)`touch /x`\\ # {{ x }}: %s \u{e4}";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The one that all runs share, and none writes to.
fn root_directory() -> PathBuf {
    let script = repository().join("packaging/cloud-init/build.sh");
    let built = Command::new(script).stderr(Stdio::inherit()).output().expect("build.sh starts");
    assert!(built.status.success(), "building the root directory: {}", built.status);
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

/// A request with hostile values and a network of every sort, to be told in this way.
fn request(config_drive: &Value, network: Option<Value>) -> Request {
    let mut document: Value = serde_json::from_str(include_str!("fixtures/provision/01-single-disk-lvm.json")).unwrap();
    document["bedplate"] = json!({"config_drive": config_drive, "repositories": true});
    if let Some(network) = network {
        document["bedplate"]["network"] = network;
    }
    let meta = &mut document["ks_meta"];
    meta["authorized_keys"] = json!([format!("ssh-ed25519 AAAA {HOSTILE}")]);
    meta["mco_password"] = HOSTILE.into();
    meta["user_accounts"] = json!([
        {"name": "op", "password": HOSTILE, "homedir": "/home/op", "sudo": ["ALL=(ALL) NOPASSWD: ALL"], "ssh_keys": ["ssh-ed25519 B"]},
        {"name": "root", "password": "", "homedir": "/root", "sudo": [], "ssh_keys": []},
    ]);
    request::parse(document.to_string().as_bytes()).unwrap().request
}

/// A bond of two interfaces with a VLAN on it, in both families.
fn network() -> Value {
    json!({
        "version": 2,
        "ethernets": {
            "ens1": {"match": {"macaddress": "52:54:00:00:00:0A"}, "set-name": "ens1", "mtu": 9000},
            "ens2": {"match": {"macaddress": "52:54:00:00:00:0b"}, "set-name": "ens2", "mtu": 9000},
        },
        "bonds": {"bond0": {
            "interfaces": ["ens1", "ens2"], "macaddress": "52:54:00:00:00:0a", "mtu": 9000,
            "parameters": {"mode": "802.3ad", "mii-monitor-interval": "100"},
            "addresses": ["10.20.0.5/24", "fd00::5/64"], "gateway4": "10.20.0.1",
            "nameservers": {"addresses": ["10.20.0.2"], "search": ["example.test"]},
        }},
        "vlans": {"bond0.7": {
            "id": 7, "link": "bond0", "addresses": ["10.0.7.5/24"],
            "routes": [{"to": "10.9.0.0/16", "via": "10.0.7.1"}],
        }},
    })
}

/// One file of an image, read by a tool that did not make it.
fn extract(image: &Path, file_system: DriveFileSystem, name: &str) -> Vec<u8> {
    let image = image.to_str().unwrap();
    let output = match file_system {
        DriveFileSystem::Vfat => Command::new("mtype").args(["-i", image, &format!("::{name}")]).output(),
        DriveFileSystem::Iso9660 => {
            Command::new("isoinfo").args(["-R", "-i", image, "-x", &format!("/{name}")]).output()
        }
    };
    let output = output.unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    output.stdout
}

/// Lays the drive's files out as the kernel would show them.
fn lay_out(scratch: &Scratch, drive: &ConfigDrive, content: impl Fn(&str) -> Vec<u8>) {
    for name in drive.files.keys() {
        let path = scratch.path("drive").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content(name)).unwrap();
    }
}

/// What cloud-init understood.
fn ask_cloud_init(scratch: &Scratch, device: &str, source: &str) -> Value {
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--uts", "--fork", "--kill-child", "timeout", "--kill-after=5", "300"])
        .arg(repository().join("tests/cloud_init/inside.sh"))
        .args([&root_directory(), scratch.folder()])
        .args([device, source])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source}: {}\n{told}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{source}: {error}\n{told}"))
}

/// Everything but the network, which each form says in its own words.
fn check(found: &Value, drive: &ConfigDrive, request: &Request) {
    assert_eq!(found["instance_id"], "i-1");
    assert_eq!(found["hostname"], json!(request.hostname));
    let parts = found["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| (&part["type"], &part["name"])).collect();
    assert_eq!(
        json!(names),
        json!([["text/cloud-config", "cloud_config.txt"], ["text/x-shellscript", "first_boot.sh"]])
    );
    assert_eq!(found["config"]["ssh_authorized_keys"][0], json!(format!("ssh-ed25519 AAAA {HOSTILE}")));
    assert_eq!(found["config"]["users"][0]["name"], "op");
    let script = parts[1]["text"].as_str().unwrap();
    let quoted = format!("pool.1.password '{}'\n", HOSTILE.replace('\'', "'\\''"));
    assert!(script.contains(&quoted), "{script}");
    let clear =
        drive.files.values().filter(|content| content.windows(HOSTILE.len()).any(|it| it == HOSTILE.as_bytes()));
    assert_eq!(clear.count(), 0, "a password in clear text");
}

fn check_drive(form: DriveForm, file_system: DriveFileSystem, sector_size: SectorSize, source: &str) {
    let scratch = Scratch::new();
    let asked = request(&json!({"form": form, "file_system": file_system}), Some(network()));
    assert_eq!(asked.config_drive, ConfigDriveSpec::Partition { form, file_system });
    let drive = configdrive::render(&asked, "i-1", None).unwrap();
    let medium = Medium { size: Bytes::mib(20), sector_size, file_system, form, volume_id: 0x1234_abcd };
    let image = drive.image(&medium, OffsetDateTime::UNIX_EPOCH).unwrap();
    let file = scratch.path("image");
    let sectors = u32::try_from(sector_size.get()).unwrap();
    let device = LoopDevice::new(&file, Bytes::mib(20).get(), sectors);
    let mut node = std::fs::OpenOptions::new().write(true).open(device.path()).unwrap();
    node.write_all(&image).unwrap();
    node.sync_all().unwrap();
    lay_out(&scratch, &drive, |name| extract(&file, file_system, name));

    let name = device.path().to_str().unwrap();
    let found = ask_cloud_init(&scratch, name, source);
    assert_eq!(found["mounted"], json!([name]), "the device that cloud-init finds by its label");
    check(&found, &drive, &asked);
    let rendered = &found["rendered"];
    let netplan: String = rendered
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("netplan/"))
        .map(|(_, text)| text.as_str().unwrap())
        .collect();
    for word in ["bond0", "10.20.0.5/24", "fd00::5/64", "802.3ad", "10.0.7.5/24", "10.20.0.1", "10.9.0.0/16", "9000"] {
        assert!(netplan.contains(word), "{word} is not in what netplan gets:\n{netplan}\n{}", found["network"]);
    }
}

#[test]
fn needs_root_nocloud_is_read_from_vfat_with_either_sector_size() {
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        check_drive(DriveForm::NoCloud, DriveFileSystem::Vfat, sector_size, "NoCloud");
    }
}

#[test]
fn needs_root_nocloud_is_read_from_iso9660() {
    check_drive(DriveForm::NoCloud, DriveFileSystem::Iso9660, SectorSize::B512, "NoCloud");
}

#[test]
fn needs_root_config_drive_of_openstack_is_read_from_iso9660() {
    check_drive(DriveForm::OpenStack, DriveFileSystem::Iso9660, SectorSize::B512, "ConfigDrive");
}

#[test]
fn needs_root_seed_folder_is_read_with_the_network_of_nailguns_keys_alone() {
    let scratch = Scratch::new();
    let request = request(&json!({"place": "seed"}), None);
    let drive = configdrive::render(&request, "i-1", None).unwrap();
    lay_out(&scratch, &drive, |name| drive.files[name].clone());
    let found = ask_cloud_init(&scratch, "none", "seed");
    assert_eq!(found["mounted"], json!([]));
    check(&found, &drive, &request);
    let interfaces = found["rendered"]["ifupdown/interfaces"].as_str().unwrap();
    let address = format!("address {}/24", request.admin.ip);
    assert!(interfaces.contains(&address), "{address}: {interfaces}");
}
