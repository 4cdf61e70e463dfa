//! Reads `bedplate.network`: checked here, so that a typing error shows before the disks are written and not at a node
//! that nobody reaches any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::names;
use super::reader::{Field, Object};

/// What the kernel takes as a bond's mode.
const BOND_MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];

/// The document for cloud-init, MAC addresses in lower case.
pub fn read(field: &Field<'_>) -> Option<Value> {
    let object = field.object()?;
    let version = object.get("version")?;
    if version.integer() != Some(2) {
        version.expected("network-config version 2");
        return None;
    }
    object.get("renderer").map_or(Some(()), |field| {
        let is_known = |text: &str| matches!(text, "networkd" | "NetworkManager").then_some(());
        field.parsed("networkd or NetworkManager", is_known)
    })?;
    let sections = ["ethernets", "bonds", "vlans", "bridges"].map(|name| object.get(name));
    let mut known = BTreeSet::new();
    for section in sections.iter().flatten() {
        for (name, field) in section.entries()? {
            if !names::is_interface_name(name) {
                field.fault("expected the name of a network interface as the key");
            }
            if !known.insert(name) {
                field.fault("another interface has this name");
            }
        }
    }
    let [ethernets, bonds, vlans, bridges] = sections;
    let mut taken = BTreeMap::new();
    let read = [
        each(ethernets, ethernet),
        each(bonds, |name, object| {
            let read = [members(name, object, &known, &mut taken), mode(object), common(object)];
            read.into_iter().collect()
        }),
        each(bridges, |name, object| {
            // Its parameters are the kernel's numbers.
            _ = object.get("parameters");
            [members(name, object, &known, &mut taken), common(object)].into_iter().collect()
        }),
        each(vlans, |name, object| vlan(name, object, &known)),
    ];
    read.into_iter().collect::<Option<()>>()?;
    let mut value = field.value().clone();
    lower_addresses(&mut value);
    Some(value)
}

/// Reads every entry, so that each fault is found.
fn each<'a>(section: Option<Field<'a>>, mut read: impl FnMut(&'a str, &Object<'a>) -> Option<()>) -> Option<()> {
    let Some(section) = section else { return Some(()) };
    let read: Vec<_> = section.entries()?.map(|(name, field)| read(name, &field.object()?)).collect();
    read.into_iter().collect()
}

fn ethernet(_name: &str, object: &Object<'_>) -> Option<()> {
    let found_by = object.get("match");
    if let Some(object) = found_by.as_ref().and_then(Field::object) {
        checked(object.get("macaddress"), "a MAC address", |text| names::mac_address(text).is_some())?;
        let words = ["name", "driver"].map(|key| object.get(key));
        words.into_iter().try_for_each(|field| checked(field, "a word", |text| !text.trim().is_empty()))?;
    }
    if let Some(name) = object.get("set-name") {
        if found_by.is_none() {
            name.fault("given without match, which would tell whose name it is");
            return None;
        }
        checked(Some(name), "the name of a network interface", names::is_interface_name)?;
    }
    common(object)
}

/// The members of a bond or the ports of a bridge: each is there, and belongs to nothing else.
fn members<'a>(
    name: &'a str,
    object: &Object<'a>,
    known: &BTreeSet<&str>,
    taken: &mut BTreeMap<&'a str, &'a str>,
) -> Option<()> {
    let Some(field) = object.get("interfaces") else { return Some(()) };
    let mut is_good = true;
    for member in field.list()? {
        let text = member.text()?;
        let fault = match taken.insert(text, name) {
            _ if text == name => "it is itself",
            _ if !known.contains(text) => "expected a key of ethernets, bonds, vlans or bridges",
            Some(_) => "it belongs to another one already",
            None => continue,
        };
        member.fault(fault);
        is_good = false;
    }
    is_good.then_some(())
}

