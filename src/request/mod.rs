//! What is wanted: a provision.json as a typed value. Pure; knows nothing of the machine.

mod check;
mod config_drive;
mod contradictions;
pub mod file_systems;
mod findings;
mod first_boot;
mod grammar;
mod image_meta;
mod images;
mod model;
mod nailgun;
mod names;
pub mod netboot;
mod network;
mod places;
mod reader;
mod schema;
mod spaces;
mod text;

use crate::error::{Error, Kind, Result};

pub use config_drive::{ConfigDriveSpec, DriveFileSystem, DriveForm, iso_date};
pub use findings::Violation;
pub use image_meta::{ImageMeta, OperatingSystem, SideCar, side_car_uri};
pub use model::{
    Account, AdminInterface, AdminNetwork, Container, DiskExpect, DiskSpec, EraseMode, ImageSpec, LVM_EXTENT, LvSpec,
    Mcollective, Mount, NicName, PhoneHome, Puppet, Repository, Request, Secret, VgSpec, VolumeKind, VolumeSpec,
};
pub use names::shown_uri;
pub use netboot::{Netboot, NetbootBackend};
pub use schema::schema;
pub use text::LIMIT;
// The master reads settings by it.
#[cfg(feature = "master")]
pub(crate) use text::{YamlFault, yaml};

/// A request and what was odd about its document.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The request.
    pub request: Request,
    /// Unknown keys and the like, each with its JSON path.
    pub warnings: Vec<String>,
}

/// Everything that reading a document brought to light.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The request, when there is no violation.
    pub request: Option<Request>,
    /// All faults.
    pub violations: Vec<Violation>,
    /// What is odd but harmless.
    pub warnings: Vec<String>,
}

/// Reads a document: JSON, or YAML of which JSON is a part.
///
/// # Errors
/// `Request` when it is neither, or larger than [`LIMIT`]. The error has a JSON path, if only `$`.
pub fn check(document: &[u8]) -> Result<Checked> {
    let (value, findings) = text::read(document)?;
    let (request, mut findings) = match value {
        Some(value) => nailgun::read(&value, findings),
        None => (None, findings),
    };
    findings.close();
    Ok(Checked { request, violations: findings.violations, warnings: findings.warnings })
}

