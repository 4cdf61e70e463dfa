//! A DHCP and TFTP configuration for a network that has no other DHCP server. Pure.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What the configuration is for.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub interface: String,
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    pub netmask: Option<Ipv4Addr>,
    pub lease: String,
    pub gateway: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub tftp_root: PathBuf,
    pub url: String,
    pub uefi: Uefi,
}

/// What UEFI firmware loads first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uefi {
    /// iPXE, which Secure Boot refuses.
    Ipxe,
    /// The distribution's shim, which loads the distribution's GRUB: both are signed.
    Signed,
}

/// The configuration, with comments.
pub(super) fn configuration(network: &Network) -> String {
    let Network { interface, first, last, lease, url, .. } = network;
    let netmask = network.netmask.map(|netmask| format!("{netmask},")).unwrap_or_default();
    let root = network.tftp_root.display();
    let router = match network.gateway {
        Some(gateway) => format!("dhcp-option=option:router,{gateway}"),
        None => "# No gateway was given: nodes get none.\ndhcp-option=option:router".to_owned(),
    };
    let resolvers = match network.name_servers.as_slice() {
        [] => "# No resolver was given: nodes get none.\ndhcp-option=option:dns-server".to_owned(),
        servers => {
            let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
            format!("dhcp-option=option:dns-server,{}", servers.join(","))
        }
    };
    let domain = network.domain.as_ref().map(|domain| format!("domain={domain}\n")).unwrap_or_default();
    let uefi = uefi_rules(network.uefi, url);
    format!(
        "# DHCP and TFTP for nodes of bedplate-master at {url}.
# Start: dnsmasq --conf-file=THIS_FILE. The network must have no other DHCP server.
# The TFTP folder {root} holds boot loaders; `make loaders` collects them. What is missing there is told by the log.

# DNS is not served.
port=0

# Only this interface; another DHCP server on another interface is left alone.
interface={interface}
bind-interfaces

# The only DHCP server here: nodes that come with an old address are told so at once.
dhcp-authoritative
dhcp-range={first},{last},{netmask}{lease}
# Firmware, iPXE, GRUB and Linux name themselves differently; all are one node by its MAC address. The master serves a
# request only to the address that fetched the boot script, so the address must stay the same through a boot.
dhcp-ignore-clid
{router}
{resolvers}
{domain}log-dhcp

# 1. iPXE, from a ROM or loaded by a rule below, says so with option 175 and gets the boot script by HTTP.
dhcp-match=set:ipxe,175
dhcp-boot=tag:ipxe,{url}/boot.ipxe

# What x86-64 firmware of UEFI calls itself in option 93: 7 or 9 over TFTP, 16 over HTTP.
dhcp-match=set:efi64,option:client-arch,7
dhcp-match=set:efi64,option:client-arch,9
dhcp-match=set:http64,option:client-arch,16
# Firmware that boots over HTTP takes only an offer that says so.
dhcp-option-force=tag:http64,option:vendor-class,HTTPClient

{uefi}
# 4. BIOS firmware (client architecture 0, or none told) loads iPXE by TFTP; it drives the card through the PXE ROM.
dhcp-boot=tag:!ipxe,tag:!efi64,tag:!http64,undionly.kpxe

enable-tftp
tftp-root={root}
"
    )
}

fn uefi_rules(uefi: Uefi, url: &str) -> String {
    match uefi {
        Uefi::Ipxe => format!(
            "\
# 2. UEFI firmware loads iPXE by TFTP. snponly.efi drives the card through the firmware and helps where ipxe.efi does
# not know it: then change the name. Secure Boot refuses both: see `dnsmasq-conf --signed`.
dhcp-boot=tag:!ipxe,tag:efi64,ipxe.efi
#dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi

# 3. UEFI firmware that boots over HTTP loads iPXE from the master.
dhcp-boot=tag:!ipxe,tag:http64,{url}/loaders/ipxe.efi
"
        ),
        Uefi::Signed => format!(
            "\
# 2. UEFI firmware loads the signed shim by TFTP, and that the signed GRUB: both pass Secure Boot. GRUB reads
# grub/grub.cfg, which the master writes, and fetches everything else by HTTP.
dhcp-boot=tag:!ipxe,tag:efi64,shimx64.efi

# 3. UEFI firmware that boots over HTTP loads the same from the master, without TFTP.
dhcp-boot=tag:!ipxe,tag:http64,{url}/loaders/shimx64.efi
"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_way_never_names_an_unsigned_loader_to_uefi_firmware() {
        let rules = uefi_rules(Uefi::Signed, "http://10.77.0.1:8200");
        let boots: Vec<_> = rules.lines().filter(|line| line.starts_with("dhcp-boot=")).collect();
        let expected = [
            "dhcp-boot=tag:!ipxe,tag:efi64,shimx64.efi",
            "dhcp-boot=tag:!ipxe,tag:http64,http://10.77.0.1:8200/loaders/shimx64.efi",
        ];
        assert_eq!(boots, expected);
    }

    #[test]
    fn dnsmasq_accepts_the_configuration() {
        let network = Network {
            interface: "lo".into(),
            first: Ipv4Addr::new(10, 77, 0, 100),
            last: Ipv4Addr::new(10, 77, 0, 200),
            netmask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            lease: "1h".into(),
            gateway: None,
            name_servers: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)],
            domain: Some("example.test".into()),
            tftp_root: "/srv/tftp".into(),
            url: "http://10.77.0.1:8200".into(),
            uefi: Uefi::Ipxe,
        };
        let bare = Network {
            netmask: None,
            name_servers: vec![],
            domain: None,
            gateway: Some(network.first),
            uefi: Uefi::Signed,
            ..network.clone()
        };
        for network in [network, bare] {
            let path = std::env::temp_dir().join(format!("bedplate-dnsmasq-{}.conf", std::process::id()));
            std::fs::write(&path, configuration(&network)).unwrap();
            let checked = std::process::Command::new("/usr/sbin/dnsmasq").arg("--test").arg("-C").arg(&path).output();
            std::fs::remove_file(&path).unwrap();
            let checked = checked.expect("dnsmasq is installed by `make setup`");
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
