//! The machine in Nailgun's words: the payload of its discovery interface.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};

use super::{Cpu, Disk, Interface, Inventory, System};

/// In which life of a node it reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From the bootstrap: it asks to be discovered.
    Bootstrap,
    /// From its installed system.
    Installed,
}

/// What the payload needs beside the inventory.
#[derive(Debug, Clone)]
pub struct Context {
    /// In which life of the node.
    pub mode: Mode,
    /// Addresses of the master; the interface whose network holds one is the admin interface.
    pub master: Vec<IpAddr>,
    /// UUID of the bootstrap image, where it has one.
    pub runtime_uuid: Option<String>,
    /// Whether USB disks are reported; installer sticks are USB disks.
    pub report_usb: bool,
}

/// The payload, or nothing when no interface can stand for the node.
///
/// It is the subset of Nailgun's payload that is known, names and types as the server's schema wants them: a value that
/// is not known is left out, and null stands only where the schema takes it. The same machine gives the same
/// `agent_checksum`: lists are in a fixed order, and the processors' clock, which moves by itself, is not part of it.
#[must_use]
pub fn payload(inventory: &Inventory, context: &Context) -> Option<Value> {
    let admin = admin_interface(&inventory.interfaces, &context.master)?;
    let system = &inventory.system;
    let mut payload = Map::new();
    payload.insert("mac".to_owned(), json!(admin.mac));
    put(&mut payload, "ip", admin.ip.as_deref());
    put(&mut payload, "os_platform", system.os.as_deref());
    put(&mut payload, "manufacturer", manufacturer(system));
    put(&mut payload, "platform_name", system.product.as_deref());
    let disks = inventory.disks.iter().filter(|disk| context.report_usb || disk.transport.as_deref() != Some("usb"));
    let meta = json!({
        "system": system_of(system, context.runtime_uuid.as_deref()),
        "interfaces": inventory.interfaces.iter().map(|one| interface_of(one, admin)).collect::<Vec<_>>(),
        "cpu": cpu_of(&inventory.cpu),
        "disks": disks.map(disk_of).collect::<Vec<_>>(),
        "memory": { "total": inventory.memory.total.get() },
        "pci_devices": {},
    });
    payload.insert("meta".to_owned(), meta);
    if context.mode == Mode::Bootstrap {
        payload.insert("status".to_owned(), json!("discover"));
    }
    payload.insert("is_agent".to_owned(), json!(true));
    let mut payload = Value::Object(payload);
    let checksum = checksum(&payload);
    payload["agent_checksum"] = json!(checksum);
    Some(payload)
}

/// The interface on the master's network, else the one that PXE or the default route uses, else the only one.
fn admin_interface<'a>(interfaces: &'a [Interface], master: &[IpAddr]) -> Option<&'a Interface> {
    let holds_master = |interface: &&Interface| {
        let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Ipv4Addr>().ok());
        let (Some(ip), Some(mask)) = (address(&interface.ip), address(&interface.netmask)) else { return false };
        master.iter().any(|master| matches!(master, IpAddr::V4(master) if *master & mask == ip & mask))
    };
    let on_network = interfaces.iter().find(holds_master);
    let by_boot = || interfaces.iter().find(|interface| interface.is_pxe);
    let only = || interfaces.first().filter(|_| interfaces.len() == 1);
    on_network.or_else(by_boot).or_else(only)
}

fn put(object: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), json!(value));
    }
}

/// Upstream reports VirtualBox by its product name, since its maker's name says nothing.
fn manufacturer(system: &System) -> Option<&str> {
    system.product.as_deref().filter(|product| *product == "VirtualBox").or(system.manufacturer.as_deref())
}

fn system_of(system: &System, runtime_uuid: Option<&str>) -> Value {
    let mut object = Map::new();
    put(&mut object, "manufacturer", manufacturer(system));
    put(&mut object, "serial", system.serial.as_deref());
    put(&mut object, "uuid", system.uuid.as_deref().map(str::to_ascii_uppercase).as_deref());
    put(&mut object, "runtime_uuid", runtime_uuid);
    put(&mut object, "product", system.product.as_deref());
    put(&mut object, "family", system.family.as_deref());
    put(&mut object, "version", system.version.as_deref());
    put(&mut object, "fqdn", system.hostname.as_deref());
    Value::Object(object)
}

