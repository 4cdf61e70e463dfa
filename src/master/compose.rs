//! From a profile and a machine to a provision.json in Nailgun's form. Pure.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};
use crate::inventory::{Disk, Inventory};
use crate::request::{Container, Secret};
use crate::units::{Bytes, Mib};

use super::allocate::{Allocation, allocate};
use super::ident::Mac;
use super::profile::{NetworkMode, Profile, User, WhichDisks};

/// What a document is composed for.
pub(crate) struct Subject<'a> {
    pub id: u32,
    pub mac: Mac,
    /// The address that it reported.
    pub ip: Ipv4Addr,
    pub inventory: &'a Inventory,
    /// Where the node reaches this master, without a slash at the end.
    pub url: &'a str,
    /// What the installed system calls home with.
    pub phone_home: &'a Secret,
}

/// A composed document and the disks that it names.
#[derive(Debug)]
pub(crate) struct Composed<'a> {
    pub document: Value,
    pub disks: Vec<&'a Disk>,
}

/// Composes the document.
///
/// # Errors
/// `Hardware` when no disk is large enough, `Usage` when the profile contradicts the machine.
pub(crate) fn compose<'a>(profile: &Profile, subject: &Subject<'a>) -> Result<Composed<'a>> {
    let disks = choose_disks(profile, subject.inventory)?;
    let memory = subject.inventory.memory.total;
    let allocation = allocate(&profile.sizes, &disks, memory)?;
    let short_name = profile.hostname.replace("{id}", &subject.id.to_string());
    let short_name = short_name.replace("{mac}", &subject.mac.to_string().replace(':', "-"));
    let host = master_host(subject.url);
    let address = address(profile, subject)?;
    let spaces = spaces(profile, &disks, &allocation);
    let mut document = json!({
        "uid": subject.id.to_string(),
        "name": short_name,
        "slave_name": short_name,
        "hostname": format!("{short_name}.{}", profile.domain),
        "profile": profile.cobbler_profile,
        "power_type": "ssh",
        "power_user": "root",
        "power_address": subject.ip.to_string(),
        "power_pass": "/root/.ssh/bootstrap.rsa",
        "name_servers": quoted(&name_servers(profile, host)),
        "name_servers_search": quoted(&search_domains(profile)),
        "netboot_enabled": "1",
        "kernel_options": { "netcfg/choose_interface": subject.mac.to_string(), "udevrules": udev_rules(subject) },
        "interfaces": interfaces(subject, address, &format!("{short_name}.{}", profile.domain)),
        "interfaces_extra": interfaces_extra(subject),
        "ks_meta": ks_meta(profile, subject, host, spaces),
        "bedplate": {
            "phone_home": { "url": format!("{}/phone-home/{}", subject.url, subject.phone_home.reveal()) },
        },
    });
    if profile.network.mode == NetworkMode::Dhcp {
        document["bedplate"]["network"] = dhcp_network(subject);
    }
    lay_over(&mut document, &profile.extra);
    Ok(Composed { document, disks })
}

/// Fixed disks, by size and then in the inventory's order.
fn choose_disks<'a>(profile: &Profile, inventory: &'a Inventory) -> Result<Vec<&'a Disk>> {
    let at_least = profile.disk.at_least;
    let is_fixed = |disk: &&Disk| {
        // What hangs on USB is as a rule an installer's stick; Nailgun leaves it out as well.
        !disk.is_removable && !disk.is_read_only && disk.transport.as_deref() != Some("usb")
    };
    let fixed = inventory.disks.iter().filter(is_fixed);
    let mut chosen: Vec<_> = fixed.filter(|disk| disk.size.floor_mib() >= at_least && disk.size.get() > 0).collect();
    chosen.sort_by_key(|disk| disk.size);
    if chosen.is_empty() {
        let there: Vec<_> = inventory.disks.iter().map(|disk| format!("{} {}", disk.name, disk.size)).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(Error::new(Kind::Hardware, format!("no fixed disk has {at_least}: there are {there}")));
    }
    if profile.disk.which == WhichDisks::Smallest {
        chosen.truncate(1);
    }
    Ok(chosen)
}