fn mode(object: &Object<'_>) -> Option<()> {
    let Some(field) = object.get("parameters") else { return Some(()) };
    let mode = field.entries()?.find(|(key, _)| *key == "mode");
    checked(mode.map(|(_, field)| field), "a mode of the bonding driver", |text| BOND_MODES.contains(&text))
}

fn vlan(name: &str, object: &Object<'_>, known: &BTreeSet<&str>) -> Option<()> {
    let link = |text: &str| text != name && known.contains(text);
    let link = checked(object.get("link"), "another key of ethernets, bonds, vlans or bridges", link);
    [in_range(object.get("id"), 0, 4094), link, common(object)].into_iter().collect()
}

/// What every interface can have.
fn common(object: &Object<'_>) -> Option<()> {
    let addresses = object.get("addresses");
    let mut has_v6 = object.get("dhcp6").and_then(|field| field.flag()) == Some(true);
    let mut is_good = object.get("dhcp4").is_none_or(|field| field.flag().is_some());
    for address in addresses.iter().filter_map(Field::list).flatten() {
        has_v6 |= address.text().is_some_and(|text| text.contains(':'));
        is_good &=
            checked(Some(address), "an address with its prefix length", |text| prefixed(text).is_some()).is_some();
    }
    for (key, is_v6, what) in [("gateway4", false, "an IPv4 address"), ("gateway6", true, "an IPv6 address")] {
        is_good &= checked(object.get(key), what, |text| family(text) == Some(is_v6)).is_some();
    }
    for route in object.get("routes").iter().filter_map(Field::list).flatten() {
        is_good &= self::route(&route).is_some();
    }
    if let Some(servers) = object.get("nameservers").and_then(|field| field.object()) {
        for address in servers.get("addresses").iter().filter_map(Field::list).flatten() {
            is_good &= checked(Some(address), "an address", |text| family(text).is_some()).is_some();
        }
        for domain in servers.get("search").iter().filter_map(Field::list).flatten() {
            is_good &= checked(Some(domain), "a domain name", names::is_host_name).is_some();
        }
    }
    // RFC 8200, section 5.
    is_good &= in_range(object.get("mtu"), if has_v6 { 1280 } else { 68 }, 65535).is_some();
    is_good &= checked(object.get("macaddress"), "a MAC address", |text| names::mac_address(text).is_some()).is_some();
    is_good.then_some(())
}

fn route(field: &Field<'_>) -> Option<()> {
    let object = field.object()?;
    let via = object.get("via")?;
    let is_v6 = via.parsed("an address", family)?;
    in_range(object.get("metric"), 0, i64::from(u32::MAX))?;
    let fits = |text: &str| text == "default" || prefixed(text) == Some(is_v6);
    checked(object.get("to"), "default, or a network with its prefix length, of the family of via", fits)
}

/// Whether an address is one of IPv6.
fn family(text: &str) -> Option<bool> {
    text.parse::<IpAddr>().ok().map(|address| address.is_ipv6())
}

/// The family of `ADDRESS/PREFIX`.
fn prefixed(text: &str) -> Option<bool> {
    let (address, prefix) = text.split_once('/')?;
    let is_v6 = family(address)?;
    let is_number = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix: u8 = prefix.parse().ok().filter(|_| is_number)?;
    (prefix <= if is_v6 { 128 } else { 32 }).then_some(is_v6)
}

/// Absent, or a string that is as expected.
fn checked(field: Option<Field<'_>>, what: &str, is_good: impl Fn(&str) -> bool) -> Option<()> {
    field.map_or(Some(()), |field| field.parsed(what, |text| is_good(text).then_some(())))
}

fn in_range(field: Option<Field<'_>>, least: i64, most: i64) -> Option<()> {
    let Some(field) = field else { return Some(()) };
    if field.integer().is_some_and(|value| (least..=most).contains(&value)) {
        return Some(());
    }
    field.expected(&format!("a number from {least} to {most}"));
    None
}

