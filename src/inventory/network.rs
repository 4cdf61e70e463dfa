//! Physical network interfaces and their addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::tree::{TABLE_LIMIT, Tree};
use super::{Interface, natural_key};

/// An IPv4 address and its netmask.
type Address = (Ipv4Addr, Ipv4Addr);

/// Physical interfaces, by name in natural order.
pub(super) fn interfaces(tree: &Tree) -> Vec<Interface> {
    let addresses = if tree.is_live() { crate::sys::interfaces::ipv4_addresses() } else { saved_addresses(tree) };
    let mut interfaces: Vec<_> = tree
        .names("/sys/class/net")
        .into_iter()
        .filter(|name| is_physical(tree, name))
        .filter_map(|name| interface(tree, &name, &addresses))
        .collect();
    interfaces.sort_by_cached_key(|interface| natural_key(&interface.name));
    mark_pxe(tree, &mut interfaces);
    interfaces
}

/// Whether it is a port of the machine: no loopback, bond, bridge, VLAN, tunnel, radio or SR-IOV virtual function.
fn is_physical(tree: &Tree, name: &str) -> bool {
    let base = format!("/sys/class/net/{name}");
    // ARPHRD_ETHER, include/uapi/linux/if_arp.h.
    let is_ethernet = tree.attribute(&format!("{base}/type")).as_deref() == Some("1");
    let is_virtual = tree.resolve(&base).is_none_or(|path| path.contains("/virtual/"));
    let has = |attribute: &str| tree.exists(&format!("{base}/{attribute}"));
    is_ethernet && !is_virtual && !name.contains('@') && !has("phy80211") && !has("wireless") && !has("device/physfn")
}

fn interface(tree: &Tree, name: &str, addresses: &BTreeMap<String, Address>) -> Option<Interface> {
    let base = format!("/sys/class/net/{name}");
    // A bond gives all its ports one address; the bonding driver keeps the port's own.
    let own = tree.attribute(&format!("{base}/bonding_slave/perm_hwaddr")).filter(|mac| is_mac(mac));
    let Some(mac) = own.or_else(|| tree.attribute(&format!("{base}/address")).filter(|mac| is_mac(mac))) else {
        tree.warn(name, "left out: it has no MAC address");
        return None;
    };
    let pci = pci_address(tree, &format!("{base}/device"));
    let pci_attribute = |attribute: &str| {
        pci.as_ref().and_then(|address| tree.attribute(&format!("/sys/bus/pci/devices/{address}/{attribute}")))
    };
    let vendor = pci_attribute("vendor");
    let pci_id = |device: Option<String>| {
        Some(format!("{}:{}", vendor.as_deref()?.trim_start_matches("0x"), device?.trim_start_matches("0x")))
    };
    let address = addresses.get(name);
    Some(Interface {
        mac: mac.to_ascii_lowercase(),
        state: match tree.attribute(&format!("{base}/operstate")).as_deref() {
            Some(state @ ("up" | "down")) => state.to_owned(),
            _ => "unknown".to_owned(),
        },
        ip: address.map(|(ip, _)| ip.to_string()),
        netmask: address.map(|(_, mask)| mask.to_string()),
        is_pxe: false,
        driver: tree.link_name(&format!("{base}/device/driver")),
        // The kernel answers EINVAL while the interface is down, and -1 where the driver does not know.
        speed: tree.attribute_if_shown(&format!("{base}/speed")).and_then(|speed| speed.parse().ok()),
        has_carrier: tree.attribute_if_shown(&format!("{base}/carrier")).map(|carrier| carrier == "1"),
        pci_id: pci_id(pci_attribute("device")),
        // -1 on machines without NUMA.
        numa_node: pci_attribute("numa_node").and_then(|node| node.parse().ok()),
        mtu: tree.number(&format!("{base}/mtu")),
        sriov_vfs: pci_attribute("sriov_totalvfs").and_then(|count| count.parse().ok()),
        sriov_pci_id: pci_id(pci_attribute("sriov_vf_device")),
        bus_info: pci.or_else(|| tree.link_name(&format!("{base}/device"))),
        name: name.to_owned(),
    })
}

/// The PCI address of the device or of the nearest parent that has one: a virtio device hangs below its PCI function.
fn pci_address(tree: &Tree, device: &str) -> Option<String> {
    let path = tree.resolve(device)?;
    path.rsplit('/').find(|component| is_pci_address(component)).map(str::to_owned)
}

/// `0000:02:00.0`
fn is_pci_address(text: &str) -> bool {
    let parts: Vec<_> = text.split([':', '.']).collect();
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.as_slice(), [domain, bus, slot, function]
        if domain.len() >= 4 && bus.len() == 2 && slot.len() == 2 && function.len() == 1 && parts.iter().all(|part| hex(part)))
        && text.contains('.')
}

fn is_mac(text: &str) -> bool {
    let mut bytes = text.split(':').map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok()).flatten());
    text.split(':').count() == 6 && bytes.clone().all(|byte| byte.is_some()) && bytes.any(|byte| byte != Some(0))
}