/// `ks_spaces`: the disks with their volumes, and the volume group `os`.
fn spaces(profile: &Profile, disks: &[&Disk], allocation: &Allocation) -> Value {
    // Nailgun lists /boot as a raid volume on every disk when there are several; one of them gets it.
    let boot_kind = if disks.len() > 1 { "raid" } else { "partition" };
    let mut spaces: Vec<Value> = disks
        .iter()
        .zip(&allocation.pvs)
        .enumerate()
        .map(|(at, (disk, &pv))| {
            let lvm_meta_size = if pv == Mib::new(0) { 0 } else { 64 };
            json!({
                "type": "disk",
                "id": disk_id(disk),
                "name": disk.name,
                "size": disk.size.floor_mib().get(),
                "free_space": 0,
                "extra": disk.by_id().map(without_dev).collect::<Vec<_>>(),
                "bootable": at == 0,
                "volumes": [
                    { "type": "boot", "size": 300 },
                    { "type": boot_kind, "mount": "/boot", "size": profile.sizes.boot.get(),
                      "file_system": profile.file_systems.boot, "name": "Boot" },
                    { "type": "lvm_meta_pool", "size": 0 },
                    { "type": "pv", "vg": "os", "size": pv.get(), "lvm_meta_size": lvm_meta_size },
                ],
            })
        })
        .collect();
    spaces.push(json!({
        "type": "vg",
        "id": "os",
        "label": "Base System",
        "min_size": allocation.root.get() + allocation.swap.get(),
        "_allocate_size": "min",
        "volumes": [
            { "type": "lv", "name": "root", "mount": "/", "size": allocation.root.get(),
              "file_system": profile.file_systems.root },
            { "type": "lv", "name": "swap", "mount": "swap", "size": allocation.swap.get(), "file_system": "swap" },
        ],
    }));
    Value::Array(spaces)
}

fn ks_meta(profile: &Profile, subject: &Subject<'_>, host: &str, spaces: Value) -> Value {
    let image = |name: &str, format: &str| {
        let container = Container::of_file_name(name).as_str();
        json!({ "uri": format!("{}/targetimages/{name}", subject.url), "format": format, "container": container })
    };
    json!({
        "pm_data": { "kernel_params": profile.kernel_params, "ks_spaces": spaces },
        "image_data": {
            "/": image(&profile.images.root, &profile.file_systems.root),
            "/boot": image(&profile.images.boot, &profile.file_systems.boot),
        },
        "repo_setup": { "repos": profile.repos },
        "master_ip": host,
        "gw": profile.network.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
        "timezone": profile.timezone,
        "authorized_keys": profile.ssh_keys.iter().map(|key| quote(key)).collect::<Vec<_>>(),
        "auth_key": quote(""),
        "user_accounts": profile.users.iter().map(account).collect::<Vec<_>>(),
        "puppet_auto_setup": 1,
        "puppet_master": host,
        "puppet_enable": 0,
        "mco_auto_setup": 1,
        "install_log_2_syslog": 1,
        "mco_pskey": "unset",
        "mco_vhost": "mcollective",
        "mco_host": host,
        "mco_user": "mcollective",
        "mco_password": "unset",
        "mco_connector": "rabbitmq",
        "mco_enable": 0,
        "mco_identity": subject.id,
    })
}

fn account(user: &User) -> Value {
    let home = match user.name.as_str() {
        "root" => "/root".to_owned(),
        name => format!("/home/{name}"),
    };
    let mut account = json!({
        "name": user.name,
        "homedir": user.homedir.clone().unwrap_or(home),
        "sudo": user.sudo,
        "ssh_keys": user.ssh_keys,
    });
    // An absent key, never null: upstream hands each on to its class as it is.
    for (key, value) in
        [("password", &user.password), ("hashed_password", &user.hashed_password), ("shell", &user.shell)]
    {
        if let Some(value) = value {
            account[key] = json!(value);
        }
    }
    account
}

/// Address and netmask of the admin interface.
fn address(profile: &Profile, subject: &Subject<'_>) -> Result<(Ipv4Addr, Ipv4Addr)> {
    if let Some(text) = profile.network.addresses.get(&subject.mac) {
        let refused = || Error::new(Kind::Usage, format!("network.addresses: {text:?}: expected ADDRESS/BITS"));
        let (address, bits) = text.split_once('/').ok_or_else(refused)?;
        let bits: u32 = bits.parse().ok().filter(|bits| (1..=32).contains(bits)).ok_or_else(refused)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        return Ok((address.parse().map_err(|_| refused())?, Ipv4Addr::from(mask)));
    }
    let reported = admin_interface(subject).and_then(|interface| interface.netmask.as_deref()?.parse().ok());
    // The first address of a machine without a netmask is in a class C network more often than in any other.
    Ok((subject.ip, reported.unwrap_or(Ipv4Addr::new(255, 255, 255, 0))))
}

fn admin_interface<'a>(subject: &Subject<'a>) -> Option<&'a crate::inventory::Interface> {
    subject.inventory.interfaces.iter().find(|interface| interface.mac.parse() == Ok(subject.mac))
}

/// Interfaces with a name that can stand in `udevrules`, and always the admin interface.
fn named_interfaces(subject: &Subject<'_>) -> Vec<(String, Mac)> {
    let is_name = |name: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        !name.is_empty() && name.len() <= 15 && name.bytes().all(is_letter)
    };
    let mut named: Vec<(String, Mac)> = Vec::new();
    for interface in &subject.inventory.interfaces {
        let Ok(mac) = interface.mac.parse::<Mac>() else { continue };
        if is_name(&interface.name) && named.iter().all(|(name, known)| *name != interface.name && *known != mac) {
            named.push((interface.name.clone(), mac));
        }
    }
    if named.iter().all(|(_, mac)| *mac != subject.mac) {
        named.push(("admin".to_owned(), subject.mac));
    }
    named
}

