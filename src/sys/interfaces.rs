//! The addresses of the network interfaces, as the kernel tells them now.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use log::warn;
use nix::ifaddrs::getifaddrs;

/// The last IPv4 address of each interface and its netmask; empty when the kernel does not tell.
#[must_use]
pub fn ipv4_addresses() -> BTreeMap<String, (Ipv4Addr, Ipv4Addr)> {
    let interfaces = match getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            warn!("reading the addresses of the interfaces: {error}");
            return BTreeMap::new();
        }
    };
    interfaces
        .filter_map(|interface| {
            let ip = interface.address?.as_sockaddr_in()?.ip();
            let mask = interface.netmask?.as_sockaddr_in()?.ip();
            Some((interface.interface_name, (ip, mask)))
        })
        .collect()
}
