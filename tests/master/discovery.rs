//! Nailgun's discovery interface.

use serde_json::{Value, json};

use crate::support::{Answer, Master, NODE, discovery};

const MAC: &str = "52:54:00:00:00:01";

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/discovery/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn post(master: &Master, report: &Value) -> Answer {
    master.call("POST", "/api/nodes/", None, report.to_string().as_bytes())
}

fn put(master: &Master, report: &Value) -> Answer {
    master.call("PUT", "/api/nodes/agent/", None, report.to_string().as_bytes())
}

#[test]
fn every_fixture_is_taken_as_nailgun_takes_it() {
    let master = Master::start();
    for (name, id) in [("01-bootstrap-baremetal", 1), ("02-bootstrap-virtio-vm", 2), ("04-bootstrap-multipath", 3)] {
        let report = fixture(name);
        let created = post(&master, &report);
        assert_eq!((created.status, created.json()), (201, json!({ "id": id })), "{name}");
        assert_eq!(post(&master, &report).status, 409, "{name}");
        let cached = put(&master, &report);
        assert_eq!((cached.status, cached.json()), (200, json!({ "id": id, "cached": true })), "{name}");
    }
    let installed = fixture("03-target-provisioned");
    assert_eq!(post(&master, &installed).status, 403, "an installed node cannot be created");
}

#[test]
fn node_is_found_by_any_interface_address_in_any_case() {
    let master = Master::start();
    let mut report = discovery(MAC);
    report["meta"]["interfaces"].as_array_mut().unwrap().push(json!({ "name": "b", "mac": "52:54:00:00:00:AB" }));
    assert_eq!(post(&master, &report).status, 201);
    let mut other = discovery("52:54:00:00:00:ab");
    other["agent_checksum"] = json!("other");
    let answer = put(&master, &other);
    assert_eq!((answer.status, answer.json()), (200, json!({ "id": 1 })));
    assert_eq!(post(&master, &other).status, 409);
}

#[test]
fn unknown_nodes_are_refused_as_nailgun_refuses_them() {
    let master = Master::start();
    let answer = put(&master, &discovery(MAC));
    assert_eq!((answer.status, answer.json()["message"].clone()), (400, json!("Invalid MAC is specified")));
    assert_eq!(put(&master, &json!({ "id": 7 })).status, 404);
    assert_eq!(put(&master, &json!({ "ip": "10.0.0.1" })).status, 400);
    let mut bare = discovery(MAC);
    bare["meta"].as_object_mut().unwrap().remove("interfaces");
    let answer = post(&master, &bare);
    assert_eq!((answer.status, answer.json()["message"].clone()), (400, json!("meta.interfaces: missing")));
}

#[test]
fn nonsense_is_refused_with_its_path() {
    let master = Master::start();
    let mut report = discovery(MAC);
    report["meta"]["disks"][0]["size"] = json!("10G");
    let answer = post(&master, &report);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["errors"], json!(["meta.disks[0].size: expected a number of bytes, got \"10G\""]));
    let nested = "[".repeat(100_000);
    for body in ["", "nonsense", "[]", "null", "{\"mac\":", nested.as_str()] {
        let answer = master.call("POST", "/api/nodes/", None, body.as_bytes());
        assert_eq!(answer.status, 400, "{:.40}", body);
    }
    assert_eq!(master.call("POST", "/api/nodes/", None, &vec![b' '; (4 << 20) + 1]).status, 413);
    assert_eq!(master.call("DELETE", "/api/nodes/", None, b"").status, 405);
}

#[test]
fn empty_disk_list_never_overwrites() {
    let master = Master::start();
    assert_eq!(post(&master, &discovery(MAC)).status, 201);
    let mut report = discovery(MAC);
    report["meta"]["disks"] = json!([]);
    report["agent_checksum"] = json!("changed");
    assert_eq!(put(&master, &report).status, 200);
    assert_eq!(master.show(1)["hardware"]["disks"], json!([{ "name": "vda", "size": 10_737_418_240_u64 }]));
}

#[test]
fn once_proved_by_its_token_a_node_is_changed_by_nobody_else() {
    let master = Master::start();
    let (id, token) = master.discover(MAC);
    let mut report = discovery(MAC);
    report["agent_checksum"] = json!("forged");
    report["meta"]["disks"][0]["name"] = json!("sdx");
    assert_eq!(put(&master, &report).status, 200);
    assert_eq!(master.show(id)["hardware"]["disks"][0]["name"], "vda");
    let answer = master.call_from(NODE, "PUT", "/api/nodes/agent/", Some(&token), report.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(master.show(id)["hardware"]["disks"][0]["name"], "sdx");
}

#[test]
fn nodes_are_bounded() {
    let master = Master::configured("max_nodes = 1\n");
    assert_eq!(post(&master, &discovery(MAC)).status, 201);
    assert_eq!(post(&master, &discovery("52:54:00:00:00:02")).status, 503);
}
