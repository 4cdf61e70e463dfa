//! Images whose cloud-init leaves the network alone, as Fuel's do: the admin interface is set up in the installed system.

use std::fs;
use std::path::Path;

use log::warn;
use serde_json::Value;

use super::target::{inside, read_if_there, write};
use crate::boot;
use crate::error::{Context as _, Error, Kind, Result};
use crate::request::AdminNetwork;

/// Keeps Nailgun's agent from reporting the node before its first boot is done (LP#1449186).
const NODISCOVER: &str = "etc/nailgun-agent/nodiscover";

/// Writes the interface's file where the image says that cloud-init does not, and the file that holds Nailgun's agent back.
///
/// # Errors
/// `Image` when the image says so and has nobody else who could set up an interface.
pub fn write_where_needed(target: &Path, admin: &AdminNetwork) -> Result<()> {
    if !is_network_off(target)? {
        return Ok(());
    }
    let has = |path: &str| inside(target, path).map(|path| path.exists());
    if has("etc/network/interfaces")? {
        let text = "auto lo\niface lo inet loopback\nsource-directory /etc/network/interfaces.d\n";
        write(target, "etc/network/interfaces", text, 0o644)?;
        let file = format!("etc/network/interfaces.d/ifcfg-{}", admin.name);
        write(target, &file, &boot::interfaces(admin), 0o644)?;
    } else if has("etc/sysconfig/network-scripts")? {
        let file = format!("etc/sysconfig/network-scripts/ifcfg-{}", admin.name);
        write(target, &file, &boot::ifcfg(admin), 0o644)?;
        let common = read_if_there(target, "etc/sysconfig/network")?.unwrap_or_default();
        write(target, "etc/sysconfig/network", &boot::ifcfg_gateway(&common, admin), 0o644)?;
    } else if has("etc/netplan")? {
        write(target, "etc/netplan/60-bedplate.yaml", &boot::netplan(admin), 0o600)?;
    } else {
        let what =
            "the image switches cloud-init's network off and has neither ifupdown, Red Hat's scripts nor netplan";
        return Err(Error::new(Kind::Image, what).advise("let cloud-init configure the network of this image"));
    }
    write(target, NODISCOVER, "", 0o644)
}

/// Whether a file of cloud-init's configuration says `network: {config: disabled}`.
fn is_network_off(target: &Path) -> Result<bool> {
    let folder = inside(target, "etc/cloud/cloud.cfg.d")?;
    let mut names = vec!["etc/cloud/cloud.cfg".to_owned()];
    if folder.is_dir() {
        let what = || "reading /etc/cloud/cloud.cfg.d of the installed system";
        for entry in fs::read_dir(&folder).context(Kind::Image, what)? {
            let name = entry.context(Kind::Image, what)?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".cfg") {
                names.push(format!("etc/cloud/cloud.cfg.d/{name}"));
            }
        }
    }
    for name in names {
        // cloud-init passes over what it cannot read, too.
        let text = match read_if_there(target, &name) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                warn!("{error}");
                continue;
            }
        };
        let Ok(settings) = serde_saphyr::from_str::<Value>(&text) else { continue };
        if settings["network"]["config"] == "disabled" {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::scratch::Scratch;

    fn admin() -> AdminNetwork {
        AdminNetwork {
            name: "eno1".into(),
            mac: "52:54:00:00:01:0a".into(),
            address: Ipv4Addr::new(10, 20, 0, 5),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Some(Ipv4Addr::new(10, 20, 0, 1)),
            name_servers: Vec::new(),
            search_domains: Vec::new(),
        }
    }

    fn image(scratch: &Scratch, setting: &str, folders: &[&str]) {
        for folder in folders.iter().chain(&["etc/cloud/cloud.cfg.d"]) {
            fs::create_dir_all(scratch.folder().join(folder)).unwrap();
        }
        fs::write(scratch.folder().join("etc/cloud/cloud.cfg.d/99-disable-network-config.cfg"), setting).unwrap();
    }

    #[test]
    fn interface_is_left_to_cloud_init_unless_the_image_says_no() {
        for setting in ["network: {config: {version: 2}}\n", "", "network: [\n"] {
            let scratch = Scratch::new();
            image(&scratch, setting, &["etc/network"]);
            fs::write(scratch.folder().join("etc/network/interfaces"), "old\n").unwrap();
            write_where_needed(scratch.folder(), &admin()).unwrap();
            assert_eq!(fs::read_to_string(scratch.folder().join("etc/network/interfaces")).unwrap(), "old\n");
            assert!(!scratch.folder().join(NODISCOVER).exists());
        }
    }

    #[test]
    fn images_of_fuel_get_the_file_of_their_system_and_hold_the_agent_back() {
        let off = "network: {config: disabled}\n";
        let scratch = Scratch::new();
        image(&scratch, off, &["etc/network"]);
        fs::write(scratch.folder().join("etc/network/interfaces"), "old\n").unwrap();
        write_where_needed(scratch.folder(), &admin()).unwrap();
        let read = |name: &str| fs::read_to_string(scratch.folder().join(name)).unwrap();
        assert_eq!(
            read("etc/network/interfaces"),
            "auto lo\niface lo inet loopback\nsource-directory /etc/network/interfaces.d\n"
        );
        assert_eq!(read("etc/network/interfaces.d/ifcfg-eno1"), boot::interfaces(&admin()));
        assert_eq!(read(NODISCOVER), "");

        let scratch = Scratch::new();
        image(&scratch, off, &["etc/sysconfig/network-scripts"]);
        write_where_needed(scratch.folder(), &admin()).unwrap();
        let read = |name: &str| fs::read_to_string(scratch.folder().join(name)).unwrap();
        assert_eq!(read("etc/sysconfig/network-scripts/ifcfg-eno1"), boot::ifcfg(&admin()));
        assert_eq!(read("etc/sysconfig/network"), "GATEWAY=\"10.20.0.1\"\n");

        let scratch = Scratch::new();
        image(&scratch, off, &["etc/netplan"]);
        write_where_needed(scratch.folder(), &admin()).unwrap();
        assert!(scratch.folder().join("etc/netplan/60-bedplate.yaml").exists());

        let scratch = Scratch::new();
        image(&scratch, off, &[]);
        assert_eq!(write_where_needed(scratch.folder(), &admin()).unwrap_err().kind(), Kind::Image);
    }
}
