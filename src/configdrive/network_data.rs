//! network_data.json of OpenStack's config drive, made of network-config version 2.
//!
//! What OpenStack's form has no words for is an error: search domains alone are left out, which cloud-init cannot read there.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};

/// Bond parameters that have another name there than version 2 gives them, and those that have the same.
const BOND_PARAMETERS: [(&str, &str); 10] = [
    ("mode", "bond_mode"),
    ("mii-monitor-interval", "bond_miimon"),
    ("lacp-rate", "bond_lacp_rate"),
    ("transmit-hash-policy", "bond_xmit_hash_policy"),
    ("primary", "bond_primary"),
    ("min-links", "bond_min_links"),
    ("up-delay", "bond_updelay"),
    ("down-delay", "bond_downdelay"),
    ("ad-select", "bond_ad_select"),
    ("fail-over-mac-policy", "bond_fail_over_mac"),
];

/// The document that says the same.
///
/// # Errors
/// `Request` where it cannot be said: bridges and other kinds of interfaces, a VLAN without an address of its own below a
/// link whose address is not known.
pub fn network_data(network: &Value) -> Result<Value> {
    let sections = network.as_object().ok_or_else(|| unfit("$", "it is no object"))?;
    let mut made = Made::default();
    for (section, value) in sections {
        let entries = value.as_object();
        match (section.as_str(), entries) {
            ("version" | "renderer", _) => {}
            ("ethernets", Some(entries)) => made.each(entries, Made::ethernet)?,
            ("bonds", Some(entries)) => made.each(entries, Made::bond)?,
            // When all that they can lie on is known.
            ("vlans", Some(_)) => {}
            _ => return Err(unfit(section, "has no words there")),
        }
    }
    if let Some(vlans) = sections.get("vlans").and_then(Value::as_object) {
        made.each(vlans, Made::vlan)?;
    }
    Ok(json!({"links": made.links, "networks": made.networks, "services": made.services}))
}

fn unfit(what: &str, why: &str) -> Error {
    Error::new(Kind::Request, format!("bedplate.network as network_data.json of the form openstack: {what}: {why}"))
        .advise("take the form nocloud, which carries all of it")
}

/// Makes the link of an interface of one section.
type Make = fn(&mut Made, &str, &Map<String, Value>) -> Result<Map<String, Value>>;

#[derive(Default)]
struct Made {
    links: Vec<Value>,
    networks: Vec<Value>,
    services: Vec<Value>,
}

impl Made {
    fn each(&mut self, entries: &Map<String, Value>, make: Make) -> Result<()> {
        for (id, entry) in entries {
            let entry = entry.as_object().ok_or_else(|| unfit(id, "it is no object"))?;
            let mut link = make(self, id, entry)?;
            link.insert("id".to_owned(), id.as_str().into());
            if let Some(mtu) = entry.get("mtu") {
                link.insert("mtu".to_owned(), mtu.clone());
            }
            self.networks_of(id, entry)?;
            self.links.push(Value::Object(link));
        }
        Ok(())
    }

    fn ethernet(&mut self, id: &str, entry: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mac = entry.get("match").and_then(|it| it.get("macaddress")).or_else(|| entry.get("macaddress"));
        let name = entry.get("set-name").and_then(Value::as_str);
        let mut link = object(json!({"type": "phy"}));
        if let Some(mac) = mac {
            link.insert("ethernet_mac_address".to_owned(), mac.clone());
        } else if entry.contains_key("match") {
            return Err(unfit(id, "is matched by something else than macaddress"));
        }
        // Without a match the key is the name; with one and without a name the interface keeps its own.
        if let Some(name) = name.or_else(|| mac.is_none().then_some(id)) {
            link.insert("name".to_owned(), name.into());
        }
        Ok(link)
    }

    fn bond(&mut self, id: &str, entry: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut link = object(json!({"type": "bond", "name": id, "bond_links": entry.get("interfaces")}));
        if let Some(mac) = entry.get("macaddress") {
            link.insert("ethernet_mac_address".to_owned(), mac.clone());
        }
        let parameters = entry.get("parameters").and_then(Value::as_object);
        for (key, value) in parameters.into_iter().flatten() {
            let (_, known) = BOND_PARAMETERS
                .iter()
                .find(|(name, _)| name == key)
                .ok_or_else(|| unfit(id, &format!("the parameter {key} has no word there")))?;
            link.insert((*known).to_owned(), value.clone());
        }
        Ok(link)
    }

    fn vlan(&mut self, id: &str, entry: &Map<String, Value>) -> Result<Map<String, Value>> {
        let below = entry.get("link").and_then(Value::as_str).unwrap_or_default();
        let mac_below = self.links.iter().find(|link| link["id"] == below);
        let mac_below = mac_below.and_then(|link| link.get("ethernet_mac_address"));
        let mac = entry.get("macaddress").or(mac_below);
        let mac = mac.ok_or_else(|| unfit(id, &format!("{below} below it has no macaddress")))?;
        Ok(object(json!({"type": "vlan", "vlan_link": below, "vlan_id": entry.get("id"), "vlan_mac_address": mac})))
    }