/// Reads a document that must be free of faults.
///
/// # Errors
/// `Request` with every violation and its JSON path.
pub fn parse(document: &[u8]) -> Result<Parsed> {
    let checked = check(document)?;
    match checked.request {
        Some(request) => Ok(Parsed { request, warnings: checked.warnings }),
        None => {
            let faults: Vec<_> = checked.violations.iter().map(ToString::to_string).collect();
            let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
            Err(Error::new(Kind::Request, format!("reading the request: {count}: {}", faults.join("; ")))
                .advise("correct the document; `bedplate validate FILE` checks it without touching anything"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fixture(name: &str) -> Value {
        let path = format!("{}/tests/fixtures/provision/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn faults(document: &Value) -> Vec<String> {
        check(document.to_string().as_bytes()).unwrap().violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_document_of_fuel_is_read_without_fault_or_warning() {
        let folder = format!("{}/tests/fixtures/provision", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let checked = check(&std::fs::read(&path).unwrap()).unwrap();
            assert_eq!(checked.violations, [], "{}", path.display());
            assert_eq!(checked.warnings, [""; 0], "{}", path.display());
            count += 1;
        }
        assert_eq!(count, 11);
    }

    #[test]
    fn cobbler_quotes_are_taken_off() {
        let request = parse(fixture("01-single-disk-lvm").to_string().as_bytes()).unwrap().request;
        assert_eq!(request.name_servers, ["10.20.0.2"]);
        assert_eq!(request.search_domains, ["example.test"]);
        assert_eq!(request.ssh_keys.len(), 1, "an empty auth_key is not a key");
        assert!(request.ssh_keys[0].starts_with("ssh-rsa "));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_paths() {
        let mut document = fixture("01-single-disk-lvm");
        document["hostname"] = 7.into();
        document["ks_meta"]["image_data"]["/"]["container"] = "zip".into();
        document["ks_meta"]["pm_data"]["ks_spaces"][0]["volumes"][3]["size"] = "59456".into();
        document["ks_meta"]["pm_data"]["ks_spaces"][1]["volumes"][0]["mount"] = "../etc".into();
        assert_eq!(
            faults(&document),
            [
                "$.hostname: expected a string, found the number 7",
                "$.ks_meta.pm_data.ks_spaces[0].volumes[3].size: expected an integer, found the string \"59456\"",
                "$.ks_meta.image_data[\"/\"].container: expected one of the image containers \"gzip\", \"raw\", \"zstd\", \"xz\", \"bzip2\", \"lz4\" and \"qcow2\", found the string \"zip\"",
                "$.ks_meta.pm_data.ks_spaces[1].volumes[0].mount: expected \"none\", \"swap\" or an absolute path, found the string \"../etc\"",
            ]
        );
    }

    #[test]
    fn credentials_in_the_uri_of_an_image_are_not_repeated() {
        let mut document = fixture("01-single-disk-lvm");
        document["ks_meta"]["image_data"]["/"]["uri"] = "ftp://u:secret@m/a.img".into();
        assert_eq!(
            faults(&document),
            ["$.ks_meta.image_data[\"/\"].uri: expected a URI with http://, https:// or file://, found another string"]
        );
    }

    #[test]
    fn missing_ks_meta_is_named() {
        let mut document = fixture("01-single-disk-lvm");
        document.as_object_mut().unwrap().remove("ks_meta");
        assert!(faults(&document).contains(&"$.ks_meta: missing, but required".to_owned()));
        let error = parse(document.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Request);
    }

    #[test]
    fn admin_interface_is_found_whatever_the_case_of_its_mac() {
        let mut document = fixture("01-single-disk-lvm");
        document["interfaces"]["enp0s3"]["mac_address"] = "52-54-00-00-01-01".into();
        document["kernel_options"]["netcfg/choose_interface"] = "52:54:00:00:01:01".to_uppercase().into();
        assert_eq!(faults(&document), [""; 0]);
        document["kernel_options"]["netcfg/choose_interface"] = "52:54:00:00:01:99".into();
        assert_eq!(
            faults(&document),
            [
                "$.kernel_options[\"netcfg/choose_interface\"]: expected the MAC address of one of $.interfaces (52:54:00:00:01:01, 52:54:00:00:01:02), found 52:54:00:00:01:99"
            ]
        );
    }

    #[test]
    fn documents_of_other_releases_are_accepted() {
        let mut document = fixture("01-single-disk-lvm");
        document["uid"] = 17.into();
        for key in ["interfaces_extra", "netboot_enabled", "power_pass"] {
            document.as_object_mut().unwrap().remove(key);
        }
        let meta = document["ks_meta"].as_object_mut().unwrap();
        for key in ["mco_identity", "user_accounts", "cloud_init_templates", "timezone", "fuel_version", "admin_net"] {
            meta.remove(key);
        }
        meta.insert("puppet_enable".to_owned(), true.into());
        meta.insert("mlnx_vf_num".to_owned(), "16".into());
        meta["pm_data"]["ks_spaces"][0].as_object_mut().unwrap().remove("bootable");
        meta.insert("repo_setup".to_owned(), serde_json::json!({"repos": []}));
        let Parsed { request, warnings } = parse(document.to_string().as_bytes()).unwrap();
        assert_eq!(warnings, [""; 0]);
        assert_eq!(request.mcollective.map(|it| it.identity).as_deref(), Some("17"), "7.0 and older send no identity");
        assert!(request.accounts.is_empty() && request.templates.is_empty() && request.puppet.is_enabled);
        assert_eq!(request.timezone, "America/Los_Angeles");
    }

    #[test]
    fn yaml_is_read_where_it_is_not_json() {
        let yaml = serde_saphyr::to_string(&fixture("01-single-disk-lvm")).unwrap();
        assert!(serde_json::from_str::<Value>(&yaml).is_err());
        assert_eq!(
            parse(yaml.as_bytes()).unwrap().request,
            parse(fixture("01-single-disk-lvm").to_string().as_bytes()).unwrap().request
        );
    }

    #[test]
    fn what_is_not_a_document_is_refused() {
        for document in [&b"{\"hostname\": "[..], b"", b"\xff\xfe", b"[1, 2", b"a: [", b"- x\n- y", b"hello", b"null"] {
            let error = parse(document).unwrap_err();
            assert_eq!(error.kind(), Kind::Request, "{document:?}");
            assert!(error.to_string().contains('$'), "an error without a path: {error}");
        }
    }

    #[test]
    fn two_file_systems_on_one_mount_point_contradict() {
        let mut document = fixture("01-single-disk-lvm");
        document["ks_meta"]["pm_data"]["ks_spaces"][2]["volumes"][0]["mount"] = "/".into();
        assert_eq!(faults(&document), ["$.ks_meta.pm_data.ks_spaces: 2 file systems are to be mounted on /"]);
    }
}