fn udev_rules(subject: &Subject<'_>) -> String {
    let rules: Vec<_> = named_interfaces(subject).iter().map(|(name, mac)| format!("{mac}_{name}")).collect();
    rules.join(",")
}

fn interfaces(subject: &Subject<'_>, (address, netmask): (Ipv4Addr, Ipv4Addr), fqdn: &str) -> Value {
    let mut interfaces = Map::new();
    for (name, mac) in named_interfaces(subject) {
        let mut interface = json!({ "mac_address": mac.to_string(), "static": "0" });
        if mac == subject.mac {
            interface["ip_address"] = json!(address.to_string());
            interface["netmask"] = json!(netmask.to_string());
            interface["dns_name"] = json!(fqdn);
        }
        interfaces.insert(name, interface);
    }
    Value::Object(interfaces)
}

fn interfaces_extra(subject: &Subject<'_>) -> Value {
    let extra = named_interfaces(subject).into_iter().map(|(name, mac)| {
        let onboot = if mac == subject.mac { "yes" } else { "no" };
        (name, json!({ "peerdns": "no", "onboot": onboot }))
    });
    Value::Object(extra.collect())
}

/// network-config v2 for DHCP on the interface with this address, whatever the installed kernel calls it.
fn dhcp_network(subject: &Subject<'_>) -> Value {
    let name = named_interfaces(subject).into_iter().find(|(_, mac)| *mac == subject.mac);
    let name = name.map_or_else(|| "admin".to_owned(), |(name, _)| name);
    let interface = json!({ "match": { "macaddress": subject.mac.to_string() }, "set-name": name, "dhcp4": true });
    json!({ "version": 2, "ethernets": { name: interface } })
}

fn name_servers(profile: &Profile, host: &str) -> Vec<String> {
    match profile.network.name_servers.as_slice() {
        [] => vec![host.to_owned()],
        servers => servers.iter().map(ToString::to_string).collect(),
    }
}

fn search_domains(profile: &Profile) -> Vec<String> {
    match profile.network.search.as_slice() {
        [] => vec![profile.domain.clone()],
        search => search.to_vec(),
    }
}

/// The host of `http://HOST[:PORT][/..]`.
fn master_host(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let rest = rest.split('/').next().unwrap_or(rest);
    rest.rsplit_once(':').map_or(rest, |(host, _)| host)
}

/// By-path link without `/dev/`, or the kernel name.
fn disk_id(disk: &Disk) -> String {
    disk.by_path().next().map_or_else(|| disk.name.clone(), without_dev)
}

fn without_dev(link: &str) -> String {
    link.trim_start_matches("/dev/").to_owned()
}

/// Cobbler wants its strings in literal double quotes.
fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

fn quoted(words: &[String]) -> String {
    quote(&words.join(","))
}

/// Lays objects over objects key by key; anything else replaces what was there.
fn lay_over(below: &mut Value, above: &Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(inner @ Value::Object(_)), Value::Object(value)) => lay_over(inner, value),
            _ => below[key.as_str()] = value.clone(),
        }
    }
}

/// An inventory from a Nailgun discovery report, for agents that send nothing else. Whether the disks are empty is not
/// known then.
pub(crate) fn inventory_of_discovery(payload: &Value) -> Inventory {
    use crate::inventory::{Interface, Memory};
    let list = |pointer: &str| payload.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let disks = list("/meta/disks").filter_map(|disk| {
        let name = text(disk, "name")?;
        let by_path = text(disk, "disk").filter(|link| link.starts_with("disk/"));
        let by_id = disk.get("extra").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let links = by_id.map(str::to_owned).chain(by_path).map(|link| format!("/dev/{link}"));
        let is_removable = text(disk, "removable").as_deref() == Some("1");
        Some(bare_disk(&name, disk.get("size")?.as_u64()?, links.collect(), is_removable))
    });
    let interfaces = list("/meta/interfaces").filter_map(|interface| {
        Some(Interface {
            name: text(interface, "name")?,
            mac: text(interface, "mac")?.to_ascii_lowercase(),
            netmask: text(interface, "netmask"),
            ip: text(interface, "ip"),
            ..Interface::default()
        })
    });
    let memory = payload.pointer("/meta/memory/total").and_then(Value::as_u64).unwrap_or(0);
    Inventory {
        disks: disks.collect(),
        interfaces: interfaces.collect(),
        memory: Memory { total: Bytes::new(memory) },
        ..Inventory::default()
    }
}

fn bare_disk(name: &str, size: u64, links: Vec<String>, is_removable: bool) -> Disk {
    Disk { links, is_removable, ..Disk::unknown(name, Bytes::new(size)) }
}
