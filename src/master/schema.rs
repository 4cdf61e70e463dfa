//! The limits that Nailgun's schema sets for a discovery report; every violation is named with its path.

use std::net::IpAddr;

use serde_json::Value;

use super::discovery::interface_macs;
use super::ident::{self, Mac};
use super::refusal::Refusal;

/// More interfaces than any machine has.
const MAX_INTERFACES: usize = 1024;
/// More disks than any machine has.
const MAX_DISKS: usize = 8192;
/// More logical processors than any machine has.
const MAX_PROCESSORS: usize = 65_536;
/// Nailgun's column for the checksum.
const CHECKSUM_LENGTH: usize = 40;
/// Violations that an answer lists.
const VIOLATIONS_TOLD: usize = 20;

/// A report that keeps the limits.
#[derive(Debug)]
pub(crate) struct Report {
    pub mac: Option<Mac>,
    pub id: Option<u32>,
    pub ip: Option<IpAddr>,
    pub status: Option<String>,
    pub checksum: Option<String>,
    pub has_interfaces: bool,
    pub interface_macs: Vec<Mac>,
    /// Name and size in bytes of each disk.
    pub disks: Vec<(String, u64)>,
    /// The whole report, interfaces without a name or an address left out.
    pub payload: Value,
}

/// Reads a report.
///
/// # Errors
/// 400 with every violation.
pub(crate) fn parse(body: &[u8]) -> Result<Report, Refusal> {
    let mut payload: Value =
        serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
    if !payload.is_object() {
        return Err(Refusal::bad(format!("the body: expected an object, got {}", kind(&payload))));
    }
    drop_nameless_interfaces(&mut payload);
    let mut check = Check { payload: &payload, violations: Vec::new() };
    check.top_level();
    check.interfaces();
    check.disks();
    check.processors();
    check.numa();
    let violations = check.violations;
    if !violations.is_empty() {
        return Err(Refusal::violations(violations));
    }
    let text = |key: &str| payload.get(key).and_then(Value::as_str);
    let disks = payload.pointer("/meta/disks").and_then(Value::as_array).into_iter().flatten();
    Ok(Report {
        mac: text("mac").and_then(Mac::from_nailgun),
        id: payload.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()),
        ip: text("ip").and_then(|ip| ip.parse().ok()),
        status: text("status").map(str::to_owned),
        checksum: text("agent_checksum").map(str::to_owned),
        has_interfaces: payload.pointer("/meta/interfaces").is_some(),
        interface_macs: interface_macs(&payload),
        disks: disks
            .filter_map(|disk| Some((disk.get("name")?.as_str()?.to_owned(), size(disk.get("size")?)?)))
            .collect(),
        payload,
    })
}

/// Nailgun drops interfaces without a non-empty `mac` or `name` before it checks the rest.
fn drop_nameless_interfaces(payload: &mut Value) {
    let Some(Value::Array(interfaces)) = payload.pointer_mut("/meta/interfaces") else { return };
    let is_text = |interface: &Value, key: &str| {
        interface.get(key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
    };
    interfaces.retain(|interface| !interface.is_object() || (is_text(interface, "mac") && is_text(interface, "name")));
}

/// A whole number of bytes, also when it was written as `480103981056.0`.
fn size(value: &Value) -> Option<u64> {
    if let Some(size) = value.as_u64() {
        return Some(size);
    }
    // Exact: a float that prints without a fraction below 2^64 is a whole number.
    format!("{:.0}", value.as_f64().filter(|size| *size >= 0.0)?).parse().ok()
}

struct Check<'a> {
    payload: &'a Value,
    violations: Vec<String>,
}

