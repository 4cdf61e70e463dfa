//! Releasing: what a person sees, what is refused, and the document that comes out.

use serde_json::{Value, json};

use crate::support::{Master, inventory};

const MAC: &str = "52:54:00:00:00:01";

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn request(master: &Master) -> Value {
    let entry = std::fs::read_dir(master.folder.path().join("requests")).unwrap().next().unwrap().unwrap();
    serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap()
}

#[test]
fn document_has_nailguns_form() {
    let master = Master::start().with_profile();
    let (id, _) = master.discover(MAC);
    assert!(master.release("1").status.success());
    let document = request(&master);
    let url = master.url();
    let spaces = json!([
        { "type": "disk", "id": "disk/by-path/pci-0000:00:05.0", "name": "vda", "size": 10240, "free_space": 0,
          "extra": ["disk/by-id/virtio-root"], "bootable": true, "volumes": [
            { "type": "boot", "size": 300 },
            { "type": "partition", "mount": "/boot", "size": 200, "file_system": "ext2", "name": "Boot" },
            { "type": "lvm_meta_pool", "size": 0 },
            { "type": "pv", "vg": "os", "size": 9740, "lvm_meta_size": 64 } ] },
        { "type": "vg", "id": "os", "label": "Base System", "min_size": 9676, "_allocate_size": "min", "volumes": [
            { "type": "lv", "name": "root", "mount": "/", "size": 9164, "file_system": "ext4" },
            { "type": "lv", "name": "swap", "mount": "swap", "size": 512, "file_system": "swap" } ] },
    ]);
    assert_eq!(document["ks_meta"]["pm_data"]["ks_spaces"], spaces);
    assert_eq!(
        document["kernel_options"],
        json!({ "netcfg/choose_interface": MAC, "udevrules": format!("{MAC}_enp0s3") })
    );
    let admin = json!({ "mac_address": MAC, "static": "0", "ip_address": "10.20.0.102", "netmask": "255.255.255.0",
        "dns_name": "node-1.example.test" });
    assert_eq!(document["interfaces"], json!({ "enp0s3": admin }));
    assert_eq!(document["name_servers"], json!("\"127.0.0.1\""));
    assert_eq!(document["name_servers_search"], json!("\"example.test\""));
    assert_eq!(document["ks_meta"]["auth_key"], json!("\"\""));
    assert_eq!(document["ks_meta"]["authorized_keys"], json!(["\"ssh-ed25519 AAAAexample operator@example.test\""]));
    let images = json!({
        "/": { "uri": format!("{url}/targetimages/os.img.gz"), "format": "ext4", "container": "gzip" },
        "/boot": { "uri": format!("{url}/targetimages/os-boot.img.gz"), "format": "ext2", "container": "gzip" },
    });
    assert_eq!(document["ks_meta"]["image_data"], images);
    let network = json!({ "version": 2, "ethernets": { "enp0s3": {
        "match": { "macaddress": MAC }, "set-name": "enp0s3", "dhcp4": true } } });
    assert_eq!(document["bedplate"]["network"], network);
    let home = document["bedplate"]["phone_home"]["url"].as_str().unwrap();
    assert!(home.starts_with(&format!("{url}/phone-home/")), "{home}");
    assert_eq!(document["uid"], json!(id.to_string()));
}

/// What upstream's agent reads without asking whether it is there.
#[test]
fn document_has_every_key_that_nailgun_always_sends() {
    let master = Master::start().with_profile();
    master.discover(MAC);
    assert!(master.release("1").status.success());
    let document = request(&master);
    let path = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
    let nailgun: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let missing = |ours: &Value, theirs: &Value| {
        keys(theirs).into_iter().filter(|key| ours.get(key).is_none()).collect::<Vec<_>>()
    };
    assert_eq!(missing(&document, &nailgun), [""; 0]);
    // Optional by the reference: the environment's version, its templates, the network of the admin address.
    let optional = ["admin_net", "cloud_init_templates", "fuel_version"];
    assert_eq!(missing(&document["ks_meta"], &nailgun["ks_meta"]), optional);
}

#[test]
fn plan_is_shown_and_nothing_is_released_without_a_yes() {
    let master = Master::start().with_profile();
    let (id, _) = master.discover(MAC);
    let output = master.nodes(&["release", MAC, "--profile", "small"]);
    assert_eq!(output.status.code(), Some(12));
    let said = stderr(&output);
    assert!(said.contains("/dev/vda") && said.contains("a script says --yes"), "{said}");
    assert_eq!(master.status(id), "discovered");
}

#[test]
fn json_holds_the_plan_whose_digest_is_armed() {
    let master = Master::start().with_profile();
    let (id, _) = master.discover(MAC);
    let output = master.nodes(&["release", MAC, "--profile", "small", "--yes", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["node"]["status"], "released");
    assert_eq!(master.show(id)["release"]["plan_digest"], answer["plan"]["digest"]);
    let again = master.release(MAC);
    assert_eq!(again.status.code(), Some(12), "one release at a time: {}", stderr(&again));
}

#[test]
fn disk_that_is_not_empty_needs_wipe_and_its_content_is_named() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover(MAC);
    let mut full = inventory(MAC);
    full["disks"][0]["table"] = json!("gpt");
    full["disks"][0]["has_data"] = json!(true);
    full["disks"][0]["partitions"] =
        json!([{ "number": 1, "device": "/dev/vda1", "start": 1_048_576, "size": 1_048_576_000 }]);
    full["disks"][0]["signatures"] = json!([{ "device": "/dev/vda1", "kind": "ext4", "label": "precious" }]);
    master.send_inventory(id, &token, &full);
    let refused = master.release(MAC);
    assert_eq!(refused.status.code(), Some(12));
    let said = stderr(&refused);
    let expected = "would overwrite what is not empty: vda (10 GiB): a gpt table with 1 partitions, ext4 on /dev/vda1 \"precious\"";
    assert!(said.contains(expected), "{said}");
    assert_eq!(master.status(id), "discovered");
    let wiped = master.nodes(&["release", MAC, "--profile", "small", "--yes", "--wipe"]);
    assert!(wiped.status.success(), "{}", stderr(&wiped));
}

