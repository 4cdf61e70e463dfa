//! An image, built by what the package of the master brings along. It is kept under a hash of what makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::site::{Behaviour, SUITE, Site, repository, run};

/// What an image of this test follows from. The agent is taken as it is: its content is not in question here.
const INPUTS: &str = "packaging/bootstrap packaging/common.sh packaging/distribution.sh packaging/deb packaging/master/install.sh initramfs \
     mcollective src/master/bootstraps/build src/master/bootstraps/repository.rs src/sys/job.rs tests/builder/image.rs";

/// A name in the cache, and the hash that ends it.
fn cached() -> PathBuf {
    let script = format!(". packaging/common.sh; echo \"$(cache_dir)/builder-$(digest_of x -- {INPUTS})\"");
    run(Command::new("bash").args(["-c", &script]).current_dir(repository())).trim().into()
}

/// What an operator adds to an image.
fn wishes(site: &Site) -> Vec<String> {
    let path = |name: &str| site.scratch.path(name);
    fs::create_dir_all(path("extra/etc/site")).unwrap();
    fs::write(path("extra/etc/site/motd"), "hello\n").unwrap();
    fs::write(path("key.pub"), "ssh-ed25519 AAAA site\n").unwrap();
    let script = "set -e\ntest -e /proc/self/status\ncat /usr/share/site/tool /etc/site/motd >/etc/site/seen\n";
    fs::write(path("script"), script).unwrap();
    let lines = run(Command::new(repository().join("packaging/bootstrap/live/inputs.sh"))
        .arg("repositories")
        .envs([("DISTRO", "debian"), ("FIRMWARE", "plain")]));
    let own = lines.lines().map(str::to_owned).chain([format!("{},1001", site.line("site.gpg", SUITE))]);
    let mut options: Vec<_> = own.flat_map(|line| ["--repo".to_owned(), line]).collect();
    for (option, value) in [
        ("--package", "site-tool".to_owned()),
        ("--extra-dir", path("extra").display().to_string()),
        ("--script", path("script").display().to_string()),
        ("--root-ssh-authorized-file", path("key.pub").display().to_string()),
        ("--label", "It's a test".to_owned()),
        ("--extend-kopts", "net.ifnames=1".to_owned()),
    ] {
        options.extend([option.to_owned(), value]);
    }
    options
}

/// Builds so many times from the same inputs: `1.tar.gz`, `2.tar.gz`, ..
fn build(into: &Path, times: usize) {
    let site = Site::new(Behaviour::Good);
    let (packages, system) = (site.scratch.path("packages"), site.scratch.path("system"));
    run(Command::new(repository().join("packaging/deb/build.py"))
        .args(["--compression", "none", "--agent", env!("CARGO_BIN_EXE_bedplate"), "--master"])
        .args([env!("CARGO_BIN_EXE_bedplate-master").as_ref(), Path::new("--out"), &packages]));
    let package = format!("bedplate-master_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"));
    run(Command::new("dpkg-deb").arg("--extract").args([&packages.join(package), &system]));
    let scripts = system.join("usr/share/bedplate/bootstrap");
    site.write_settings(&scripts.join("debs"), &scripts);
    let options = wishes(&site);
    let mut said = Vec::new();
    for _ in 0..times {
        let mut command = Command::new(system.join("usr/bin/fuel-bootstrap"));
        command.args(["build", "--config"]).arg(site.scratch.path("bootstrap.yaml")).args(&options);
        said.push(run(command.env("SOURCE_DATE_EPOCH", "1790000000")));
        let archive = fs::read_dir(site.out()).unwrap().next().unwrap().unwrap().path();
        fs::rename(archive, into.join(format!("{}.tar.gz", said.len()))).unwrap();
        assert_eq!(site.left(), Vec::<String>::new());
    }
    assert!(said.iter().all(|line| *line == said[0]), "{said:?}");
    fs::write(into.join("said"), said[0].replace(&site.out().display().to_string(), "OUT")).unwrap();
}

