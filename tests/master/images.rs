//! Bootstrap images over HTTP: keeping them, what they are made of, builds.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bootstraps::{FIRST, SECOND, archive};
use crate::support::{Answer, Master};

const API: &str = "/api/operator/bootstraps";

impl Master {
    fn token(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("operator.token")).unwrap().trim().to_owned()
    }

    /// A call with the operator's token.
    fn api(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.call(method, &format!("{API}{path}"), Some(&self.token()), body)
    }

    fn put(&self, settings: &Value) -> Answer {
        self.api("PUT", "/settings", settings.to_string().as_bytes())
    }

    fn upload(&self, uuid: &str) -> Answer {
        let archive = archive(self.folder.path(), uuid, "");
        self.api("POST", "", &std::fs::read(archive).unwrap())
    }

    /// Waits until the build that goes on has ended.
    fn wait_for_build(&self) -> Value {
        for _ in 0..600 {
            let build = self.api("GET", "/build", b"").json();
            if build["state"] != "running" {
                return build;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the build goes on: {}", self.api("GET", "/build/log", b"").text());
    }
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn nothing_is_done_without_the_operators_token() {
    let master = Master::start();
    let image = format!("/images/{FIRST}");
    let activate = format!("{image}/activate");
    for (method, path) in [
        ("GET", ""),
        ("POST", ""),
        ("POST", "/rollback"),
        ("GET", "/settings"),
        ("PUT", "/settings"),
        ("GET", "/build"),
        ("POST", "/build"),
        ("GET", "/build/log"),
        ("POST", "/build/cancel"),
        ("DELETE", image.as_str()),
        ("POST", activate.as_str()),
    ] {
        for token in [None, Some("0123456789abcdef0123456789abcdef")] {
            let answer = master.call(method, &format!("{API}{path}"), token, b"{}");
            assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
        }
    }
    assert!(!master.folder.path().join("bootstraps").exists());
}

#[test]
fn images_are_uploaded_activated_rolled_back_and_deleted() {
    let master = Master::start();
    assert_eq!(master.api("GET", "", b"").json(), json!({ "images": [] }));
    let answer = master.upload(FIRST);
    assert_eq!((answer.status, answer.json()["uuid"].as_str()), (201, Some(FIRST)), "{}", answer.text());
    assert_eq!(answer.json()["computed"].as_array().unwrap().len(), 9);
    assert_eq!(master.upload(SECOND).status, 201);
    let expected = format!("importing the archive: there is a bootstrap image {SECOND} already");
    let again = told(&master.upload(SECOND));
    assert!(again.0 == 409 && again.1.starts_with(&expected), "{again:?}");

    let activate = |uuid: &str| master.api("POST", &format!("/images/{uuid}/activate"), b"");
    assert_eq!(activate(FIRST).json(), json!({ "active": FIRST, "previous": null, "cobbler": false }));
    assert_eq!(activate(SECOND).json(), json!({ "active": SECOND, "previous": FIRST, "cobbler": false }));
    let list = master.api("GET", "", b"").json();
    let expected = |uuid: &str, status: &str| json!({ "uuid": uuid, "label": "made by hand", "status": status, "bytes": 136, "problem": null });
    assert_eq!(list, json!({ "images": [expected(FIRST, "previous"), expected(SECOND, "active")] }));
    let delete = |uuid: &str, query: &str| master.api("DELETE", &format!("/images/{uuid}{query}"), b"");
    assert_eq!((delete(SECOND, "?force=true").status, delete(FIRST, "").status), (409, 409));
    let back = master.api("POST", "/rollback", b"");
    assert_eq!(back.json(), json!({ "active": FIRST, "previous": SECOND, "cobbler": false }));
    let deleted = delete(SECOND, "?force=true");
    assert_eq!(deleted.json(), json!({ "images": [expected(FIRST, "active")] }));
    let unknown = format!("there is no bootstrap image {SECOND:?}");
    assert_eq!(told(&delete(SECOND, "")), (404, unknown.clone()));
    assert_eq!(told(&activate(SECOND)), (404, unknown));
    assert_eq!(activate("..").status, 404);
}

#[test]
fn an_upload_that_is_no_image_or_breaks_off_leaves_nothing() {
    let master = Master::start();
    let refused = told(&master.api("POST", "", b"no archive"));
    let expected = "importing the archive: expected a tar archive that is packed with gzip, found something else";
    assert_eq!(refused, (422, expected.to_owned()));
    let archive = std::fs::read(archive(master.folder.path(), FIRST, "")).unwrap();
    let cut_off = master.api("POST", "", &archive[..archive.len() / 2]);
    assert_eq!(cut_off.status, 422, "{}", cut_off.text());
    // The client says that more will come, and goes away.
    let mut client = TcpStream::connect(master.address).unwrap();
    let head = format!(
        "POST {API} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nAuthorization: Bearer {}\r\n\r\n",
        master.token()
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&archive[..archive.len() / 2]).unwrap();
    drop(client);
    let folder = master.folder.path().join("bootstraps");
    for _ in 0..100 {
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        if names == [".lock"] {
            assert_eq!(master.api("GET", "", b"").json(), json!({ "images": [] }));
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("something is left in {}", folder.display());
}

#[test]
fn repositories_and_packages_are_configured() {
    let master = Master::start();
    // As the package brings it along.
    master.folder.write("bootstrap.yaml", "# Without `repos`: those of this machine.\n#repos: []\n");
    let before = master.api("GET", "/settings", b"").json();
    assert_eq!(
        (&before["repos"], &before["packages"], &before["kernel_flavor"]),
        (&json!([]), &json!([]), &json!("generic"))
    );
    let repos = json!([
        { "uri": "http://10.20.0.2/ubuntu", "suite": "xenial", "section": "main universe" },
        { "name": "mos", "type": "deb", "uri": "http://10.20.0.2/mos", "suite": "mos10.0", "section": "main", "priority": 1050 },
    ]);
    let set =
        master.put(&json!({ "repos": repos, "packages": ["vim", "mc"], "suite": "xenial", "distribution": "ubuntu" }));
    assert_eq!(set.status, 200, "{}", set.text());
    let set = set.json();
    assert_eq!((&set["packages"], &set["suite"]), (&json!(["mc", "vim"]), &json!("xenial")));
    assert_eq!((&set["repos"][0]["name"], &set["repos"][1]["priority"]), (&json!("repo_0"), &json!(1050)));
    // What the command line builds with, and the master after a restart.
    let master = master.kill_and_restart();
    assert_eq!(master.api("GET", "/settings", b"").json(), set);
    let file = master.folder.path().join("bootstrap.yaml");
    assert!(std::fs::read_to_string(&file).unwrap().contains("mos10.0"));
    let changed = master.put(&json!({ "packages": null, "extend_kopts": "quiet" })).json();
    assert_eq!(
        (&changed["packages"], &changed["extend_kopts"], &changed["suite"]),
        (&json!([]), &json!("quiet"), &json!("xenial"))
    );

    let kept = std::fs::read_to_string(&file).unwrap();
    for (settings, words) in [
        (
            json!({ "post_script_file": "/etc/passwd" }),
            "post_script_file: cannot be set here: expected allow_unsigned, ",
        ),
        (json!({ "hashed_root_password": "x" }), "hashed_root_password: cannot be set here: "),
        (json!({ "packages": ["--allow"] }), "packages: expected the name of a package, found \"--allow\""),
        (json!({ "packages": "vim" }), "packages: invalid type: string"),
        (
            json!({ "repos": [{ "uri": "http://a b", "suite": "c", "section": "d" }] }),
            "repository repo_0: uri: expected an http, ",
        ),
        (json!({ "extend_kopts": "a\nb" }), "extend_kopts: expected one line of printable ASCII"),
        (json!([]), "the body is not an object of settings: "),
    ] {
        let (status, message) = told(&master.put(&settings));
        assert!(status == 400 && message.starts_with(words), "{settings}: {status}: {message}");
    }
    let long = vec![b' '; (256 << 10) + 1];
    assert_eq!(master.api("PUT", "/settings", &long).status, 413);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept, "nothing is changed");
}

/// A repository that takes connections and says nothing, and settings of builds that ask it.
fn silent_site(master: &Master) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = master.folder.path();
    master.folder.write("debs/bedplate_0_amd64.deb", "");
    let uri = format!("http://{}/debian", silent.local_addr().unwrap());
    let settings = json!({
        "scripts": Path::new(env!("CARGO_MANIFEST_DIR")), "agent_packages": folder.join("debs"), "distribution": "debian",
        "suite": "bookworm", "build_dir": folder.join("work"), "allow_unsigned": [uri],
        "repos": [{ "uri": uri, "suite": "bookworm", "section": "main" }],
    });
    master.folder.write("bootstrap.yaml", settings.to_string());
    silent
}

#[test]
fn needs_root_one_build_goes_on_at_a_time_and_can_be_cancelled() {
    let master = Master::start();
    let none = told(&master.api("GET", "/build", b""));
    assert_eq!(none, (404, "nothing was built yet".to_owned()));
    assert_eq!(master.api("POST", "/build/cancel", b"").status, 409);
    let silent = silent_site(&master);
    let started = master.api("POST", "/build", br#"{"label": "x", "packages": ["vim"]}"#);
    assert_eq!((started.status, started.json()["state"].as_str()), (202, Some("running")), "{}", started.text());
    let again = told(&master.api("POST", "/build", b"{}"));
    assert_eq!(again, (409, "a build of a bootstrap image goes on already".to_owned()));
    // It asks the repository: whoever started it is gone.
    let _asks = silent.accept().unwrap();
    let going = master.api("GET", "/build", b"").json();
    assert_eq!((&going["phase"], &going["phases_done"]), (&json!("repositories"), &json!(1)), "{going}");
    let log = master.api("GET", "/build/log", b"");
    let next: usize = log.header("x-bedplate-next-offset").unwrap().parse().unwrap();
    assert!(log.text().contains(" checking settings and tools\n") && next == log.body.len(), "{next}: {}", log.text());
    let rest = master.api("GET", &format!("/build/log?offset={next}"), b"");
    assert!(!rest.text().contains("checking settings"), "{}", rest.text());
    assert_eq!(master.api("GET", "/build/log?offset=x", b"").status, 400);
    assert_eq!(master.api("POST", "/build/cancel", b"").status, 202);
    let ended = master.wait_for_build();
    assert_eq!((&ended["state"], &ended["error"]), (&json!("cancelled"), &json!("it was cancelled")), "{ended}");
    assert_eq!(master.api("GET", "", b"").json(), json!({ "images": [] }));
}

#[test]
fn needs_root_a_build_that_a_master_leaves_behind_has_failed() {
    let master = Master::start();
    let silent = silent_site(&master);
    assert_eq!(master.api("POST", "/build", b"{}").status, 202);
    let _asks = silent.accept().unwrap();
    let master = master.kill_and_restart();
    let build = master.api("GET", "/build", b"").json();
    let expected = (&json!("failed"), &json!("the master ended before the build did"));
    assert_eq!((&build["state"], &build["error"]), expected, "{build}");
    // Nothing of it hinders the next one.
    assert_eq!(master.api("POST", "/build", b"{}").status, 202);
    let _asks = silent.accept().unwrap();
    assert_eq!(master.api("GET", "/build", b"").json()["state"], "running");
}

#[test]
fn a_build_that_cannot_begin_says_why() {
    let master = Master::start();
    master.folder.write(
        "bootstrap.yaml",
        format!("build_dir: {}/work\nscripts: /nonexistent\n", master.folder.path().display()),
    );
    for order in ["{\"script\": \"/x\"}", "{\"packages\": [\"-y\"]}", "x"] {
        assert_eq!(master.api("POST", "/build", order.as_bytes()).status, 400, "{order}");
    }
    assert_eq!(master.api("POST", "/build", b"{}").status, 202);
    let build = master.wait_for_build();
    assert_eq!(build["state"], "failed");
    let error = build["error"].as_str().unwrap();
    // Whoever is not root learns that first.
    assert!(error.starts_with("scripts: /nonexistent has not ") || error.contains("only root can"), "{error}");
}
