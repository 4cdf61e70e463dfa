//! `netboot` of the real program against services that misbehave, and against folders: no privileges needed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::http_server::{Reply, Seen, Server};
use support::scratch::Scratch;

const PASSWORD: &str = "hunter2 <&> \u{e9}";
const TOKEN: &str = "t0ken/of+the==session";
const MAC: &str = "52:54:00:77:00:01";

/// How the program ended, and all that it said.
struct Said {
    code: i32,
    text: String,
}

/// Runs `bedplate netboot`, telling as much as it can.
fn netboot(arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_bedplate"))
        .args(["--debug", "netboot"])
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("no_proxy", "*")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    for secret in [PASSWORD, "hunter2", TOKEN] {
        assert!(!text.contains(secret), "{secret} in: {text}");
    }
    Said { code: status.code().unwrap(), text }
}

/// The last line but for advice: why it failed.
fn failure(said: &Said) -> &str {
    let mut lines = said.text.lines().filter(|line| !line.starts_with("bedplate: what to do: "));
    lines.next_back().unwrap_or_default()
}

fn private(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn method(seen: &Seen) -> String {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let name = body.split("<methodName>").nth(1).and_then(|rest| rest.split("</methodName>").next());
    name.unwrap_or_default().to_owned()
}

fn answer(value: &str) -> Reply {
    let xml = format!(
        "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value>{value}</value>\n</param>\n</params>\n\
         </methodResponse>\n"
    );
    Reply::new(200, xml.into_bytes())
}

fn fault(words: &str) -> Reply {
    let xml = format!(
        "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1</int></value></member>\
         <member><name>faultString</name><value><string>{words}</string></value></member></struct></value></fault>\
         </methodResponse>"
    );
    Reply::new(200, xml.into_bytes())
}

/// A Cobbler of version 2, whose system node-1 does what it is told.
fn good(seen: &Seen) -> Reply {
    match method(seen).as_str() {
        "login" => answer(&format!("<string>{TOKEN}</string>")),
        "get_system_handle" => answer("<string>system::node-1</string>"),
        "find_system" => answer("<array><data><value><string>node-1</string></value></data></array>"),
        "modify_system" | "save_system" | "sync" => answer("<boolean>1</boolean>"),
        "get_system" => answer(
            "<struct><member><name>netboot_enabled</name><value><boolean>0</boolean></value></member>\
             <member><name>comment</name><value/></member></struct>",
        ),
        other => panic!("{other}"),
    }
}

fn cobbler(server: &Server, further: &[&str]) -> Said {
    let scratch = Scratch::new();
    let file = private(&scratch, "password", &format!("{PASSWORD}\n"));
    let url = server.url("/cobbler_api");
    let mut arguments = vec!["off", "--cobbler-url", &url, "--cobbler-user", "fuel", "--cobbler-password-file", &file];
    arguments.extend(further);
    netboot(&arguments)
}

fn methods(server: &Server) -> Vec<String> {
    server.seen().iter().map(method).collect()
}

const CALLS: [&str; 6] = ["login", "get_system_handle", "modify_system", "save_system", "sync", "get_system"];

#[test]
fn cobbler_is_called_as_all_of_its_versions_understand() {
    let server = Server::start(|seen, _| good(seen));
    let said = cobbler(&server, &["--netboot-system", "node-1"]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(methods(&server), CALLS);
    let text = |value: &str| format!("<param><value><string>{value}</string></value></param>");
    let call = |method: &str, params: &[String]| {
        let params = params.concat();
        format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
        )
    };
    let (handle, token) = (text("system::node-1"), text(TOKEN));
    let expected = [
        call("login", &[text("fuel"), text("hunter2 &lt;&amp;&gt; \u{e9}")]),
        call("get_system_handle", &[text("node-1"), token.clone()]),
        call(
            "modify_system",
            &[
                handle.clone(),
                text("netboot_enabled"),
                "<param><value><boolean>0</boolean></value></param>".to_owned(),
                token.clone(),
            ],
        ),
        call("save_system", &[handle, token.clone()]),
        call("sync", &[token]),
        call("get_system", &[text("node-1")]),
    ];
    let bodies: Vec<_> = server.seen().into_iter().map(|seen| String::from_utf8(seen.body).unwrap()).collect();
    assert_eq!(bodies, expected);
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.method == "POST" && seen.path == "/cobbler_api"));
    assert!(seen.iter().all(|seen| seen.header("content-type") == Some("text/xml")));
}

