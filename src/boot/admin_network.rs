//! The admin interface in the words of those who set up interfaces: ifupdown, Red Hat's scripts, netplan.

use serde_json::json;

use crate::request::AdminNetwork;

/// A stanza for Debian's `/etc/network/interfaces.d`.
#[must_use]
pub fn interfaces(admin: &AdminNetwork) -> String {
    let AdminNetwork { name, address, netmask, .. } = admin;
    let mut lines = vec![format!("auto {name}"), format!("iface {name} inet static")];
    lines.extend([format!("address {address}"), format!("netmask {netmask}")]);
    lines.extend(admin.gateway.map(|gateway| format!("gateway {gateway}")));
    let words = [("dns-nameservers", &admin.name_servers), ("dns-search", &admin.search_domains)];
    lines.extend(
        words.iter().filter(|(_, list)| !list.is_empty()).map(|(key, list)| format!("{key} {}", list.join(" "))),
    );
    lines.join("\n") + "\n"
}

/// An `ifcfg` file of Red Hat's systems.
#[must_use]
pub fn ifcfg(admin: &AdminNetwork) -> String {
    let AdminNetwork { name, mac, address, netmask, .. } = admin;
    let mut lines = vec![
        format!("DEVICE={name}"),
        format!("HWADDR={mac}"),
        format!("IPADDR={address}"),
        format!("NETMASK={netmask}"),
        "BOOTPROTO=none".to_owned(),
        "ONBOOT=yes".to_owned(),
        "USERCTL=no".to_owned(),
    ];
    lines.extend(admin.name_servers.iter().zip(1..).map(|(server, number)| format!("DNS{number}={server}")));
    if !admin.search_domains.is_empty() {
        lines.push(format!("DOMAIN=\"{}\"", admin.search_domains.join(" ")));
    }
    lines.join("\n") + "\n"
}

/// `/etc/sysconfig/network` with this gateway and no other.
#[must_use]
pub fn ifcfg_gateway(text: &str, admin: &AdminNetwork) -> String {
    let kept = text.lines().filter(|line| !line.trim_start().starts_with("GATEWAY="));
    let own = admin.gateway.map(|gateway| format!("GATEWAY=\"{gateway}\""));
    kept.map(str::to_owned).chain(own).map(|line| line + "\n").collect()
}

/// A file for netplan: JSON, which is YAML as well.
#[must_use]
pub fn netplan(admin: &AdminNetwork) -> String {
    let prefix = u32::from(admin.netmask).leading_ones();
    let mut interface = json!({
        "match": {"macaddress": admin.mac},
        "set-name": admin.name,
        "addresses": [format!("{}/{prefix}", admin.address)],
        "nameservers": {"addresses": admin.name_servers, "search": admin.search_domains},
    });
    if let Some(gateway) = admin.gateway {
        interface["routes"] = json!([{"to": "0.0.0.0/0", "via": gateway}]);
    }
    let mut ethernets = serde_json::Map::new();
    ethernets.insert(admin.name.clone(), interface);
    format!("{}\n", json!({"network": {"version": 2, "ethernets": ethernets}}))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn admin() -> AdminNetwork {
        AdminNetwork {
            name: "eno1".into(),
            mac: "52:54:00:00:01:0a".into(),
            address: Ipv4Addr::new(10, 20, 0, 5),
            netmask: Ipv4Addr::new(255, 255, 254, 0),
            gateway: Some(Ipv4Addr::new(10, 20, 0, 1)),
            name_servers: vec!["10.20.0.2".into()],
            search_domains: vec!["example.test".into()],
        }
    }

    #[test]
    fn interface_is_said_in_the_words_of_each_system() {
        assert_eq!(
            interfaces(&admin()),
            "auto eno1\niface eno1 inet static\naddress 10.20.0.5\nnetmask 255.255.254.0\ngateway 10.20.0.1\n\
             dns-nameservers 10.20.0.2\ndns-search example.test\n"
        );
        assert_eq!(
            ifcfg(&admin()),
            "DEVICE=eno1\nHWADDR=52:54:00:00:01:0a\nIPADDR=10.20.0.5\nNETMASK=255.255.254.0\nBOOTPROTO=none\nONBOOT=yes\n\
             USERCTL=no\nDNS1=10.20.0.2\nDOMAIN=\"example.test\"\n"
        );
        assert_eq!(
            ifcfg_gateway("NETWORKING=yes\nGATEWAY=10.0.0.1\n", &admin()),
            "NETWORKING=yes\nGATEWAY=\"10.20.0.1\"\n"
        );
        assert_eq!(
            netplan(&admin()),
            "{\"network\":{\"ethernets\":{\"eno1\":{\"addresses\":[\"10.20.0.5/23\"],\"match\":{\"macaddress\":\"52:54:00:00:01:0a\"},\
             \"nameservers\":{\"addresses\":[\"10.20.0.2\"],\"search\":[\"example.test\"]},\
             \"routes\":[{\"to\":\"0.0.0.0/0\",\"via\":\"10.20.0.1\"}],\"set-name\":\"eno1\"}},\"version\":2}}\n"
        );
    }

    #[test]
    fn without_a_gateway_there_is_no_route() {
        let admin = AdminNetwork { gateway: None, search_domains: Vec::new(), ..admin() };
        assert!(!interfaces(&admin).contains("gateway") && !netplan(&admin).contains("routes"));
        assert_eq!(ifcfg_gateway("GATEWAY=10.0.0.1\n", &admin), "");
    }
}
