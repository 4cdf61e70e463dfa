//! provision.json as Nailgun writes it, for a machine with one disk for the system.

use serde_json::{Value, json};

use super::artefacts::OsImage;
use super::disk::Disk;
use super::http::HOST_OF_GUEST;
use super::scenario::Scenario;
use super::vm::{GUEST, NO_TIMER_CHECK};

/// What a document asks for.
#[derive(Debug, Clone)]
pub struct Document {
    /// Host name with its domain.
    pub hostname: String,
    /// MAC address of the PXE interface.
    pub mac: String,
    /// Public key of the accounts.
    pub key: String,
    /// Value of `ks_spaces`.
    pub spaces: Value,
    /// Value of `image_data`.
    pub images: Value,
    /// Where cloud-init reports its end.
    pub phone_home: String,
    /// Clear-text passwords by account.
    pub passwords: [(&'static str, String); 2],
    /// Mcollective's two passwords.
    pub mcollective: [String; 2],
}

/// Host name with its domain of a node that the orchestrator installs.
pub const HOSTNAME: &str = "node-1.example.test";

/// The account that is logged in to.
pub const ACCOUNT: &str = "rackadmin";

/// Size of the root volume in MiB: larger than the image, so that its file system has to grow.
pub const ROOT_MIB: u64 = 2048;

/// Size of the swap volume in MiB.
pub const SWAP_MIB: u64 = 256;

/// Nailgun's layout of one disk: `/boot` on a partition, root and swap in the volume group os.
pub fn single_disk_with_lvm(disk: &Disk) -> Value {
    json!([
        {
            "type": "disk", "name": "vda", "id": "vda", "extra": [disk.by_id()], "size": disk.mib(), "free_space": 0,
            "bootable": true,
            "volumes": [
                {"type": "boot", "size": 300},
                {"type": "partition", "mount": "/boot", "size": 300, "file_system": "ext2", "name": "Boot"},
                {"type": "lvm_meta_pool", "size": 0},
                {"type": "pv", "vg": "os", "size": ROOT_MIB + SWAP_MIB + 64 + 64, "lvm_meta_size": 64}
            ]
        },
        {
            "type": "vg", "id": "os", "label": "Base System", "min_size": ROOT_MIB + SWAP_MIB, "_allocate_size": "min",
            "volumes": [
                {"type": "lv", "name": "root", "mount": "/", "size": ROOT_MIB, "file_system": "ext4"},
                {"type": "lv", "name": "swap", "mount": "swap", "size": SWAP_MIB, "file_system": "swap"}
            ]
        }
    ])
}

/// One partition for everything on a small disk.
pub fn single_partition(name: &str, disk: &Disk, root_mib: u64) -> Value {
    json!([{
        "type": "disk", "name": name, "id": name, "extra": [disk.by_id()], "size": disk.mib(), "free_space": 0,
        "volumes": [
            {"type": "boot", "size": 300},
            {"type": "partition", "mount": "/", "size": root_mib, "file_system": "ext4", "name": "Root"}
        ]
    }])
}

/// The value of `image_data`: this image, which the server has below `/targetimages/`.
pub fn images(server: &str, image: &OsImage) -> Value {
    let image = format!("{server}/targetimages/{}", image.name());
    json!({
        "/": {"uri": format!("{image}.img.gz"), "format": "ext4", "container": "gzip"},
        "/boot": {"uri": format!("{image}-boot.img.gz"), "format": "ext2", "container": "gzip"}
    })
}

impl Document {
    /// A document for the small image, which the server at this address has below `/targetimages/`, with these
    /// `ks_spaces`.
    pub fn for_node(scenario: &Scenario, server: &str, mac: &str, spaces: Value) -> Self {
        Self {
            hostname: HOSTNAME.to_owned(),
            mac: mac.to_owned(),
            key: scenario.key().public(),
            spaces,
            images: images(server, &OsImage::find()),
            phone_home: format!("{server}/phone-home/first-boot"),
            passwords: [(ACCOUNT, scenario.secret("operator-password")), ("root", scenario.secret("root-password"))],
            mcollective: [scenario.secret("mcollective-psk"), scenario.secret("mcollective-password")],
        }
    }

    /// The document.
    pub fn json(&self) -> Value {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let account = |name: &str, home: &str, password: &str| {
            json!({
                "name": name, "homedir": home, "password": password, "sudo": ["ALL=(ALL) NOPASSWD: ALL"],
                "ssh_keys": [self.key]
            })
        };
        let accounts: Vec<Value> = self
            .passwords
            .iter()
            .map(|(name, password)| {
                let home = if *name == "root" { "/root".to_owned() } else { format!("/home/{name}") };
                account(name, &home, password)
            })
            .collect();
        json!({
            "uid": "1", "name": short, "slave_name": short, "hostname": self.hostname, "profile": "ubuntu_bootstrap",
            "power_type": "ssh", "power_user": "root", "power_address": GUEST, "power_pass": "/root/.ssh/bootstrap.rsa",
            "name_servers": "\"10.0.2.3\"", "name_servers_search": "\"example.test\"", "netboot_enabled": "1",
            "kernel_options": {
                "netcfg/choose_interface": self.mac,
                "udevrules": format!("{}_ens2", self.mac)
            },
            "interfaces": {"ens2": {
                "mac_address": self.mac, "static": "0", "dns_name": self.hostname, "ip_address": GUEST,
                "netmask": "255.255.255.0"
            }},
            "interfaces_extra": {"ens2": {"peerdns": "no", "onboot": "yes"}},
            "ks_meta": {
                "pm_data": {
                    // Without Nailgun's rootdelay=90, which the initramfs of Debian 12 sleeps through.
                    "kernel_params": format!("console=ttyS0 {NO_TIMER_CHECK} net.ifnames=1 biosdevname=0 nomodeset"),
                    "ks_spaces": self.spaces
                },
                "image_data": self.images,
                "repo_setup": {"repos": []},
                "master_ip": HOST_OF_GUEST, "gw": HOST_OF_GUEST, "admin_net": "10.0.2.0/24", "timezone": "Etc/UTC",
                "authorized_keys": [format!("\"{}\"", self.key)], "auth_key": "\"\"", "user_accounts": accounts,
                "fuel_version": "10.0", "puppet_master": "fuel.example.test", "puppet_enable": 0,
                "puppet_auto_setup": 1, "mco_auto_setup": 1, "install_log_2_syslog": 1,
                "mco_pskey": self.mcollective[0], "mco_vhost": "mcollective", "mco_host": HOST_OF_GUEST,
                "mco_user": "mcollective", "mco_password": self.mcollective[1], "mco_connector": "rabbitmq",
                "mco_enable": 0, "mco_identity": 1
            },
            "bedplate": {"phone_home": {"url": self.phone_home}}
        })
    }
}