/// cloud-init and the kernel compare MAC addresses as text.
fn lower_addresses(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "macaddress" => {
                        *text = names::mac_address(text).unwrap_or_else(|| text.to_lowercase());
                    }
                    other => lower_addresses(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lower_addresses),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::request::check;

    fn checked(network: Value) -> (Option<Value>, Vec<String>) {
        let text = include_str!("../../tests/fixtures/provision/01-single-disk-lvm.json");
        let mut document: Value = serde_json::from_str(text).unwrap();
        document["bedplate"] = json!({"network": network});
        let checked = check(document.to_string().as_bytes()).unwrap();
        let faults = checked.violations.iter().map(|it| it.to_string().replace("$.bedplate.network", "")).collect();
        (checked.request.and_then(|request| request.network), faults)
    }

    #[test]
    fn whole_network_goes_to_cloud_init_with_addresses_in_lower_case() {
        let mut network = json!({
            "version": 2,
            "renderer": "networkd",
            "ethernets": {
                "a": {"match": {"macaddress": "52:54:00:00:01:0A"}, "set-name": "eno1", "wakeonlan": true},
                "eno2": {"mtu": 9000},
            },
            "bonds": {"bond0": {"interfaces": ["a", "eno2"], "parameters": {"mode": "802.3ad"}, "macaddress": "52-54-00-00-01-0A"}},
            "vlans": {"v7": {"id": 7, "link": "bond0"}},
            "bridges": {"br0": {
                "interfaces": ["v7"], "addresses": ["10.0.0.2/24", "fd00::2/64"], "gateway4": "10.0.0.1", "gateway6": "fd00::1",
                "routes": [{"to": "10.9.0.0/16", "via": "10.0.0.9", "metric": 5}, {"to": "default", "via": "fd00::9"}],
                "nameservers": {"addresses": ["10.0.0.1", "fd00::1"], "search": ["example.test"]},
            }},
        });
        let (read, faults) = checked(network.clone());
        assert_eq!(faults, [""; 0]);
        network["ethernets"]["a"]["match"]["macaddress"] = "52:54:00:00:01:0a".into();
        network["bonds"]["bond0"]["macaddress"] = "52:54:00:00:01:0a".into();
        assert_eq!(read, Some(network));
    }

    #[test]
    fn every_fault_is_told_with_its_path() {
        let (_, faults) = checked(json!({
            "version": 2,
            "ethernets": {
                "a": {"set-name": "x"},
                "b": {"addresses": ["10.0.0.2"], "gateway4": "fd00::1", "mtu": 12},
                "c": {"dhcp6": true, "mtu": 1279, "routes": [{"to": "fd00::/64", "via": "10.0.0.1"}]},
            },
            "bonds": {"d": {"interfaces": ["a", "nobody"], "parameters": {"mode": "4"}}},
            "bridges": {"e": {"interfaces": ["a", "e"]}},
            "vlans": {"f": {"id": 4095, "link": "f"}},
        }));
        assert_eq!(
            faults,
            [
                ".ethernets.a[\"set-name\"]: given without match, which would tell whose name it is",
                ".ethernets.b.addresses[0]: expected an address with its prefix length, found another string",
                ".ethernets.b.gateway4: expected an IPv4 address, found another string",
                ".ethernets.b.mtu: expected a number from 68 to 65535, found a number",
                ".ethernets.c.routes[0].to: expected default, or a network with its prefix length, of the family of via, found another string",
                ".ethernets.c.mtu: expected a number from 1280 to 65535, found a number",
                ".bonds.d.interfaces[1]: expected a key of ethernets, bonds, vlans or bridges",
                ".bonds.d.parameters.mode: expected a mode of the bonding driver, found another string",
                ".bridges.e.interfaces[0]: it belongs to another one already",
                ".bridges.e.interfaces[1]: it is itself",
                ".vlans.f.link: expected another key of ethernets, bonds, vlans or bridges, found another string",
                ".vlans.f.id: expected a number from 0 to 4094, found a number",
            ]
        );
    }
}