#[test]
fn the_master_itself_refuses_a_disk_that_is_not_empty() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover(MAC);
    let mut unknown = inventory(MAC);
    unknown["disks"][0].as_object_mut().unwrap().remove("has_data");
    master.send_inventory(id, &token, &unknown);
    let operator = std::fs::read_to_string(master.folder.path().join("operator.token")).unwrap();
    let call = |path: &str, body: &Value| {
        master.call(
            "POST",
            &format!("/api/operator/nodes/{id}/{path}"),
            Some(operator.trim()),
            body.to_string().as_bytes(),
        )
    };
    let shown = call("plan", &json!({ "profile": "small" })).json();
    assert_eq!(shown["not_empty"], json!(["vda (10 GiB): it could not be read"]));
    let refused = call("release", &json!({ "draft": shown["draft"] }));
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["errors"], shown["not_empty"]);
    assert_eq!(call("release", &json!({ "draft": shown["draft"], "wipe": true })).status, 409, "a draft is used once");
    assert_eq!(call("plan", &json!({ "profile": "../../etc/passwd" })).status, 400);
}

#[test]
fn machine_that_changed_since_its_plan_was_shown_is_not_released() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover(MAC);
    let operator = std::fs::read_to_string(master.folder.path().join("operator.token")).unwrap();
    let call = |path: &str, body: &Value| {
        master.call(
            "POST",
            &format!("/api/operator/nodes/{id}/{path}"),
            Some(operator.trim()),
            body.to_string().as_bytes(),
        )
    };
    let shown = call("plan", &json!({ "profile": "small" })).json();
    let mut other = inventory(MAC);
    other["disks"][0]["serial"] = json!("another disk");
    master.send_inventory(id, &token, &other);
    let refused = call("release", &json!({ "draft": shown["draft"] }));
    assert_eq!(refused.json()["message"], "the machine changed since the plan was shown: look at it again");
    assert_eq!(master.status(id), "discovered");
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let master = Master::start().with_profile();
    master.discover(MAC);
    let release = |profile: &str| stderr(&master.nodes(&["release", MAC, "--profile", profile, "--yes"]));
    assert!(release("none").contains("no profile is named none: there are small"), "{}", release("none"));
    let images = "[images]\nroot = \"os.img.gz\"\nboot = \"os-boot.img.gz\"\n";
    master.folder.write("profiles/large.toml", format!("{images}[disk]\nat_least = \"1 TiB\"\n"));
    assert!(release("large").contains("no fixed disk has 1048576 MiB: there are vda 10 GiB"), "{}", release("large"));
    master.folder.write("profiles/gone.toml", "[images]\nroot = \"x.img.gz\"\nboot = \"os-boot.img.gz\"\n");
    assert!(release("gone").contains("targetimages has no file \"x.img.gz\""), "{}", release("gone"));
}

#[test]
fn cancelled_release_is_not_handed_out() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover(MAC);
    assert!(master.release(MAC).status.success());
    assert!(master.nodes(&["cancel", MAC]).status.success());
    assert_eq!(master.call("GET", &format!("/api/nodes/{id}/request"), Some(&token), b"").status, 204);
    assert_eq!(master.boot(MAC), None);
    assert_eq!(master.nodes(&["cancel", MAC]).status.code(), Some(12), "nothing to cancel");
}

#[test]
fn ambiguous_and_unknown_names_are_errors() {
    let master = Master::start();
    master.discover(MAC);
    master.discover("52:54:00:00:00:02");
    let uuid = master.nodes(&["show", "0c2041ce-0000-453d-95dd-000000000002"]);
    assert_eq!(uuid.status.code(), Some(12));
    assert!(
        stderr(&uuid).contains("is ambiguous: node 1 (52:54:00:00:00:01), node 2 (52:54:00:00:00:02)"),
        "{}",
        stderr(&uuid)
    );
    assert_eq!(master.nodes(&["show", "nobody"]).status.code(), Some(2));
    let list = master.nodes(&["list"]);
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 3);
}

#[test]
fn dnsmasq_accepts_what_is_printed_for_a_running_master() {
    let master = Master::start();
    let print = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bedplate-master"));
        command.args(["dnsmasq-conf", "--interface", "lo"]).args(arguments).arg("--dir").arg(master.folder.path());
        command.output().unwrap()
    };
    let printed = print(&["--range", "10.77.0.100,10.77.0.200", "--dns", "10.77.0.1,10.77.0.2"]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains(&format!("\ndhcp-boot=tag:ipxe,{}/boot.ipxe\n", master.url())), "{text}");
    master.folder.write("dnsmasq.conf", &text);
    let path = master.folder.path().join("dnsmasq.conf");
    let checked = std::process::Command::new("/usr/sbin/dnsmasq").arg("--test").arg("-C").arg(path).output().unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert_eq!(print(&["--range", "10.77.0.100"]).status.code(), Some(2));
    assert_eq!(print(&["--range", "10.77.0.100,10.77.0.200", "--domain", "a\nb"]).status.code(), Some(2));
}