fn interface_of(interface: &Interface, admin: &Interface) -> Value {
    let mut object = Map::new();
    put(&mut object, "name", Some(&interface.name));
    put(&mut object, "mac", Some(&interface.mac));
    put(&mut object, "state", Some(&interface.state));
    put(&mut object, "ip", interface.ip.as_deref());
    put(&mut object, "netmask", interface.netmask.as_deref());
    put(&mut object, "driver", interface.driver.as_deref());
    put(&mut object, "bus_info", interface.bus_info.as_deref());
    object.insert("pxe".to_owned(), json!(interface.mac == admin.mac));
    object.insert("current_speed".to_owned(), json!(interface.speed));
    object.insert("offloading_modes".to_owned(), json!([]));
    let functions = interface.sriov_vfs.unwrap_or(0);
    object.insert(
        "interface_properties".to_owned(),
        json!({
            // Upstream keeps one function for the host itself.
            "sriov": {
                "sriov_totalvfs": functions.saturating_sub(1),
                "available": functions > 0,
                "pci_id": interface.sriov_pci_id.as_deref().unwrap_or(""),
            },
            "pci_id": interface.pci_id.as_deref().unwrap_or(""),
            "numa_node": interface.numa_node,
            "max_queues": null,
        }),
    );
    Value::Object(object)
}

fn cpu_of(cpu: &Cpu) -> Value {
    let mut spec = Map::new();
    if let Some(mhz) = cpu.mhz {
        spec.insert("frequency".to_owned(), json!(mhz));
    }
    put(&mut spec, "model", cpu.model.as_deref());
    let specs: Vec<_> = (0..cpu.threads).map(|_| Value::Object(spec.clone())).collect();
    json!({ "total": cpu.threads, "real": cpu.sockets, "spec": specs })
}

fn disk_of(disk: &Disk) -> Value {
    let relative = |link: &str| link.strip_prefix("/dev/").unwrap_or(link).to_owned();
    let extra: Vec<_> = disk.by_id().map(relative).collect();
    let mut object = Map::new();
    put(&mut object, "name", Some(&disk.name));
    object.insert("model".to_owned(), json!(disk.model));
    object.insert("size".to_owned(), json!(disk.size.get()));
    object.insert("extra".to_owned(), json!(extra));
    if disk.is_multipath() {
        let by_path = |links: &Vec<String>| links.iter().find(|link| link.starts_with("/dev/disk/by-path/")).cloned();
        let paths: Vec<_> =
            disk.paths.iter().filter_map(|path| by_path(&path.links)).map(|link| relative(&link)).collect();
        object.insert("disk".to_owned(), json!(format!("dm-{}", disk.minor)));
        object.insert("removable".to_owned(), json!(0));
        object.insert("paths".to_owned(), json!(paths.join(", ")));
    } else {
        let by_path = disk.by_path().next().map_or_else(|| disk.name.clone(), relative);
        object.insert("disk".to_owned(), json!(by_path));
        object.insert("removable".to_owned(), json!(if disk.is_removable { "1" } else { "0" }));
        object.insert("paths".to_owned(), Value::Null);
        object.insert("opt_io".to_owned(), json!(disk.optimal_io.unwrap_or(512)));
    }
    Value::Object(object)
}

