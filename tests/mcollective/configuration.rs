//! What the bootstrap makes of the kernel line and the node's id.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::scratch::Scratch;

/// A system with this kernel line; nothing in it is started.
struct System(Scratch);

impl System {
    fn new(kernel_line: &str, id: Option<&str>) -> Self {
        let system = Self(Scratch::new());
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcollective/server.cfg");
        system.put("usr/share/bedplate/mcollective/server.cfg", &std::fs::read_to_string(template).unwrap());
        system.put("proc/cmdline", &format!("{kernel_line}\n"));
        system.put("etc/hostname", "bootstrap\n");
        if let Some(id) = id {
            system.put("etc/nailgun_uid", id);
        }
        system
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.0.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.path("etc/mcollective/server.cfg")
    }

    fn configure(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mcollective/configure.sh");
        Command::new(script).arg(self.0.folder()).output().unwrap()
    }

    /// The values of the keys that are not the same everywhere: identity, host, port, user, password.
    fn configured(&self) -> [String; 5] {
        let output = self.configure();
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(self.config()).unwrap();
        ["identity", "pool.1.host", "pool.1.port", "pool.1.user", "pool.1.password"].map(|key| {
            let key = if key == "identity" { key.to_owned() } else { format!("plugin.rabbitmq.{key}") };
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
            line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
        })
    }
}

#[test]
fn account_and_broker_come_from_the_kernel_line_and_the_identity_from_the_id() {
    for (line, expected) in [
        (
            "boot=live url=http://10.20.0.2:8000/api mco_user=mco mco_pass=p@ss&/\\1",
            ["7", "10.20.0.2", "61613", "mco", "p@ss&/\\1"],
        ),
        ("url=http://10.20.0.2/ quiet", ["7", "10.20.0.2", "61613", "mcollective", "marionette"]),
        ("url=http://[fd00::2]:8000/api", ["7", "fd00::2", "61613", "mcollective", "marionette"]),
        ("bedplate.master=http://master.lan:8200 mco_user=u", ["7", "master.lan", "61613", "u", "marionette"]),
        ("url=http://a/ mco_host=b mco_host=c mco_port=6163 x=*", ["7", "c", "6163", "mcollective", "marionette"]),
    ] {
        assert_eq!(System::new(line, Some("7\n")).configured(), expected.map(str::to_owned), "{line}");
    }
}

#[test]
fn every_key_of_the_configuration_has_a_value_and_only_root_reads_it() {
    let system = System::new("url=http://10.20.0.2:8000/api", Some("7\n"));
    let output = system.configure();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "mcollective-configure: node 7 is served by mcollective at 10.20.0.2:61613\n"
    );
    let text = std::fs::read_to_string(system.config()).unwrap();
    let settings: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(
        settings.iter().all(|line| line.split_once(" = ").is_some_and(|(_, value)| !value.contains('@'))),
        "{text}"
    );
    for line in [
        "securityprovider = psk",
        "plugin.psk = unset",
        "direct_addressing = 1",
        "ttl = 5400",
        "plugin.rabbitmq.vhost = mcollective",
    ] {
        assert!(settings.contains(&line), "{line} is not in\n{text}");
    }
    assert_eq!(std::fs::metadata(system.config()).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::metadata(system.config()).unwrap().modified().unwrap();
    let output = system.configure();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b""[..]),
        "nothing changed, and nothing is told"
    );
    assert_eq!(std::fs::metadata(system.config()).unwrap().modified().unwrap(), before);
}

#[test]
fn without_an_id_or_a_broker_nothing_is_configured() {
    let words = |system: &System| {
        let output = system.configure();
        assert!(!system.config().exists());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let line = "url=http://10.20.0.2:8000/api";
    let waits = "mcollective-configure: the node has no id yet: /etc/nailgun_uid comes with its discovery\n";
    assert_eq!(words(&System::new(line, None)), (Some(0), waits.to_owned(), String::new()));
    let wrong = "mcollective-configure: reading /etc/nailgun_uid: expected digits, found 7; rm -rf /\n";
    assert_eq!(words(&System::new(line, Some("7; rm -rf /"))), (Some(1), String::new(), wrong.to_owned()));
    let unknown = "mcollective-configure: no broker is known: the kernel line names no host by url=, mco_host= or bedplate.master=\n";
    assert_eq!(words(&System::new("mco_user=u", Some("7"))), (Some(1), String::new(), unknown.to_owned()));
}

#[test]
fn a_kernel_line_without_a_conductor_leaves_the_daemon_alone() {
    for line in
        ["quiet", "bedplate.master=http://master.lan:8200 curl=http://a/ fetch=http://master.lan:8200/mco_host=x"]
    {
        let system = System::new(line, Some("7\n"));
        let output = system.configure();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str(), output.stderr.as_slice()),
            (
                Some(0),
                "mcollective-configure: the kernel line has neither url= nor mco_host=: nobody drives this node through mcollective\n",
                &b""[..]
            ),
            "{line}"
        );
        assert!(!system.config().exists(), "{line}");
    }
}
