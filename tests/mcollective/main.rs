//! A node is driven through the real mcollective and RabbitMQ, as Astute does it, with this project's agents.
//!
//! Everything runs in a root directory that `packaging/mcollective/build.sh` makes and caches, in namespaces of its own
//! (`node.sh`): no port, process or disk of the machine is within reach.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test says what it expects by failing")]

mod conductor;
mod configuration;
mod node;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use conductor::Answer;
use node::Node;
use serde_json::{Value, json};
use support::loop_device::LoopDevice;
use support::scratch::Scratch;

const PROVISION: &str = "flock -n /var/lock/provision.lock provision";

const MIB: u64 = 1 << 20;

/// The disks of the node: one with boot code, table and data, and one that carries a file system as a whole.
struct Disks {
    disk: LoopDevice,
    stick: LoopDevice,
}

impl Disks {
    fn new(scratch: &Scratch) -> Self {
        let disk = LoopDevice::new(&scratch.path("disk"), 8 * MIB, 512);
        disk.fill(0xa5);
        let stick = LoopDevice::new(&scratch.path("stick"), 8 * MIB, 512);
        let made = Command::new("mkfs.ext4").arg("-q").arg(stick.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { disk, stick }
    }
}

#[test]
fn needs_root_a_node_is_driven_as_astute_does_it() {
    let scratch = Scratch::new();
    let disks = Disks::new(&scratch);
    let mut node = Node::start(&scratch, disks.disk.path(), disks.stick.path());
    for (tells, claim) in [
        ("files are uploaded whole, with owner and mode", files_are_uploaded as fn(&mut Node, &Disks)),
        ("commands answer with output and exit code", commands_answer),
        ("the agent's exit codes arrive", exit_codes_of_the_agent_arrive),
        ("a second run is kept out while one goes on", a_second_run_is_kept_out),
        ("commands that take too long are ended", long_commands_are_ended),
        ("the type of the system is polled", system_type_is_polled),
        ("puppet runs in the background and is polled", puppet_runs_in_the_background),
        ("boot sectors are erased, and nothing else", boot_sectors_are_erased),
        ("the node comes back after its broker was gone", node_outlives_its_broker),
    ] {
        let began = Instant::now();
        claim(&mut node, &disks);
        println!("{:5.1} s  {tells}", began.elapsed().as_secs_f64());
    }
}

/// Uploads as Astute does; what is named here comes over it.
fn upload(node: &mut Node, path: &str, content: &str, others: &Value) -> Answer {
    let mut arguments = json!({
        "path": path, "content": content, "user_owner": "root", "group_owner": "root",
        "permissions": "0644", "dir_permissions": "0755", "overwrite": true, "parents": true,
    });
    arguments.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    node.conductor().call("uploadfile", "upload", &arguments)
}

fn execute(node: &mut Node, command: &str) -> Answer {
    node.conductor().call("execute_shell_command", "execute", &json!({ "cmd": command }))
}

fn files_are_uploaded(node: &mut Node, _: &Disks) {
    let document = "{\"profile\": \"größer\",\n \"lines\": 2}\n";
    let answer = upload(node, "/tmp/provision.json", document, &json!({}));
    assert_eq!((answer.code(), answer.data("msg")), (0, &json!("File was uploaded!")));
    assert_eq!(node.ask("cat /tmp/provision.json"), document);
    assert_eq!(node.ask("stat -c '%a %U:%G' /tmp/provision.json; stat -c %a /tmp"), "644 root:root\n1777\n");

    let others =
        json!({ "user_owner": "rabbitmq", "group_owner": "mail", "permissions": "0600", "dir_permissions": "0710" });
    assert_eq!(upload(node, "/srv/a/b/secret", "s3cret", &others).code(), 0);
    assert_eq!(
        node.ask("stat -c '%a %U:%G' /srv/a /srv/a/b /srv/a/b/secret"),
        "710 root:root\n710 root:root\n600 rabbitmq:mail\n"
    );

    let answer = upload(node, "/tmp/provision.json", "other", &json!({ "overwrite": false }));
    assert_eq!((answer.code(), answer.message()), (1, "/tmp/provision.json: it exists, and overwrite is not set"));
    let answer = upload(node, "/none/file", "x", &json!({ "parents": false }));
    assert_eq!((answer.code(), answer.message()), (1, "/none: no such folder, and parents is not set"));
    let answer = upload(node, "/tmp/provision.json", "other", &json!({ "user_owner": "nobody-has-it" }));
    assert_eq!(
        (answer.code(), answer.message()),
        (1, "writing /tmp/provision.json: can't find user for nobody-has-it")
    );
    // What could not be finished left the old file, and nothing beside it.
    assert_eq!(node.ask("cat /tmp/provision.json; ls /tmp"), format!("{document}provision.json\n"));

    let large = "0123456789abcde\n".repeat(1 << 18);
    assert_eq!(upload(node, "/srv/large", &large, &json!({})).code(), 0);
    assert!(node.ask("cat /srv/large") == large, "4 MiB arrive as they were sent");
    let log = node.ask("cat /var/log/mcollective.log");
    assert!(
        log.contains("for agent 'uploadfile' in collective 'mcollective' from uid=0@master, action 'upload'\n"),
        "{log}"
    );
    assert!(!log.contains("s3cret"), "what is uploaded is logged:\n{log}");
}

fn commands_answer(node: &mut Node, _: &Disks) {
    for (command, code, out, err) in [
        ("echo out; echo err >&2; exit 3", 3, "out\n", "err\n"),
        ("true", 0, "", ""),
        ("pwd; kill -9 $$", 137, "/tmp\n", ""),
        ("no-such-command", 127, "", "/bin/sh: 1: no-such-command: not found\n"),
        // What goes on in the background does not keep the answer.
        ("sleep 60 & echo started", 0, "started\n", ""),
        ("printf 'a\\377b'", 0, "a?b", ""),
    ] {
        let answer = execute(node, command);
        assert_eq!(answer.code(), 0, "{command}");
        assert_eq!(answer.ended(), (code, out, err), "{command}");
    }
    let answer = node.conductor().call("execute_shell_command", "execute", &json!({ "cmd": "pwd", "cwd": "/srv" }));
    assert_eq!(answer.ended(), (0, "/srv\n", ""));
    let answer = node.conductor().call("execute_shell_command", "execute", &json!({ "cmd": "pwd", "cwd": "/none" }));
    assert_eq!(
        (answer.code(), answer.message()),
        (1, "running the command in /none: No such file or directory - /none")
    );

    let answer = execute(node, "head -c 3000000 /dev/zero | tr '\\0' x");
    let (code, out, _) = answer.ended();
    let kept = out.strip_prefix(&format!("[{} bytes left out]\n", 3_000_000 - MIB)).expect("the last MiB is told");
    assert!(code == 0 && kept.len() as u64 == MIB && kept.bytes().all(|byte| byte == b'x'));
}

fn exit_codes_of_the_agent_arrive(node: &mut Node, _: &Disks) {
    upload(node, "/tmp/provision.json", "{", &json!({}));
    let answer = execute(node, PROVISION);
    let (code, _, err) = answer.ended();
    assert_eq!(code, 10, "{err}");
    let words = "\nbedplate: reading the request: $: it is not JSON: EOF while parsing an object at line 1 column 1\n";
    assert!(err.ends_with(words), "{err}");

    // Its disks are not this node's.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/provision/01-single-disk-lvm.json");
    let mut request: Value = serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    // No server is within reach: with its side-car beside it no image is asked for one.
    for (_, image) in request["ks_meta"]["image_data"].as_object_mut().unwrap() {
        image["uri"] = json!("file:///srv/image.img.gz");
    }
    upload(node, "/tmp/provision.json", &request.to_string(), &json!({}));
    let answer = execute(node, PROVISION);
    let (code, _, err) = answer.ended();
    assert_eq!(code, 11, "{err}");
    assert!(err.contains("no disk matches"), "{err}");
}

fn a_second_run_is_kept_out(node: &mut Node, _: &Disks) {
    let mut other = node.another_conductor();
    let first =
        "flock -n /var/lock/provision.lock sh -c 'touch /run/runs; until test -e /run/go; do sleep 0.1; done; exit 7'";
    other.send("7", "execute_shell_command", "execute", &json!({ "cmd": first }), 60);
    node.ask("until test -e /run/runs; do sleep 0.1; done");
    assert_eq!(execute(node, PROVISION).ended(), (1, "", ""));
    // Another request of the same agent is answered meanwhile, which has the first one end.
    assert_eq!(execute(node, "touch /run/go").ended(), (0, "", ""));
    assert_eq!(other.answer(60).ended(), (7, "", ""));
    let answer = execute(node, PROVISION);
    let (code, _, err) = answer.ended();
    assert_eq!(code, 11, "the lock is free again: {err}");
}

fn long_commands_are_ended(node: &mut Node, _: &Disks) {
    let command = "trap 'echo cleaned up; exit 143' TERM; echo begun; sleep 60 & wait";
    let began = Instant::now();
    node.conductor().send("8", "execute_shell_command", "execute", &json!({ "cmd": command }), 60);
    assert_eq!(node.conductor().answer(60).ended(), (143, "begun\ncleaned up\n", ""));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    // A node that does not answer is told as nothing, within the time that the client gives it.
    node.conductor().send("9", "execute_shell_command", "execute", &json!({ "cmd": "true" }), 2);
    assert_eq!(node.conductor().answers(30), Vec::<Value>::new());
}

fn system_type_is_polled(node: &mut Node, _: &Disks) {
    let ask = |node: &mut Node| node.conductor().call("systemtype", "get_type", &json!({})).data("node_type").clone();
    assert_eq!(ask(node), json!("bootstrap\n"));
    // As Astute tells it before it provisions.
    assert_eq!(execute(node, "echo 'image' > /etc/nailgun_systemtype").ended(), (0, "", ""));
    assert_eq!(ask(node), json!("image\n"));
    node.ask("rm /etc/nailgun_systemtype");
    let answer = node.conductor().call("systemtype", "get_type", &json!({}));
    assert_eq!(answer.code(), 1);
    assert!(answer.message().starts_with("reading /etc/nailgun_systemtype: No such file"), "{}", answer.message());
}

/// The way of Fuel 10: a manifest that runs the command, in the background, and a look at it every second.
fn puppet_runs_in_the_background(node: &mut Node, _: &Disks) {
    let summary = |node: &mut Node| node.conductor().call("puppetd", "last_run_summary", &json!({}));
    let wait = |node: &mut Node| {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let answer = summary(node);
            if answer.data("status") == "stopped" {
                return answer;
            }
            assert_eq!(answer.data("status"), "running");
            assert!(Instant::now() < until, "puppet runs on");
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    // Nothing ran yet: that is no success.
    let answer = summary(node);
    assert_eq!((answer.data("status"), &answer.data("resources")["failed"]), (&json!("stopped"), &json!(1)));
    for (name, command, failed) in [("good", "cp /tmp/provision.json /srv/good", 0), ("bad", "exit 11", 1)] {
        let manifest = format!(
            "exec {{ 'sh /srv/{name}.sh': path => '/usr/sbin:/usr/bin:/sbin:/bin', logoutput => true, timeout => 60 }}"
        );
        upload(node, &format!("/srv/{name}.sh"), command, &json!({ "permissions": "0755" }));
        upload(node, &format!("/etc/puppet/shell_manifests/{name}.pp"), &manifest, &json!({}));
        let run = json!({
            "manifest": format!("/etc/puppet/shell_manifests/{name}.pp"), "modules": "/etc/puppet/modules", "cwd": "/",
            "puppet_debug": false,
        });
        let answer = node.conductor().call("puppetd", "runonce", &run);
        assert_eq!(answer.code(), 0, "{}", answer.message());
        if name == "good" {
            let answer = node.conductor().call("puppetd", "runonce", &run);
            assert_eq!((answer.code(), answer.message()), (1, "puppet is running"));
        }
        let answer = wait(node);
        assert_eq!(answer.data("resources")["failed"], failed, "{}", node.ask("cat /var/log/puppet.log"));
    }
    assert_eq!(node.ask("cmp /tmp/provision.json /srv/good && echo same"), "same\n");

    // Astute stops a deployment: puppet ends, and stays away until it is enabled.
    let run = json!({ "manifest": "/etc/puppet/shell_manifests/good.pp" });
    let ask = |node: &mut Node, action| {
        let answer = node.conductor().call("puppetd", action, &run);
        (answer.code(), answer.message().to_owned(), answer.data("status").clone())
    };
    assert_eq!(ask(node, "runonce").0, 0);
    let process = node.ask("cut -d' ' -f1 /run/bedplate-puppet/process");
    assert_eq!(ask(node, "stop_and_disable").0, 0);
    assert_eq!(node.ask(&format!("kill -0 {} 2>/dev/null || echo ended", process.trim())), "ended\n");
    assert_eq!(ask(node, "runonce"), (1, "puppet is disabled".to_owned(), Value::Null));
    assert_eq!(ask(node, "status"), (0, "OK".to_owned(), json!("disabled")));
    assert_eq!(ask(node, "enable").0, 0);
    assert_eq!(ask(node, "status"), (0, "OK".to_owned(), json!("stopped")));
}

fn boot_sectors_are_erased(node: &mut Node, disks: &Disks) {
    let erase = |node: &mut Node, reboot: bool, dry_run: bool| {
        node.conductor().call("erase_node", "erase_node", &json!({ "reboot": reboot, "dry_run": dry_run }))
    };
    let told = |answer: &Answer| ["status", "erased", "rebooted", "error_msg"].map(|field| answer.data(field).clone());
    let old = disks.disk.read();
    let answer = erase(node, true, true);
    assert_eq!(told(&answer), [json!(0), json!(false), json!(false), Value::Null]);
    assert_eq!(answer.data("debug_msg"), &json!(["/dev/vdnode: would_be_erased"]));
    assert_eq!(node.ask("ls -d /etc/nailgun-agent || true"), "");

    let answer = erase(node, false, false);
    assert_eq!(told(&answer), [json!(0), json!(false), json!(false), Value::Null]);
    assert_eq!(node.ask("ls /etc/nailgun-agent; cat /srv/proc/sysrq-trigger"), "nodiscover\n");
    assert!(disks.disk.read() == old, "without a reboot no disk is touched");

    // A disk in use is somebody else's, in a bootstrap; the other is erased nevertheless, and the node restarts.
    node.ask("echo 0 >/sys/block/vdstick/removable; mount -t ext4 /dev/vdstick /mnt");
    let answer = erase(node, true, false);
    assert_eq!(told(&answer)[..3], [json!(1), json!(false), json!(true)]);
    let error = answer.data("error_msg").as_str().unwrap();
    assert!(error.contains("not erasing the boot sector of /dev/vdstick: /dev/vdstick is mounted on /mnt"), "{error}");
    assert!(error.ends_with("(exit code 12)"), "{error}");
    let mut expected = old;
    expected[..446].fill(0);
    expected[510..512].fill(0);
    assert!(disks.disk.read() == expected, "boot code and boot signature alone are gone");
    let restart = node.ask("until test -s /srv/proc/sysrq-trigger; do sleep 0.1; done; cat /srv/proc/sysrq-trigger");
    assert_eq!(restart, "b\n");
    assert_eq!(node.ask("cd /srv/proc/sys/kernel; cat sysrq panic_on_oops panic"), "1110");

    // Of an installed system it is the disk in use that is meant.
    disks.disk.fill(0xa5);
    node.ask("echo target >/etc/nailgun_systemtype; echo -n >/srv/proc/sysrq-trigger");
    let answer = erase(node, true, false);
    assert_eq!(told(&answer), [json!(0), json!(true), json!(true), Value::Null]);
    assert!(disks.disk.read() == expected);
    let whole = node.ask("umount /mnt; e2fsck -fn /dev/vdstick >/dev/null 2>&1 && echo whole");
    assert_eq!(whole, "whole\n", "the file system on the disk in use");
}

fn node_outlives_its_broker(node: &mut Node, _: &Disks) {
    node.ask(
        "kill -9 $(cat /run/rabbitmq/pid); until ! kill -0 $(cat /run/rabbitmq/pid) 2>/dev/null; do sleep 0.1; done",
    );
    node.start_program("broker");
    // The conductor's own connection is gone with the broker; Astute makes a new one.
    let began = Instant::now();
    loop {
        let mut conductor = node.another_conductor();
        conductor.send("7", "execute_shell_command", "execute", &json!({ "cmd": "echo back" }), 3);
        let answers = conductor.answers(90);
        if let Some(answer) = answers.first() {
            assert_eq!(Answer::of(answer).ended(), (0, "back\n", ""));
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "the node does not come back to its broker");
    }
}
