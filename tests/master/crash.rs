//! SIGKILL at any moment: nothing acknowledged is lost, and every file parses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Folder, Master, NODE, discovery, events};

const ROUNDS: u64 = 25;

/// Writes until the master is gone; says what was acknowledged.
struct Written {
    nodes: Vec<u64>,
    last_seq: u64,
}

#[test]
fn kills_while_a_client_writes_lose_nothing_that_was_acknowledged() {
    let folder = Arc::new(Folder::new());
    let mut master = Master::start_in(Arc::clone(&folder)).with_profile();
    let (id, token) = master.discover("52:54:00:ff:00:01");
    let mut known: Vec<u64> = vec![id];
    let mut acknowledged = 0;
    let next_mac = AtomicU64::new(1);
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(&master, id, &token, acknowledged, &next_mac, &stop));
            // Different moments of the writes; nothing waits for this time.
            std::thread::sleep(Duration::from_millis(5 + round * 7 % 60));
            nix::sys::signal::kill(pid(&master), nix::sys::signal::Signal::SIGKILL).unwrap();
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        master.kill();
        every_file_parses(folder.path());
        known.extend(&written.nodes);
        acknowledged = acknowledged.max(written.last_seq);
        master = Master::start_in(Arc::clone(&folder));
        let list: Value = serde_json::from_slice(&master.nodes(&["list", "--json"]).stdout).unwrap();
        let listed: Vec<u64> =
            list["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_u64().unwrap()).collect();
        assert!(known.iter().all(|id| listed.contains(id)), "round {round}: {known:?} not all in {listed:?}");
        let stored = stored_events(folder.path(), id);
        assert_eq!(stored, (1..=stored.len() as u64).collect::<Vec<_>>(), "round {round}: gaps or repeats");
        assert!(stored.len() as u64 >= acknowledged, "round {round}: {acknowledged} acknowledged, {}", stored.len());
        assert_eq!(master.boot("52:54:00:ff:00:01"), None, "round {round}: nothing armed itself");
    }
    assert!(acknowledged > ROUNDS, "the client wrote: {acknowledged} events, {} nodes", known.len());
}

fn write(master: &Master, id: u64, token: &str, from: u64, next_mac: &AtomicU64, stop: &AtomicBool) -> Written {
    let mut written = Written { nodes: Vec::new(), last_seq: from };
    let path = format!("/api/nodes/{id}/events");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    while !stop.load(Ordering::Relaxed) {
        let batch = events("run", written.last_seq + 1, written.last_seq + 3);
        let Ok(answer) = master.raw(NODE, "POST", &path, &bearer, &batch) else { break };
        if answer.status == 200 {
            written.last_seq = answer.json()["last_seq"].as_u64().unwrap();
        }
        let mac = format!(
            "52:54:00:00:{:02x}:{:02x}",
            next_mac.load(Ordering::Relaxed) >> 8,
            next_mac.load(Ordering::Relaxed) & 255
        );
        next_mac.fetch_add(1, Ordering::Relaxed);
        let body = discovery(&mac).to_string();
        let Ok(answer) = master.raw(NODE, "POST", "/api/nodes/", "", body.as_bytes()) else { break };
        if answer.status == 201 {
            written.nodes.push(answer.json()["id"].as_u64().unwrap());
        }
    }
    written
}

fn pid(master: &Master) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(master.pid()).unwrap())
}

/// Every JSON file parses whole; of a run's last line a part may be there, which was never acknowledged.
fn every_file_parses(folder: &Path) {
    for name in ["nodes", "documents", "strangers", "requests"] {
        for entry in std::fs::read_dir(folder.join(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(".unfinished-") {
                continue;
            }
            let parsed = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap());
            assert!(parsed.is_ok(), "{}: {parsed:?}", path.display());
        }
    }
}

/// Numbers of the whole lines of the run.
fn stored_events(folder: &Path, id: u64) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join(format!("events/{id}.run.ndjson"))).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
}

#[test]
fn release_survives_a_kill_and_an_orphaned_request_does_not() {
    let master = Master::start().with_profile();
    let (id, token) = master.discover("52:54:00:00:00:01");
    assert!(master.release("1").status.success());
    master.folder.write("requests/1-orphan.json", "{\"ks_meta\": {}}");
    let master = master.kill_and_restart();
    assert_eq!(master.status(id), "released");
    assert!(!master.folder.path().join("requests/1-orphan.json").exists());
    assert_eq!(master.call("GET", &format!("/api/nodes/{id}/request"), Some(&token), b"").status, 200);
}

#[test]
fn one_master_serves_a_folder() {
    let master = Master::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_bedplate-master"))
        .args(["serve", "--listen", "127.0.0.1:0", "--dir"])
        .arg(master.folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(12));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another bedplate-master serves this folder"), "{said}");
}
