//! The scripts of the first boot, judged by the shells that run them and by shellcheck.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bedplate::configdrive;
use bedplate::request;
use serde_json::{Value, json};

/// A document whose values are what a careless quoting would let loose.
fn document(profile: &str, connector: &str) -> Value {
    let fixture = include_str!("fixtures/provision/01-single-disk-lvm.json");
    let mut document: Value = serde_json::from_str(fixture).unwrap();
    document["profile"] = profile.into();
    let meta = document["ks_meta"].as_object_mut().unwrap();
    meta.remove("cloud_init_templates");
    let hostile = "a'b\"c$(touch /tmp/x)`touch /tmp/x`\\ # {{ x }} %s";
    for (key, value) in [
        ("puppet_enable", json!(1)),
        ("mco_connector", connector.into()),
        ("mco_password", hostile.into()),
        ("mco_vhost", hostile.into()),
        ("mco_pskey", hostile.into()),
    ] {
        meta.insert(key.to_owned(), value);
    }
    document
}

/// Writes the script of a system's first boot to a file of the test's own.
fn script(profile: &str, connector: &str) -> PathBuf {
    let request = request::parse(document(profile, connector).to_string().as_bytes()).unwrap().request;
    let drive = configdrive::render(&request, "i-1", None).unwrap();
    let user_data = String::from_utf8(drive.files["user-data"].clone()).unwrap();
    let (_, part) = user_data.split_once("Content-Type: text/x-shellscript").unwrap();
    let (_, body) = part.split_once("\n\n").unwrap();
    let (text, _) = body.split_once("\n--=_bedplate_").unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("first-boot-{profile}-{connector}.sh"));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn scripts_of_every_family_are_sound() {
    let mut faults = String::new();
    for profile in ["ubuntu_1604_x86_64", "debian_12", "centos-x86_64", "other"] {
        for connector in ["rabbitmq", "stomp"] {
            let path = script(profile, connector);
            let path = path.to_str().unwrap();
            // A value is to stand in single quotes whatever it looks like: SC2016.
            for judge in [&["bash", "-n"][..], &["dash", "-n"], &["shellcheck", "--shell=sh", "--exclude=SC2016"]] {
                let output = Command::new(judge[0]).args(&judge[1..]).arg(path).output();
                let output = output.unwrap_or_else(|error| panic!("{}: {error}", judge[0]));
                if !output.status.success() {
                    let text =
                        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                    writeln!(faults, "{judge:?} {path}:\n{text}").unwrap();
                }
            }
        }
    }
    assert_eq!(faults, "");
}