/// SHA-1 over the payload with sorted keys; the server only compares it with the one before.
fn checksum(payload: &Value) -> String {
    let mut steady = payload.clone();
    if let Some(Value::Array(specs)) = steady.pointer_mut("/meta/cpu/spec") {
        for spec in specs.iter_mut().filter_map(Value::as_object_mut) {
            spec.remove("frequency");
        }
    }
    let mut digest = Sha1::new();
    feed(&mut digest, &steady);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds a value in one form only: keys sorted, whatever order the map keeps them in.
fn feed(digest: &mut Sha1, value: &Value) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort_unstable();
            digest.update("{");
            for key in keys {
                digest.update(format!("{key:?}:"));
                feed(digest, &object[key]);
            }
            digest.update("}");
        }
        Value::Array(elements) => {
            digest.update("[");
            for element in elements {
                feed(digest, element);
                digest.update(",");
            }
            digest.update("]");
        }
        scalar => digest.update(scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::inventory::from_json;

    fn context(mode: Mode) -> Context {
        Context { mode, master: vec![IpAddr::from([10, 20, 0, 2])], runtime_uuid: None, report_usb: false }
    }

    /// The machine of fixture 04: two paths to one LUN, a plain disk, an interface on the master's network.
    fn machine() -> Inventory {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hardware/08-fc-multipath.json");
        let mut inventory = from_json(&std::fs::read(folder).unwrap()).unwrap();
        let interface = |name: &str, mac: &str| Interface {
            name: name.to_owned(),
            mac: mac.to_owned(),
            state: "up".to_owned(),
            driver: Some("ixgbe".to_owned()),
            bus_info: Some("0000:02:00.0".to_owned()),
            speed: Some(10_000),
            pci_id: Some("8086:10fb".to_owned()),
            numa_node: Some(0),
            ..Interface::default()
        };
        let admin = interface("ens1f0", "52:54:00:00:04:00");
        let address = |text: &str| Some(text.to_owned());
        let admin = Interface { ip: address("10.20.0.104"), netmask: address("255.255.255.0"), ..admin };
        inventory.interfaces = vec![Interface { is_pxe: true, ..interface("ens1f1", "52:54:00:00:04:01") }, admin];
        inventory.cpu =
            Cpu { model: Some("Example CPU".to_owned()), sockets: 1, threads: 2, mhz: Some(3000), flags: vec![] };
        inventory.memory.total = crate::units::Bytes::new(137_438_953_472);
        inventory.system.os = Some("ubuntu".to_owned());
        inventory.system.uuid = Some("4c4c4544-0000-1000-8000-000000000001".to_owned());
        inventory
    }

    fn fixture(name: &str) -> Value {
        let path = format!("{}/tests/fixtures/discovery/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn disks_are_told_as_upstream_tells_them() {
        let payload = payload(&machine(), &context(Mode::Bootstrap)).unwrap();
        let mut expected = fixture("04-bootstrap-multipath")["meta"]["disks"].clone();
        // A bare list knows no model, and lists are sorted here so that the checksum is stable.
        expected[1]["model"] = Value::Null;
        expected[1]["extra"] = json!(["disk/by-id/scsi-35000000000000c01", "disk/by-id/wwn-0x5000000000000c01"]);
        expected[0]["paths"] =
            json!("disk/by-path/pci-0000:81:00.0-fc-0x500-lun-0, disk/by-path/pci-0000:81:00.1-fc-0x501-lun-0");
        assert_eq!(payload["meta"]["disks"], expected);
    }

    #[test]
    fn the_interface_on_the_masters_network_stands_for_the_node() {
        let payload = payload(&machine(), &context(Mode::Bootstrap)).unwrap();
        assert_eq!((&payload["mac"], &payload["ip"]), (&json!("52:54:00:00:04:00"), &json!("10.20.0.104")));
        let pxe: Vec<_> =
            payload["meta"]["interfaces"].as_array().unwrap().iter().map(|one| one["pxe"].clone()).collect();
        assert_eq!(pxe, [json!(false), json!(true)]);
    }

    #[test]
    fn without_the_masters_network_the_interface_that_booted_stands_for_the_node() {
        let far = Context { master: vec![IpAddr::from([192, 0, 2, 1])], ..context(Mode::Bootstrap) };
        assert_eq!(payload(&machine(), &far).unwrap()["mac"], "52:54:00:00:04:01");
    }

    #[test]
    fn only_a_node_in_the_bootstrap_asks_to_be_discovered() {
        assert_eq!(payload(&machine(), &context(Mode::Bootstrap)).unwrap()["status"], "discover");
        assert_eq!(payload(&machine(), &context(Mode::Installed)).unwrap().get("status"), None);
    }

    #[test]
    fn checksum_changes_with_the_machine_and_not_with_its_clock() {
        let checksum =
            |inventory: &Inventory| payload(inventory, &context(Mode::Bootstrap)).unwrap()["agent_checksum"].clone();
        let mut other = machine();
        let before = checksum(&other);
        assert_eq!(before.as_str().map(str::len), Some(40));
        other.cpu.mhz = Some(1200);
        assert_eq!(checksum(&other), before);
        other.disks.pop();
        assert_ne!(checksum(&other), before);
    }

    /// Every place of a document with the kinds of values that stand there.
    fn kinds(value: &Value, path: &str, found: &mut BTreeMap<String, Vec<&'static str>>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(elements) => {
                elements.iter().for_each(|element| kinds(element, &format!("{path}[]"), found));
                "list"
            }
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| kinds(value, &format!("{path}.{key}"), found));
                "object"
            }
        };
        found.entry(path.to_owned()).or_default().push(kind);
    }

    #[test]
    fn every_value_has_the_name_and_type_of_upstreams() {
        let mut known = BTreeMap::new();
        for name in
            ["01-bootstrap-baremetal", "02-bootstrap-virtio-vm", "03-target-provisioned", "04-bootstrap-multipath"]
        {
            kinds(&fixture(name), "", &mut known);
        }
        let mut inventory = machine();
        inventory.interfaces[0].speed = None;
        inventory.system.serial = Some("EX1".to_owned());
        let mut ours = BTreeMap::new();
        kinds(&payload(&inventory, &context(Mode::Bootstrap)).unwrap(), "", &mut ours);
        for (path, found) in ours {
            let allowed = known.get(&path).unwrap_or_else(|| panic!("{path} is no field of upstream's"));
            // Upstream's tool was there whenever these samples were taken; the reference allows null.
            let is_optional = path.ends_with(".max_queues");
            let is_right = |kind: &&str| allowed.contains(kind) || (is_optional && *kind == "null");
            let wrong: Vec<_> = found.into_iter().filter(|kind| !is_right(kind)).collect();
            assert_eq!(wrong, Vec::<&str>::new(), "{path}: upstream has {allowed:?}");
        }
    }
}
