//! From the hand-out to the first boot, and what happens when a node falls silent.

use serde_json::{Value, json};

use crate::support::{Master, OTHER, events};

const MAC: &str = "52:54:00:00:00:01";

/// A node whose request was handed out: id, token, and the path that the installed system calls home at.
fn running(master: &Master) -> (u64, String, String) {
    let (id, token) = master.discover(MAC);
    let output = master.release(MAC);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = master.call("GET", &format!("/api/nodes/{id}/request"), Some(&token), b"").json();
    let home = document["bedplate"]["phone_home"]["url"].as_str().unwrap();
    (id, token, home.strip_prefix(&master.url()).unwrap().to_owned())
}

fn statuses(shown: &Value) -> Vec<String> {
    shown["history"].as_array().unwrap().iter().map(|change| change["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn node_goes_through_all_states_to_ready() {
    let master = Master::start().with_profile();
    let (id, token, home) = running(&master);
    let netboot = format!("/api/nodes/{id}/netboot");
    assert_eq!(master.call("GET", &netboot, Some(&token), b"").json(), json!({ "enabled": true }));
    assert_eq!(master.call("PUT", &netboot, Some(&token), b"{\"enabled\": true}").status, 403);
    assert_eq!(master.call("PUT", &netboot, Some(&token), b"{}").status, 400);
    let off = master.call("PUT", &netboot, Some(&token), b"{\"enabled\": false}");
    assert_eq!((off.status, off.json()), (200, json!({ "enabled": false })));
    assert_eq!(master.call("GET", &netboot, Some(&token), b"").json(), json!({ "enabled": false }));
    let report = format!("/api/nodes/{id}/report");
    assert_eq!(master.call("POST", &report, Some(&token), b"{\"outcome\": \"done\", \"seconds\": 7}").status, 200);
    assert_eq!(master.call("POST", &report, Some(&token), b"{\"outcome\": \"perhaps\"}").status, 400);
    assert_eq!(master.status(id), "provisioned");
    assert_eq!(master.boot(MAC), None);
    assert_eq!(master.call("POST", "/phone-home/0123", None, b"hostname=x").status, 404);
    let form = b"hostname=node-1&fqdn=node-1.example.test&instance_id=i-1&pub_key_ed25519=ssh-ed25519+AAAA+root";
    assert_eq!(master.call_from(OTHER, "POST", &home, None, form).status, 200);
    assert_eq!(master.call_from(OTHER, "POST", &home, None, form).status, 200, "cloud-init may repeat itself");
    let shown = master.show(id);
    assert_eq!(statuses(&shown), ["discovered", "released", "provisioning", "provisioned", "ready"]);
    assert_eq!(shown["phone_home"]["hostname"], "node-1.example.test");
    assert_eq!(shown["phone_home"]["host_keys"], json!(["ssh-ed25519 AAAA root"]));
    for line in ["request: node 1", "netboot: node 1 (52:54:00:00:00:01): off", "report: node 1", "phone-home: node 1"]
    {
        master.log_with(line);
    }
}

#[test]
fn nobody_calls_home_for_a_release_that_was_not_fetched() {
    let master = Master::start().with_profile();
    let (id, _) = master.discover(MAC);
    assert!(master.release(MAC).status.success());
    let entry = std::fs::read_dir(master.folder.path().join("requests")).unwrap().next().unwrap().unwrap();
    let document: Value = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
    let home = document["bedplate"]["phone_home"]["url"].as_str().unwrap().strip_prefix(&master.url()).unwrap();
    assert_eq!(master.call("POST", home, None, b"").status, 404);
    assert_eq!(master.status(id), "released");
}

#[test]
fn events_are_stored_once_each_and_survive_a_kill() {
    let master = Master::start().with_profile();
    let (id, token, _) = running(&master);
    let path = format!("/api/nodes/{id}/events");
    let send = |master: &Master, from, to| master.call("POST", &path, Some(&token), &events("run-1", from, to)).json();
    assert_eq!(send(&master, 1, 5), json!({ "last_seq": 5 }));
    assert_eq!(send(&master, 3, 7), json!({ "last_seq": 7 }));
    assert_eq!(send(&master, 1, 2), json!({ "last_seq": 7 }));
    let file = master.folder.path().join(format!("events/{id}.run-1.ndjson"));
    let torn = [std::fs::read(&file).unwrap(), b"{\"run\": \"run-1\", \"se".to_vec()].concat();
    std::fs::write(&file, torn).unwrap();
    let master = master.kill_and_restart();
    assert_eq!(send(&master, 8, 9), json!({ "last_seq": 9 }));
    let stored = std::fs::read_to_string(&file).unwrap();
    let numbers: Vec<u64> =
        stored.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let shown = master.show(id);
    assert_eq!(shown["events"].as_array().unwrap().last().unwrap()["message"], "event 9");
    master.log_with("write-image /dev/vda: started: event 9");
}

#[test]
fn nonsense_events_are_refused() {
    let master = Master::start().with_profile();
    let (id, token, _) = running(&master);
    let send = |body: &[u8]| master.call("POST", &format!("/api/nodes/{id}/events"), Some(&token), body);
    assert_eq!(send(b"").json(), json!({ "last_seq": 0 }));
    assert_eq!(send(b"{}").status, 400);
    assert_eq!(send(&events("../../x", 1, 1)).status, 400);
    assert_eq!(send(&[events("a", 1, 1), b"\n".to_vec(), events("b", 2, 2)].concat()).status, 400);
    assert_eq!(send(&vec![b' '; (1 << 20) + 1]).status, 413);
}

#[test]
fn silent_node_is_shown_as_failed_with_its_last_events_and_may_be_heard_again() {
    let master = Master::configured("silent_after = 1\n").with_profile();
    let (id, token, _) = running(&master);
    let path = format!("/api/nodes/{id}/events");
    assert_eq!(master.call("POST", &path, Some(&token), &events("r", 1, 1)).status, 200);
    let shown = master.wait_for(id, "failed");
    assert_eq!(shown["reason"], "silent for 1 s, last heard in step write-image /dev/vda");
    assert_eq!(shown["events"][0]["message"], "event 1");
    assert_eq!(master.call("GET", &format!("/api/nodes/{id}/request"), Some(&token), b"").status, 204);
    assert_eq!(master.call("POST", &path, Some(&token), &events("r", 2, 2)).status, 200);
    let off = master.call("PUT", &format!("/api/nodes/{id}/netboot"), Some(&token), b"{\"enabled\": false}");
    assert_eq!(off.status, 200);
    assert_eq!(master.status(id), "provisioned");
}

#[test]
fn node_that_does_not_call_home_is_failed_also_over_a_restart() {
    let master = Master::configured("phone_home_within = 2\n").with_profile();
    let (id, token, home) = running(&master);
    master.call("PUT", &format!("/api/nodes/{id}/netboot"), Some(&token), b"{\"enabled\": false}");
    let master = master.kill_and_restart();
    let shown = master.wait_for(id, "failed");
    assert_eq!(shown["reason"], "did not call home within 2 s after its run");
    assert_eq!(master.call("POST", &home, None, b"hostname=late").status, 200);
    assert_eq!(master.status(id), "ready");
}

#[test]
fn node_that_starts_again_in_the_middle_of_its_run_has_failed() {
    let master = Master::start().with_profile();
    let (id, _, _) = running(&master);
    assert_eq!(master.boot_from(OTHER, MAC).1, None);
    assert_eq!(master.status(id), "provisioning", "another machine cannot fail it");
    assert_eq!(master.boot(MAC), None);
    assert_eq!(master.show(id)["reason"], "it started again before its run ended");
}

#[test]
fn disks_written_since_the_inventory_came_need_wipe() {
    let master = Master::start().with_profile();
    let (id, token, _) = running(&master);
    master.call("PUT", &format!("/api/nodes/{id}/netboot"), Some(&token), b"{\"enabled\": false}");
    let refused = master.release(MAC);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(12));
    assert!(said.contains("its disks were written since the inventory came"), "{said}");
    assert!(!said.contains("NOTHING IS LOST"), "{said}");
}