impl Check<'_> {
    fn refuse(&mut self, path: &str, expected: &str, value: &Value) {
        if self.violations.len() < VIOLATIONS_TOLD {
            self.violations.push(format!("{path}: expected {expected}, got {}", kind(value)));
        }
    }

    /// Checks the value at `path`, where there is one.
    fn value(&mut self, path: &str, value: Option<&Value>, expected: &str, is_right: impl Fn(&Value) -> bool) {
        if let Some(value) = value.filter(|value| !is_right(value)) {
            self.refuse(path, expected, value);
        }
    }

    fn top_level(&mut self) {
        let payload = self.payload;
        self.value("mac", payload.get("mac"), "aa:bb:cc:dd:ee:ff", is_mac);
        self.value("ip", payload.get("ip"), "an IP address or null", is_ip_or_null);
        self.value("id", payload.get("id"), "a positive integer", |id| id.as_u64().is_some_and(|id| id > 0));
        for key in ["os_platform", "manufacturer", "platform_name"] {
            self.value(key, payload.get(key), "a string or null", |value| value.is_string() || value.is_null());
        }
        self.value("status", payload.get("status"), "a string", Value::is_string);
        self.value("is_agent", payload.get("is_agent"), "true or false", Value::is_boolean);
        let is_checksum =
            |value: &Value| value.as_str().is_some_and(|text| text.len() <= CHECKSUM_LENGTH && text.is_ascii());
        self.value("agent_checksum", payload.get("agent_checksum"), "at most 40 characters", is_checksum);
        self.value("meta", payload.get("meta"), "an object", Value::is_object);
        for key in ["system", "cpu", "memory"] {
            let value = payload.pointer(&format!("/meta/{key}"));
            self.value(&format!("meta.{key}"), value, "an object", Value::is_object);
        }
        let total = payload.pointer("/meta/memory/total");
        self.value("meta.memory.total", total, "a number", Value::is_number);
    }

    /// The items of a list that is no longer than any machine makes it.
    fn list(&mut self, path: &str, pointer: &str, limit: usize) -> Vec<Value> {
        match self.payload.pointer(pointer) {
            None => Vec::new(),
            Some(Value::Array(items)) if items.len() <= limit => items.clone(),
            Some(value @ Value::Array(_)) => {
                self.refuse(path, &format!("at most {limit} items"), value);
                Vec::new()
            }
            Some(other) => {
                self.refuse(path, "a list", other);
                Vec::new()
            }
        }
    }

    fn interfaces(&mut self) {
        for (at, interface) in self.list("meta.interfaces", "/meta/interfaces", MAX_INTERFACES).iter().enumerate() {
            let path = |key: &str| format!("meta.interfaces[{at}].{key}");
            if !interface.is_object() {
                self.refuse(path("").trim_end_matches('.'), "an object", interface);
                continue;
            }
            self.value(&path("mac"), interface.get("mac"), "aa:bb:cc:dd:ee:ff", is_mac);
            for key in ["name", "driver", "bus_info", "state"] {
                self.value(&path(key), interface.get(key), "a string", Value::is_string);
            }
            for key in ["ip", "netmask"] {
                self.value(&path(key), interface.get(key), "an IP address or null", is_ip_or_null);
            }
        }
    }

    fn disks(&mut self) {
        for (at, disk) in self.list("meta.disks", "/meta/disks", MAX_DISKS).iter().enumerate() {
            let path = |key: &str| format!("meta.disks[{at}].{key}");
            if !disk.is_object() {
                self.refuse(path("").trim_end_matches('.'), "an object", disk);
                continue;
            }
            let is_device = |value: &Value| value.as_str().is_some_and(is_device_name);
            self.value(&path("name"), Some(disk.get("name").unwrap_or(&Value::Null)), "a device name", is_device);
            self.value(&path("model"), disk.get("model"), "a string or null", |v| v.is_string() || v.is_null());
            self.value(&path("size"), Some(disk.get("size").unwrap_or(&Value::Null)), "a number of bytes", |value| {
                size(value).is_some()
            });
            self.value(&path("disk"), disk.get("disk"), "a device name", is_device);
            let is_links =
                |value: &Value| value.as_array().is_some_and(|links| links.len() <= 256 && links.iter().all(is_device));
            self.value(&path("extra"), disk.get("extra"), "a list of device links", is_links);
        }
    }

    fn processors(&mut self) {
        for (at, spec) in self.list("meta.cpu.spec", "/meta/cpu/spec", MAX_PROCESSORS).iter().enumerate() {
            let path = |key: &str| format!("meta.cpu.spec[{at}].{key}");
            self.value(&path("model"), spec.get("model"), "a string", Value::is_string);
            self.value(&path("frequency"), spec.get("frequency"), "a number", Value::is_number);
        }
        for key in ["total", "real"] {
            let value = self.payload.pointer(&format!("/meta/cpu/{key}"));
            self.value(&format!("meta.cpu.{key}"), value, "a number", Value::is_number);
        }
    }

    fn numa(&mut self) {
        let Some(numa) = self.payload.pointer("/meta/numa_topology") else { return };
        if !numa.is_object() {
            return self.refuse("meta.numa_topology", "an object", numa);
        }
        let required = |key: &str| numa.get(key).unwrap_or(&Value::Null);
        let path = |key: &str| format!("meta.numa_topology.{key}");
        let is_pages = |value: &Value| value.as_array().is_some_and(|pages| pages.iter().all(Value::is_number));
        self.value(&path("supported_hugepages"), Some(required("supported_hugepages")), "a list of numbers", is_pages);
        let is_node = |node: &Value| {
            node.get("id").is_some_and(Value::is_number)
                && node.get("cpus").is_some_and(Value::is_array)
                && node.get("memory").is_some_and(Value::is_number)
        };
        let is_nodes =
            |value: &Value| value.as_array().is_some_and(|nodes| !nodes.is_empty() && nodes.iter().all(is_node));
        let expected = "at least one object with id, cpus and memory";
        self.value(&path("numa_nodes"), Some(required("numa_nodes")), expected, is_nodes);
        let is_row = |row: &Value| row.as_array().is_some_and(|row| row.iter().all(Value::is_string));
        let is_rows = |value: &Value| value.as_array().is_some_and(|rows| rows.iter().all(is_row));
        self.value(&path("distances"), Some(required("distances")), "rows of strings", is_rows);
    }
}