/// The archive, unpacked into this folder, and the cache that it is from.
fn image(folder: &Path) -> PathBuf {
    let cache = cached();
    if !cache.join("said").exists() {
        let work = cache.with_extension(format!("new.{}", std::process::id()));
        fs::create_dir_all(&work).unwrap();
        build(&work, 1);
        fs::rename(&work, &cache).unwrap();
    }
    fs::create_dir(folder).unwrap();
    run(Command::new("tar").arg("--extract").arg("--file").arg(cache.join("1.tar.gz")).arg("--directory").arg(folder));
    cache
}

#[test]
#[ignore = "long: make e2e-long"]
fn needs_root_two_images_of_the_same_inputs_are_the_same_bytes() {
    // Kept when they differ, to be compared.
    let folder = std::env::temp_dir().join(format!("bedplate-images-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    build(&folder, 2);
    let digest = |name: &str| run(Command::new("sha256sum").arg(folder.join(name)))[..64].to_owned();
    assert_eq!(digest("1.tar.gz"), digest("2.tar.gz"), "both are in {}", folder.display());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn needs_root_an_image_holds_what_was_asked_for() {
    let scratch = crate::support::scratch::Scratch::new();
    let folder = scratch.path("image");
    let cache = image(&folder);

    let text = fs::read_to_string(folder.join("metadata.yaml")).unwrap();
    let metadata: Value = serde_saphyr::from_str(&text).unwrap();
    let uuid = metadata["uuid"].as_str().unwrap();
    let said = format!("Bootstrap image {uuid} has been built: OUT/{uuid}.tar.gz\n");
    assert_eq!(fs::read_to_string(cache.join("said")).unwrap(), said);
    assert_eq!(
        (metadata["label"].as_str(), metadata["extend_kopts"].as_str()),
        (Some("It's a test"), Some("net.ifnames=1"))
    );
    assert_eq!(metadata["all_packages"]["site-tool"], "1.0");
    let repos = metadata["repos"].as_array().unwrap();
    let last = repos.last().unwrap();
    assert_eq!((&last["suite"], &last["section"], &last["priority"]), (&"demo".into(), &"main".into(), &1001.into()));
    for (module, file) in [("kernel", "vmlinuz"), ("initrd", "initrd.img"), ("rootfs", "root.squashfs")] {
        let sum = run(Command::new("sha256sum").arg(folder.join(file)));
        assert_eq!(metadata["modules"][module]["raw_sha256"], sum[..64]);
    }

    let squashfs = folder.join("root.squashfs");
    let read = |path: &str| run(Command::new("unsquashfs").arg("-cat").arg(&squashfs).arg(path));
    assert_eq!(read("etc/site/seen"), "a tool\nhello\n");
    assert_eq!(read("root/.ssh/authorized_keys"), "ssh-ed25519 AAAA site\n");
    assert_eq!(read("etc/nailgun-agent/config.yaml"), format!("runtime_uuid: {uuid}\n"));
    assert_eq!(read("etc/resolv.conf"), "");
    let number = repos.len() - 1;
    let pin = "Package: *\nPin: release o=Site,l=Site tools,a=stable,n=demo\nPin-Priority: 1001\n";
    assert_eq!(read(&format!("etc/apt/preferences.d/fuel-image-repo_{number}.pref")), pin);
    let source = read(&format!("etc/apt/sources.list.d/fuel-image-repo_{number}.list"));
    assert!(
        source
            .starts_with(&format!("deb [signed-by=/etc/apt/keyrings/fuel-image-repo_{number}.gpg] http://127.0.0.1:")),
        "{source}"
    );
    // No password was given: nobody can log in by one.
    assert!(read("etc/shadow").lines().any(|line| line.starts_with("root:*:")));
    let names = run(Command::new("unsquashfs").args(["-l", "-dest", ""]).arg(&squashfs));
    for absent in ["/bedplate-post-script", "/etc/apt/apt.conf.d/99mmdebstrap", "/usr/sbin/policy-rc.d"] {
        assert!(!names.lines().any(|name| name == absent), "{absent}");
    }
}
