//! A site: a signed repository on the loopback, the scripts of this checkout, and the builder as its operator calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::http_server::{Reply, Server};
use crate::support::scratch::Scratch;

/// What the repository is asked for.
pub const SUITE: &str = "demo main";

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a tool that has to succeed.
pub fn run(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// How the repository behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    /// Nobody has signed it.
    Unsigned,
    /// It begins to answer, and says no more.
    Silent,
}

pub struct Site {
    pub scratch: Scratch,
    pub server: Server,
}

impl Site {
    pub fn new(behaviour: Behaviour) -> Self {
        let scratch = Scratch::new();
        let root = scratch.path("www");
        make_repository(&scratch, &root);
        if behaviour == Behaviour::Unsigned {
            fs::remove_file(root.join("dists/demo/InRelease")).unwrap();
        }
        let server = Server::start(move |seen, _| {
            // apt escapes what may stand in the version of a package.
            let path = seen.path.replace("%2b", "+").replace("%7e", "~");
            match fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(bytes) if behaviour == Behaviour::Silent => {
                    Reply::new(200, bytes).stall(1, Duration::from_secs(600))
                }
                Ok(bytes) => Reply::new(200, bytes),
                Err(_) => Reply::new(404, Vec::new()),
            }
        });
        let site = Self { scratch, server };
        fs::create_dir(site.scratch.path("debs")).unwrap();
        // Chosen with the others, and never installed.
        pack(&site.scratch.path("tree"), "bedplate", &site.scratch.path("debs/bedplate_1.0_amd64.deb"));
        site.write_settings(&site.scratch.path("debs"), repository());
        site
    }

    /// Settings with these packages of the agent and these scripts.
    pub fn write_settings(&self, debs: &Path, scripts: &Path) {
        let text = format!(
            "distribution: debian\nscripts: {}\nagent_packages: {}\nbuild_dir: {}\noutput_dir: {}\nvariant: small\nkernel_flavor: cloud\n",
            scripts.display(),
            debs.display(),
            self.build().display(),
            self.out().display()
        );
        fs::write(self.scratch.path("bootstrap.yaml"), text).unwrap();
    }

    pub fn build(&self) -> PathBuf {
        self.scratch.path("build")
    }

    pub fn out(&self) -> PathBuf {
        self.scratch.path("out")
    }

    /// The repository as an option, signed by this key.
    pub fn line(&self, key: &str, suite: &str) -> String {
        let key = self.scratch.path(key);
        format!("deb [signed-by={}] {} {suite}", key.display(), self.server.url(""))
    }

    /// `bedplate-master bootstrap build`, not yet started.
    pub fn builder(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedplate-master"));
        command.args(["bootstrap", "build", "--config"]).arg(self.scratch.path("bootstrap.yaml")).args(options);
        command.env("RUST_LOG", "error").stdin(Stdio::null());
        command
    }

    /// Builds in vain: the exit code, and the message without its advice.
    pub fn fails(&self, options: &[&str]) -> (i32, String) {
        failure(&self.builder(options).output().unwrap())
    }

    /// What is in the build folder and in the output folder, logs apart.
    pub fn left(&self) -> Vec<String> {
        let folders = [self.build(), self.out()];
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.ends_with(".log") && !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

pub fn failure(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.strip_prefix("bedplate-master: ")).unwrap_or(&said);
    (output.status.code().unwrap_or(-1), line.to_owned())
}

/// A package of this name with what is in the tree.
fn pack(tree: &Path, name: &str, package: &Path) {
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = "Version: 1.0\nArchitecture: all\nMaintainer: x <x@x.invalid>\nDescription: a tool\n";
    fs::write(tree.join("DEBIAN/control"), format!("Package: {name}\n{control}")).unwrap();
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).args([tree, package]));
}

/// A package `site-tool`, an index that is larger than a small file system, and two keys: `site.gpg` signed it,
/// `other.gpg` did not.
fn make_repository(scratch: &Scratch, root: &Path) {
    let tree = scratch.path("tree");
    fs::create_dir_all(tree.join("usr/share/site")).unwrap();
    fs::write(tree.join("usr/share/site/tool"), "a tool\n").unwrap();
    let (pool, index) = (root.join("pool"), root.join("dists/demo/main/binary-amd64"));
    fs::create_dir_all(&pool).unwrap();
    fs::create_dir_all(&index).unwrap();
    pack(&tree, "site-tool", &pool.join("site-tool_1.0_all.deb"));
    let mut packages = run(Command::new("dpkg-scanpackages").args(["--multiversion", "pool"]).current_dir(root));
    for number in 0..4000 {
        packages.push_str(&format!(
            "\nPackage: filler-{number}\nVersion: 1\nArchitecture: all\nFilename: pool/none.deb\nSize: 1\nSHA256: {}\n",
            "0".repeat(64)
        ));
    }
    fs::write(index.join("Packages"), &packages).unwrap();
    let sum = run(Command::new("sha256sum").arg(index.join("Packages")));
    let release = format!(
        "Origin: Site\nLabel: Site tools\nSuite: stable\nCodename: demo\nDate: Sat, 21 Nov 2026 00:00:00 UTC\n\
         Architectures: amd64 all\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        &sum[..64],
        packages.len()
    );
    fs::write(root.join("dists/demo/Release"), release).unwrap();
    for name in ["other", "site"] {
        let home = scratch.path(&format!("gnupg-{name}"));
        fs::create_dir(&home).unwrap();
        run(Command::new("chmod").arg("700").arg(&home));
        let gpg = |arguments: &[&str]| {
            let mut command = Command::new("gpg");
            command.args(["--batch", "--quiet", "--no-permission-warning", "--homedir"]).arg(&home).args(arguments);
            command.stderr(Stdio::null());
            command
        };
        assert!(
            gpg(&["--passphrase", "", "--quick-gen-key", "x <x@x.invalid>", "rsa2048", "sign", "never"])
                .status()
                .unwrap()
                .success()
        );
        let key = gpg(&["--export"]).output().unwrap().stdout;
        fs::write(scratch.path(&format!("{name}.gpg")), key).unwrap();
        if name == "site" {
            let signed = gpg(&["--clearsign", "--output", "-"]).arg(root.join("dists/demo/Release")).output().unwrap();
            fs::write(root.join("dists/demo/InRelease"), signed.stdout).unwrap();
        }
        // Its agent would stay for ever.
        let _ended = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "gpg-agent"]).status();
    }
}