fn is_mac(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Mac::from_nailgun(text).is_some())
}

fn is_ip_or_null(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok())
}

/// A kernel name or a link below /dev, as it may stand in a request: no blanks, no way up.
fn is_device_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'$');
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(is_letter)
        && !text.starts_with('/')
        && !text.split('/').any(|part| part.is_empty() || part == "." || part == "..")
}

/// What a value is, for messages: its kind, and short ones themselves.
fn kind(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", ident::shortened(text)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(body: &str) -> Vec<String> {
        parse(body.as_bytes()).unwrap_err().errors
    }

    #[test]
    fn every_violation_is_named_with_its_path() {
        let body = r#"{"mac": "52-54-00-00-00-01", "agent_checksum": 5, "meta": {
            "interfaces": [{"name": "a", "mac": "52:54:00:00:00:01", "driver": null, "ip": null}, {"name": "", "mac": 7}],
            "disks": [{"name": "sda", "size": "1"}, {"name": "../x", "size": 1, "model": 3}],
            "cpu": {"spec": [{"frequency": "3"}]}, "numa_topology": null}}"#;
        assert_eq!(
            violations(body),
            [
                "mac: expected aa:bb:cc:dd:ee:ff, got \"52-54-00-00-00-01\"",
                "agent_checksum: expected at most 40 characters, got 5",
                "meta.interfaces[0].driver: expected a string, got null",
                "meta.disks[0].size: expected a number of bytes, got \"1\"",
                "meta.disks[1].name: expected a device name, got \"../x\"",
                "meta.disks[1].model: expected a string or null, got 3",
                "meta.cpu.spec[0].frequency: expected a number, got \"3\"",
                "meta.numa_topology: expected an object, got null",
            ]
        );
    }

    #[test]
    fn nameless_interfaces_are_dropped_and_sizes_may_be_floats() {
        let body = r#"{"mac": "52:54:00:00:00:0A", "meta": {"interfaces": [{"name": "a"}, {"mac": "", "name": "b"}],
            "disks": [{"name": "cciss/c0d0", "size": 480103981056.0}]}}"#;
        let report = parse(body.as_bytes()).unwrap();
        assert_eq!(report.payload.pointer("/meta/interfaces").unwrap(), &serde_json::json!([]));
        assert_eq!(report.disks, [("cciss/c0d0".to_owned(), 480_103_981_056)]);
        assert_eq!(report.mac.unwrap().to_string(), "52:54:00:00:00:0a");
    }
}