    /// A network for each address, the routes of a family at its first; DNS for all.
    fn networks_of(&mut self, id: &str, entry: &Map<String, Value>) -> Result<()> {
        let is_on = |key: &str| entry.get(key).and_then(Value::as_bool) == Some(true);
        for (key, kind) in [("dhcp4", "ipv4_dhcp"), ("dhcp6", "ipv6_dhcp")] {
            if is_on(key) {
                self.network(id, object(json!({"type": kind})));
            }
        }
        let mut routes = routes(id, entry)?;
        for address in strings(entry.get("addresses")) {
            let is_v6 = address.contains(':');
            let mut network = object(json!({"type": if is_v6 { "ipv6" } else { "ipv4" }, "ip_address": address}));
            let (own, others) = routes.into_iter().partition(|(of_v6, _)| *of_v6 == is_v6);
            routes = others;
            let own: Vec<(bool, Value)> = own;
            if !own.is_empty() {
                network.insert("routes".to_owned(), own.into_iter().map(|(_, route)| route).collect());
            }
            self.network(id, network);
        }
        if !routes.is_empty() {
            return Err(unfit(id, "has routes and no address of their family"));
        }
        let servers = entry.get("nameservers").and_then(|it| it.get("addresses"));
        for address in strings(servers) {
            let service = json!({"type": "dns", "address": address});
            if !self.services.contains(&service) {
                self.services.push(service);
            }
        }
        Ok(())
    }

    fn network(&mut self, link: &str, mut network: Map<String, Value>) {
        network.insert("id".to_owned(), format!("network{}", self.networks.len()).into());
        network.insert("link".to_owned(), link.into());
        self.networks.push(Value::Object(network));
    }
}

/// Routes with their family: whether it is IPv6.
fn routes(id: &str, entry: &Map<String, Value>) -> Result<Vec<(bool, Value)>> {
    let gateway = |key: &str| entry.get(key).and_then(Value::as_str).map(|via| (default_of(via), via.to_owned()));
    let mut found: Vec<_> = ["gateway4", "gateway6"].into_iter().filter_map(gateway).collect();
    for route in entry.get("routes").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| route.get(key).and_then(Value::as_str);
        let (to, via) = text("to").zip(text("via")).ok_or_else(|| unfit(id, "a route without to and via"))?;
        let to = if to == "default" { default_of(via) } else { to.to_owned() };
        found.push((to, via.to_owned()));
    }
    found.into_iter().map(|(to, via)| route(id, &to, &via)).collect()
}

fn default_of(via: &str) -> String {
    if via.contains(':') { "::/0".to_owned() } else { "0.0.0.0/0".to_owned() }
}

fn route(id: &str, to: &str, via: &str) -> Result<(bool, Value)> {
    let wrong = || unfit(id, &format!("the route to {to} has no prefix"));
    let (network, prefix) = to.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = network.parse().map_err(|_| wrong())?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
    let netmask = match address {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            std::net::Ipv4Addr::from(bits).to_string()
        }
        IpAddr::V6(_) => {
            let bits = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            std::net::Ipv6Addr::from(bits).to_string()
        }
    };
    Ok((address.is_ipv6(), json!({"network": network, "netmask": netmask, "gateway": via})))
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bonds_vlans_routes_and_both_families_are_said_in_the_words_of_openstack() {
        let network = json!({
            "version": 2,
            "ethernets": {
                "a": {"match": {"macaddress": "52:54:00:00:00:01"}, "set-name": "eno1", "mtu": 9000},
                "eno2": {"dhcp6": true},
            },
            "bonds": {"bond0": {
                "interfaces": ["a", "eno2"], "macaddress": "52:54:00:00:00:01",
                "parameters": {"mode": "802.3ad", "mii-monitor-interval": 100},
            }},
            "vlans": {"bond0.7": {
                "id": 7, "link": "bond0", "addresses": ["10.0.7.2/24", "fd00::2/64"], "gateway4": "10.0.7.1",
                "routes": [{"to": "default", "via": "fd00::1"}, {"to": "10.1.0.0/16", "via": "10.0.7.9"}],
                "nameservers": {"addresses": ["10.0.7.1"], "search": ["example.test"]},
            }},
        });
        assert_eq!(
            network_data(&network).unwrap(),
            json!({
                "links": [
                    {"type": "bond", "id": "bond0", "name": "bond0", "bond_links": ["a", "eno2"], "bond_mode": "802.3ad",
                     "bond_miimon": 100, "ethernet_mac_address": "52:54:00:00:00:01"},
                    {"type": "phy", "id": "a", "name": "eno1", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 9000},
                    {"type": "phy", "id": "eno2", "name": "eno2"},
                    {"type": "vlan", "id": "bond0.7", "vlan_link": "bond0", "vlan_id": 7,
                     "vlan_mac_address": "52:54:00:00:00:01"},
                ],
                "networks": [
                    {"id": "network0", "type": "ipv6_dhcp", "link": "eno2"},
                    {"id": "network1", "type": "ipv4", "link": "bond0.7", "ip_address": "10.0.7.2/24", "routes": [
                        {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.7.1"},
                        {"network": "10.1.0.0", "netmask": "255.255.0.0", "gateway": "10.0.7.9"},
                    ]},
                    {"id": "network2", "type": "ipv6", "link": "bond0.7", "ip_address": "fd00::2/64", "routes": [
                        {"network": "::", "netmask": "::", "gateway": "fd00::1"},
                    ]},
                ],
                "services": [{"type": "dns", "address": "10.0.7.1"}],
            })
        );
    }

    #[test]
    fn what_openstack_has_no_words_for_is_refused_by_name() {
        let refused = |network: Value| network_data(&network).unwrap_err().to_string();
        let begin = "bedplate.network as network_data.json of the form openstack: ";
        assert_eq!(
            refused(json!({"version": 2, "bridges": {"br0": {}}})),
            format!("{begin}bridges: has no words there")
        );
        let by_driver = json!({"version": 2, "ethernets": {"x": {"match": {"driver": "e1000"}}}});
        assert_eq!(refused(by_driver), format!("{begin}x: is matched by something else than macaddress"));
        let vlan = json!({"version": 2, "ethernets": {"e": {}}, "vlans": {"v": {"id": 1, "link": "e"}}});
        assert_eq!(refused(vlan), format!("{begin}v: e below it has no macaddress"));
    }
}
