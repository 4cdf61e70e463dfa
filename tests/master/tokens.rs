//! Who gets a request: the boot that was served the script, from the same address, once.

use serde_json::json;

use crate::support::{Master, NODE, OTHER, discovery, events, inventory};

const MAC: &str = "52:54:00:00:00:01";

/// A released node in its second boot: id, token of the first boot, token of the second.
fn released(master: &Master) -> (u64, String, String) {
    let (id, first) = master.discover(MAC);
    let output = master.release(MAC);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let second = master.boot(MAC).expect("a released node gets the bootstrap");
    (id, first, second)
}

#[test]
fn request_is_served_to_the_present_boot_alone() {
    let master = Master::start().with_profile();
    let (id, first, token) = released(&master);
    let path = format!("/api/nodes/{id}/request");
    let status = |peer, token| master.call_from(peer, "GET", &path, token, b"").status;
    assert_eq!(status(NODE, None), 403, "no token");
    assert_eq!(status(NODE, Some("0123456789abcdef0123456789abcdef")), 403, "wrong token");
    assert_eq!(status(NODE, Some(&first)), 403, "token of an earlier boot");
    assert_eq!(status(OTHER, Some(&token)), 403, "right token, other address");
    assert_eq!(master.status(id), "released", "refused calls consume nothing");
    let answer = master.call("GET", &path, Some(&token), b"");
    assert_eq!((answer.status, answer.json()["uid"].clone()), (200, json!(id.to_string())));
    let digest = answer.header("x-bedplate-plan-digest").unwrap().to_owned();
    assert_eq!(master.show(id)["release"]["plan_digest"], json!(digest));
    assert_eq!(master.status(id), "provisioning");
}

#[test]
fn lost_answer_can_be_asked_for_again_by_the_same_boot_until_the_run_ended() {
    let master = Master::start().with_profile();
    let (id, _, token) = released(&master);
    let path = format!("/api/nodes/{id}/request");
    let first = master.call("GET", &path, Some(&token), b"");
    let master = master.kill_and_restart();
    master.send_inventory(id, &token, &inventory(MAC));
    assert_eq!(master.show(id)["inventory_at"], json!(null), "during a run the disks change");
    let again = master.call("GET", &path, Some(&token), b"");
    assert_eq!((again.status, again.body), (200, first.body));
    let off = master.call("PUT", &format!("/api/nodes/{id}/netboot"), Some(&token), b"{\"enabled\": false}");
    assert_eq!(off.status, 200);
    assert_eq!(master.call("GET", &path, Some(&token), b"").status, 204);
    assert_eq!(master.boot(MAC), None, "nothing re-arms");
    let requests: Vec<_> = std::fs::read_dir(master.folder.path().join("requests")).unwrap().collect();
    assert!(requests.is_empty(), "the passwords are gone");
}

#[test]
fn failed_run_never_arms_again() {
    let master = Master::start().with_profile();
    let (id, _, token) = released(&master);
    let path = format!("/api/nodes/{id}/request");
    assert_eq!(master.call("GET", &path, Some(&token), b"").status, 200);
    let report =
        json!({ "outcome": "failed", "seconds": 3.5, "error": { "message": "writing image to /dev/vda: boom" } });
    let sent = master.call("POST", &format!("/api/nodes/{id}/report"), Some(&token), report.to_string().as_bytes());
    assert_eq!(sent.status, 200);
    assert_eq!(master.call("GET", &path, Some(&token), b"").status, 204);
    assert_eq!(master.boot(MAC), None);
    let shown = master.show(id);
    assert_eq!(
        (shown["status"].clone(), shown["reason"].clone()),
        (json!("failed"), json!("writing image to /dev/vda: boom"))
    );
}

#[test]
fn release_reaches_a_bootstrap_that_waits() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover(MAC);
    let path = format!("/api/nodes/{id}/request");
    assert_eq!(master.call("GET", &path, Some(&token), b"").status, 204);
    assert!(master.release(MAC).status.success());
    assert_eq!(master.call("GET", &path, Some(&token), b"").status, 200);
}

#[test]
fn every_call_of_the_agent_needs_the_token() {
    let master = Master::start().with_profile();
    let (id, _, token) = released(&master);
    let calls = [
        ("PUT", "inventory", inventory(MAC).to_string().into_bytes()),
        ("POST", "events", events("r", 1, 1)),
        ("POST", "report", b"{\"outcome\": \"done\"}".to_vec()),
        ("PUT", "netboot", b"{\"enabled\": false}".to_vec()),
        ("GET", "netboot", Vec::new()),
    ];
    for (method, call, body) in &calls {
        let path = format!("/api/nodes/{id}/{call}");
        assert_eq!(master.call(method, &path, None, body).status, 403, "{call}");
        assert_eq!(master.call_from(OTHER, method, &path, Some(&token), body).status, 403, "{call}");
        assert_eq!(master.call(method, &format!("/api/nodes/77/{call}"), Some(&token), body).status, 404, "{call}");
    }
    assert_eq!(master.status(id), "released");
}

#[test]
fn token_for_one_machine_opens_no_other() {
    let master = Master::start().with_profile();
    let (id, _, _) = released(&master);
    let foreign = master.boot("52:54:00:00:00:99").unwrap();
    let mut claim = discovery(MAC);
    claim["agent_checksum"] = json!("claim");
    claim["meta"]["interfaces"].as_array_mut().unwrap().push(json!({ "name": "b", "mac": "52:54:00:00:00:99" }));
    let body = claim.to_string();
    assert_eq!(master.call("PUT", "/api/nodes/agent/", Some(&foreign), body.as_bytes()).status, 200);
    assert_eq!(master.call("GET", &format!("/api/nodes/{id}/request"), Some(&foreign), b"").status, 403);
}

#[test]
fn operators_calls_need_the_operators_token() {
    let master = Master::start();
    let (id, token) = master.discover(MAC);
    let operator = std::fs::read_to_string(master.folder.path().join("operator.token")).unwrap();
    for (method, path) in [
        ("GET", "/api/operator/nodes".to_owned()),
        ("GET", format!("/api/operator/nodes/{id}")),
        ("POST", format!("/api/operator/nodes/{id}/plan")),
        ("POST", format!("/api/operator/nodes/{id}/release")),
        ("POST", format!("/api/operator/nodes/{id}/cancel")),
        ("POST", format!("/api/operator/nodes/{id}/local-boot")),
        ("POST", format!("/api/operator/nodes/{id}/discover")),
    ] {
        assert_eq!(master.call(method, &path, None, b"").status, 401, "{path}");
        assert_eq!(master.call(method, &path, Some(&token), b"").status, 401, "{path}");
    }
    assert_eq!(master.call("GET", "/api/operator/nodes", Some(operator.trim()), b"").status, 200);
}

#[test]
fn state_that_holds_secrets_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let master = Master::start().with_profile();
    let (id, _, token) = released(&master);
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(master.folder.path().join("operator.token")), 0o600);
    for entry in std::fs::read_dir(master.folder.path().join("requests")).unwrap() {
        assert_eq!(mode(entry.unwrap().path()), 0o600);
    }
    let record = std::fs::read_to_string(master.folder.path().join(format!("nodes/{id}.json"))).unwrap();
    assert!(!record.contains(&token), "a record holds digests of tokens");
    assert!(!master.log().contains("example-password-of-operator"));
}
