//! What a request says of it.

use std::path::PathBuf;

use super::keys::{address, header, method, status, system_name};
use super::{CobblerAccess, HookCall, Netboot, NetbootBackend, TftpTree};
use crate::request::model::Secret;
use crate::request::reader::{Field, Object};

/// Reads what a request says.
pub fn read(field: &Field<'_>) -> Option<Netboot> {
    let (tag, object) = field.variant()?;
    let backend = tag.parse().ok()?;
    let netboot = Netboot { backend: Some(backend), ..Netboot::default() };
    match backend {
        NetbootBackend::Master | NetbootBackend::None => Some(netboot),
        NetbootBackend::Cobbler => {
            let system = optional(&object, "system", system_name);
            let cobbler = cobbler(&object);
            Some(Netboot { system: system?, cobbler: cobbler?, ..netboot })
        }
        NetbootBackend::Hook => Some(Netboot { hook: hook(&object)?, ..netboot }),
        NetbootBackend::Tftp => {
            let path = |key: &str| optional(&object, key, |text| Ok(PathBuf::from(text)));
            let (root, grub) = (path("root"), path("grub"));
            Some(Netboot { tftp: TftpTree { root: root?, grub: grub? }, ..netboot })
        }
    }
}

fn cobbler(object: &Object<'_>) -> Option<CobblerAccess> {
    let url = optional(object, "url", address);
    let user = optional(object, "user", |text| Ok(text.to_owned()));
    let password = optional(object, "password", |text| Ok(Secret::new(text)));
    let sync = object.optional("sync", Field::flag);
    Some(CobblerAccess { url: url?, user: user?, password: password?, password_file: None, sync: sync? })
}

fn hook(object: &Object<'_>) -> Option<HookCall> {
    let secret = |key: &str| optional(object, key, |text| Ok(Secret::new(text)));
    let url = optional(object, "url", address);
    let method = optional(object, "method", method);
    let (token, body, check_body) = (secret("token"), secret("body"), secret("check_body"));
    let check_url = optional(object, "check_url", address);
    let headers = object.optional("headers", |field| {
        let headers: Vec<_> = field.list()?.map(|field| judged(&field, header)).collect();
        headers.into_iter().collect::<Option<Vec<_>>>()
    });
    let status = object.optional("status", |field| {
        let number = |field: Field<'_>| {
            let code = field.integer().map(|code| code.to_string())?;
            status(&code).map_err(|expected| field.fault(expected)).ok()
        };
        let codes: Vec<_> = field.list()?.map(number).collect();
        codes.into_iter().collect::<Option<Vec<_>>>()
    });
    Some(HookCall {
        url: url?,
        method: method?,
        headers: headers?.unwrap_or_default(),
        token: token?,
        token_file: None,
        body: body?,
        status: status?.unwrap_or_default(),
        check_url: check_url?,
        check_body: check_body?,
    })
}

fn optional<T>(object: &Object<'_>, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Option<T>> {
    object.optional(key, |field| judged(field, &parse))
}

fn judged<T>(field: &Field<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    parse(field.text()?).map_err(|expected| field.fault(expected)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request;

    fn read(netboot: Value) -> Result<Netboot, Vec<String>> {
        let path = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        document["bedplate"]["netboot"] = netboot;
        let checked = request::check(document.to_string().as_bytes()).unwrap();
        assert_eq!(checked.warnings, [""; 0]);
        let words = checked.violations.iter().map(ToString::to_string).collect();
        checked.request.and_then(|request| request.netboot).ok_or(words)
    }

    #[test]
    fn each_kind_is_read() {
        let netboot = |backend| Netboot { backend: Some(backend), ..Netboot::default() };
        assert_eq!(read(json!({"type": "none"})), Ok(netboot(NetbootBackend::None)));
        let cobbler = CobblerAccess {
            url: Some(Secret::new("http://a/")),
            user: Some("u".to_owned()),
            password: Some(Secret::new("p")),
            password_file: None,
            sync: Some(false),
        };
        let expected = Netboot { system: Some("n".to_owned()), cobbler, ..netboot(NetbootBackend::Cobbler) };
        let said =
            json!({"type": "cobbler", "url": "http://a/", "user": "u", "password": "p", "sync": 0, "system": "n"});
        assert_eq!(read(said), Ok(expected));
        let hook = HookCall { headers: vec![Secret::new("A: b")], status: vec![200, 204], ..HookCall::default() };
        let expected = Netboot { hook, ..netboot(NetbootBackend::Hook) };
        assert_eq!(read(json!({"type": "hook", "headers": ["A: b"], "status": [200, 204]})), Ok(expected));
        let tftp = TftpTree { root: Some(PathBuf::from("/srv/tftp")), grub: None };
        let expected = Netboot { tftp, ..netboot(NetbootBackend::Tftp) };
        assert_eq!(read(json!({"type": "tftp", "root": "/srv/tftp"})), Ok(expected));
    }

    #[test]
    fn faults_have_their_paths_and_secrets_are_not_repeated() {
        let refused = |netboot: Value| read(netboot).unwrap_err();
        assert_eq!(
            refused(json!({"type": "cobbler", "url": "u:hunter2@h", "system": "a b", "password": 7})),
            [
                "$.bedplate.netboot.password: expected a string, found a number",
                "$.bedplate.netboot.system: expected a name of letters, digits and _-.: alone, found \"a b\"",
                "$.bedplate.netboot.url: expected an http:// or https:// URL",
            ]
        );
        assert_eq!(
            refused(json!({"type": "hook", "status": [200, 2], "headers": ["hunter2"], "method": "get"})),
            [
                "$.bedplate.netboot.method: expected POST, PUT, PATCH, DELETE or GET, found \"get\"",
                "$.bedplate.netboot.headers[0]: expected a header, `Name: value`",
                "$.bedplate.netboot.status[1]: expected a status of HTTP, found \"2\"",
            ]
        );
        assert_eq!(
            refused(json!({"type": "foreman"})),
            ["$.bedplate.netboot.type: expected master, cobbler, hook, tftp or none, found another string"]
        );
    }
}