#[test]
fn a_system_without_a_name_is_found_by_its_mac_address_and_sync_can_be_left_out() {
    let server = Server::start(|seen, _| good(seen));
    let said = cobbler(&server, &["--netboot-mac", "52-54-00-77-00-01", "--cobbler-sync", "false"]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(
        methods(&server),
        ["login", "find_system", "get_system_handle", "modify_system", "save_system", "get_system"]
    );
    let criteria = "<struct><member><name>mac_address</name><value><string>52:54:00:77:00:01</string></value></member>";
    assert!(String::from_utf8_lossy(&server.seen()[1].body).contains(criteria));
}

#[test]
fn a_cobbler_that_is_silent_twice_is_asked_a_third_time() {
    let server = Server::start(|seen, nth| match nth {
        // The first time it takes the login, and the second time nothing of all is answered in time.
        0 => good(seen),
        1 | 2 => good(seen).delay(Duration::from_millis(1500)),
        _ => good(seen),
    });
    let said = cobbler(&server, &["--netboot-system", "node-1", "--netboot-timeout", "1"]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(methods(&server), [&["login", "get_system_handle", "login"][..], &CALLS].concat());
    assert_eq!(said.text.matches(": tried again in 1 s").count(), 2, "{}", said.text);
}

#[test]
fn a_cobbler_that_stays_silent_is_given_up_after_three_attempts() {
    let server = Server::start(|seen, _| good(seen).delay(Duration::from_millis(1500)));
    let said = cobbler(&server, &["--netboot-system", "node-1", "--netboot-timeout", "1"]);
    assert_eq!(said.code, 16, "{}", said.text);
    assert_eq!(methods(&server), ["login"; 3]);
    let url = server.url("/cobbler_api");
    let expected = format!(
        "bedplate: switching network boot off: 3 attempts: calling login of Cobbler: POST {url}: no answer in time"
    );
    assert_eq!(failure(&said), expected);
}

#[test]
fn a_run_that_is_to_end_does_not_wait_for_who_is_silent() {
    let scratch = Scratch::new();
    let password = private(&scratch, "password", PASSWORD);
    for backend in ["cobbler", "hook"] {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedplate"));
        command.args(["netboot", "off", &format!("--{backend}-url"), &url, "--netboot-timeout", "120"]);
        if backend == "cobbler" {
            command.args(["--cobbler-user", "u", "--cobbler-password-file", &password, "--netboot-system", "node-1"]);
        }
        let mut run = command.env("no_proxy", "*").stderr(Stdio::null()).spawn().unwrap();
        let _asks = silent.accept().unwrap();
        let asked_to_end = Instant::now();
        kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(143), "{backend}");
        assert!(asked_to_end.elapsed() < Duration::from_secs(20), "{backend}: {:?}", asked_to_end.elapsed());
    }
}

#[test]
fn what_cobbler_refuses_is_not_repeated_and_told_in_its_words() {
    let on = "<struct><member><name>netboot_enabled</name><value>True</value></member></struct>";
    let cases = [
        (
            "login",
            fault("login failed (fuel) hunter2 &lt;&amp;&gt; \u{e9}"),
            "logging in to Cobbler at URL as \"fuel\": fault 1: login failed (fuel) ***",
        ),
        (
            "get_system_handle",
            fault("unknown system name node-1"),
            "asking Cobbler at URL for system \"node-1\": fault 1: unknown system name node-1",
        ),
        ("get_system_handle", answer("~"), "asking Cobbler at URL for system \"node-1\": it knows none"),
        (
            "modify_system",
            fault(&format!("{TOKEN} may not")),
            "calling modify_system of Cobbler at URL: fault 1: *** may not",
        ),
        (
            "save_system",
            answer("<boolean>0</boolean>"),
            "calling save_system of Cobbler at URL: it says that it failed",
        ),
        ("get_system", answer("~"), "calling get_system of Cobbler at URL: expected a system, found a string"),
        ("get_system", answer(on), "system \"node-1\" of Cobbler at URL: it says otherwise when asked back"),
        (
            "login",
            Reply::new(404, b"<html>Not here</html>".to_vec()),
            "calling login of Cobbler at URL: it answers 404 Not Found: <html>Not here</html>",
        ),
    ];
    for (at, reply, expected) in cases {
        let at = at.to_owned();
        let server = Server::start(move |seen, _| if method(seen) == at { reply.clone() } else { good(seen) });
        let said = cobbler(&server, &["--netboot-system", "node-1"]);
        let expected =
            format!("bedplate: switching network boot off: {expected}").replace("URL", &server.url("/cobbler_api"));
        assert_eq!((said.code, failure(&said)), (16, expected.as_str()), "{}", said.text);
        assert_eq!(methods(&server).iter().filter(|method| *method == "login").count(), 1);
    }
}

#[test]
fn an_answer_that_is_no_xml_rpc_or_has_no_end_is_refused() {
    let huge = format!("<methodResponse>{}", " ".repeat(2 << 20));
    let deep = format!("<methodResponse><params><param>{}", "<value><array><data>".repeat(40_000));
    let cases = [
        ("It works!".to_owned(), "reading the answer: expected an element, found text"),
        (deep, "reading the answer: expected at most 32 values in each other, found more"),
        (huge, "it exceeds 1048576 bytes"),
    ];
    for (body, expected) in cases {
        let server = Server::start(move |_, _| Reply::new(200, body.clone().into_bytes()));
        let said = cobbler(&server, &["--netboot-system", "node-1"]);
        assert_eq!(said.code, 16, "{}", said.text);
        assert!(failure(&said).ends_with(expected), "{}", said.text);
    }
}

#[test]
fn a_password_that_others_can_read_is_warned_of() {
    let server = Server::start(|seen, _| good(seen));
    let scratch = Scratch::new();
    let file = private(&scratch, "password", PASSWORD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let url = server.url("/");
    let said = netboot(&[
        "off",
        "--cobbler-url",
        &url,
        "--cobbler-user",
        "u",
        "--cobbler-password-file",
        &file,
        "--netboot-system",
        "node-1",
    ]);
    assert_eq!(said.code, 0, "{}", said.text);
    let warning = format!("bedplate: warn: cobbler-password-file: others can read {file}: mode 640, expected 600");
    assert!(said.text.lines().any(|line| line == warning), "{}", said.text);
}

#[test]
fn a_request_names_who_decides_and_the_system() {
    let server = Server::start(|seen, _| good(seen));
    let fixture = format!("{}/tests/fixtures/provision/01-single-disk-lvm.json", env!("CARGO_MANIFEST_DIR"));
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    document["bedplate"]["netboot"] = serde_json::json!({
        "type": "cobbler", "url": server.url("/cobbler_api"), "user": "fuel", "password": PASSWORD, "sync": false,
    });
    let scratch = Scratch::new();
    let file = private(&scratch, "provision.json", &document.to_string());
    let said = netboot(&["off", "--request", &file]);
    assert_eq!(said.code, 0, "{}", said.text);
    assert!(String::from_utf8_lossy(&server.seen()[1].body).contains("<string>node-1</string>"));
}

#[test]
fn a_hook_is_called_with_what_is_known_of_the_node_and_asked_back() {
    let server = Server::start(|seen, _| match seen.method.as_str() {
        "POST" => Reply::new(202, b"on its way".to_vec()),
        _ => Reply::new(200, b" off\n".to_vec()),
    });
    let scratch = Scratch::new();
    let token = private(&scratch, "token", TOKEN);
    let (url, check) = (server.url("/pxe/{{mac-hyphens}}?to={{state}}"), server.url("/pxe/{{mac}}"));
    let arguments = ["off", "--hook-url", &url, "--hook-check-url", &check, "--hook-token-file", &token];
    let said = netboot(&[&arguments[..], &["--netboot-mac", MAC, "--netboot-system", "n1", "--node", "7"]].concat());
    assert_eq!(said.code, 0, "{}", said.text);
    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(lines, ["POST /pxe/52-54-00-77-00-01?to=off", "GET /pxe/52:54:00:77:00:01"]);
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body, serde_json::json!({"netboot": false, "mac": MAC, "system": "n1", "node": 7}));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    let bearer = format!("Bearer {TOKEN}");
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some(bearer.as_str())));
}