/// Marks the interface that the firmware booted from, else that of the default route.
fn mark_pxe(tree: &Tree, interfaces: &mut [Interface]) {
    let boot_mac = tree.text("/proc/cmdline", 64 << 10).as_deref().and_then(boot_interface);
    let routes = tree.text("/proc/net/route", TABLE_LIMIT).unwrap_or_default();
    let default_route =
        parse_routes(&routes).into_iter().find(|route| route.mask.is_unspecified()).map(|route| route.name);
    let by_mac = boot_mac.and_then(|mac| interfaces.iter().position(|interface| interface.mac == mac));
    let by_route = || default_route.and_then(|name| interfaces.iter().position(|interface| interface.name == name));
    if let Some(interface) = by_mac.or_else(by_route).and_then(|index| interfaces.get_mut(index)) {
        interface.is_pxe = true;
    }
}

/// The MAC address in `BOOTIF=01-aa-bb-cc-dd-ee-ff` (pxelinux' form, 01 being Ethernet) of a kernel command line.
#[must_use]
pub fn boot_interface(cmdline: &str) -> Option<String> {
    let value = cmdline.split_whitespace().rev().find_map(|word| word.strip_prefix("BOOTIF="))?;
    let value = value.replace('-', ":").to_ascii_lowercase();
    let mac = if value.len() == 20 { value.strip_prefix("01:")? } else { value.as_str() };
    is_mac(mac).then(|| mac.to_owned())
}

struct Route {
    name: String,
    network: Ipv4Addr,
    mask: Ipv4Addr,
    is_direct: bool,
}

/// Reads `/proc/net/route`; addresses in it are words in the byte order of the machine.
fn parse_routes(text: &str) -> Vec<Route> {
    let word =
        |field: Option<&&str>| u32::from_str_radix(field?, 16).ok().map(|word| Ipv4Addr::from(word.to_ne_bytes()));
    let read = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        Some(Route {
            name: (*fields.first()?).to_owned(),
            network: word(fields.get(1))?,
            mask: word(fields.get(7))?,
            is_direct: word(fields.get(2))?.is_unspecified(),
        })
    };
    text.lines().skip(1).filter_map(read).collect()
}

/// The addresses of a saved machine: `/proc/net/fib_trie` tells which are its own, the direct routes whose they are.
fn saved_addresses(tree: &Tree) -> BTreeMap<String, Address> {
    let trie = tree.text("/proc/net/fib_trie", TABLE_LIMIT).unwrap_or_default();
    let routes = parse_routes(&tree.text("/proc/net/route", TABLE_LIMIT).unwrap_or_default());
    assign(&local_addresses(&trie), &routes)
}

/// The `host LOCAL` entries of the trie.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.parse().ok();
        } else if line.ends_with("host LOCAL") {
            addresses.extend(last);
        }
    }
    addresses
}

fn assign(addresses: &[Ipv4Addr], routes: &[Route]) -> BTreeMap<String, Address> {
    let mut owned = BTreeMap::new();
    for &address in addresses {
        let holds = |route: &&Route| {
            route.is_direct && !route.mask.is_unspecified() && (address & route.mask) == (route.network & route.mask)
        };
        if let Some(route) = routes.iter().filter(holds).max_by_key(|route| route.mask) {
            owned.insert(route.name.clone(), (address, route.mask));
        }
    }
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_interface_is_read_in_the_form_of_pxelinux() {
        let expected = Some("52:54:00:ab:cd:ef");
        assert_eq!(boot_interface("quiet BOOTIF=01-52-54-00-AB-CD-EF boot=bedplate").as_deref(), expected);
        assert_eq!(boot_interface("BOOTIF=52:54:00:ab:cd:ef").as_deref(), expected);
        assert_eq!(boot_interface("BOOTIF=01-00-00-00-00-00-00"), None);
        assert_eq!(boot_interface("BOOTIF=ü1-52-54-00-AB-CD-EF quiet"), None);
    }

    #[test]
    fn addresses_of_a_saved_machine_belong_to_the_interface_of_their_route() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.2.0/24 2 0 2\n        \
                    |-- 10.0.2.0\n           /24 link UNICAST\n        |-- 10.0.2.15\n           /32 host LOCAL\n        \
                    |-- 10.0.2.255\n           /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let word = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let routes = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0\neth0\t{}\t{}\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            word([0; 4]),
            word([10, 0, 2, 2]),
            word([0; 4]),
            word([10, 0, 2, 0]),
            word([0; 4]),
            word([255, 255, 255, 0]),
        );
        let owned = assign(&local_addresses(trie), &parse_routes(&routes));
        let expected = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(owned, BTreeMap::from([("eth0".to_owned(), expected)]));
    }

    #[test]
    fn only_pci_functions_are_taken_for_pci_addresses() {
        assert!(is_pci_address("0000:02:00.0"));
        assert!(is_pci_address("10000:e1:00.0"));
        assert!(!is_pci_address("pci0000:00"));
        assert!(!is_pci_address("virtio1"));
    }
}