#[test]
fn a_hook_that_fails_or_says_otherwise_is_an_error_of_the_master() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/lies" => Reply::new(200, b"on".to_vec()),
        "/echo" => Reply::new(403, format!("no: {}", seen.header("authorization").unwrap()).into_bytes()),
        _ => Reply::new(204, Vec::new()),
    });
    let scratch = Scratch::new();
    let token = private(&scratch, "token", TOKEN);
    let (good, lies, echo) = (server.url("/good"), server.url("/lies"), server.url("/echo"));
    let said = netboot(&["off", "--hook-url", &good, "--hook-check-url", &lies]);
    let expected = format!("bedplate: switching network boot off: {lies} says otherwise when asked back: on");
    assert_eq!((said.code, failure(&said)), (16, expected.as_str()));
    let said = netboot(&["off", "--hook-url", &echo, "--hook-token-file", &token]);
    let expected = format!(
        "bedplate: switching network boot off: {echo}: expected the status 200 to 299, found 403 Forbidden: no: Bearer ***"
    );
    assert_eq!((said.code, failure(&said)), (16, expected.as_str()));
    let said = netboot(&["on", "--hook-url", "http://127.0.0.1:1/"]);
    assert_eq!(said.code, 16, "{}", said.text);
    let said = netboot(&["on", "--hook-url", "http://127.0.0.1:1/{{mac"]);
    assert_eq!((said.code, failure(&said)), (2, "bedplate: hook-url: expected }} after {{, found none"));
}

#[test]
fn the_files_of_a_tftp_tree_are_written_and_put_back() {
    let scratch = Scratch::new();
    let root = scratch.folder().to_str().unwrap();
    for folder in ["pxelinux.cfg", "EFI/grub"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    let pxelinux = scratch.path("pxelinux.cfg/01-52-54-00-77-00-01");
    let grub = scratch.path("EFI/grub/grub.cfg-01-52-54-00-77-00-01");
    fs::write(&pxelinux, "default bootstrap\n").unwrap();
    let arguments = ["--tftp-root", root, "--tftp-grub", "EFI/grub", "--netboot-mac", MAC];
    let said = netboot(&[&["off"][..], &arguments].concat());
    assert_eq!(said.code, 0, "{}", said.text);
    let holds = |path: &Path, words: &str| fs::read_to_string(path).unwrap().contains(words);
    assert!(holds(&pxelinux, "localboot -1") && holds(&grub, "set default=local"));
    let said = netboot(&[&["on"][..], &arguments].concat());
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(fs::read_to_string(&pxelinux).unwrap(), "default bootstrap\n");
    assert!(!grub.exists());
    let said = netboot(&["off", "--tftp-root", "/nonexistent/tftp", "--netboot-mac", MAC]);
    assert_eq!(said.code, 16, "{}", said.text);
}

#[test]
fn nobody_is_called_where_somebody_else_decides() {
    assert_eq!(netboot(&["off", "--netboot-backend", "none"]).code, 0);
    let said = netboot(&["off", "--netboot-backend", "foreman"]);
    let expected = "bedplate: --netboot-backend: expected one of master, cobbler, hook, tftp, none, found \"foreman\"";
    assert_eq!((said.code, failure(&said)), (2, expected));
}
