//! The active bootstrap image in a real cobblerd 3.3: distro, profile, the default system, and the files that it writes for
//! pxelinux and GRUB.
#![cfg(feature = "master")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bedplate::error::{Error, Kind};
use bedplate::image::Cancel;
use bedplate::master::bootstraps::activation::{self, Activation};
use bedplate::master::bootstraps::cobbler::{Registry, Settings};
use bedplate::master::bootstraps::metadata::ImageId;
use bedplate::master::bootstraps::store::Store;
use serde_json::{Value, json};
use support::bootstraps::{FIRST, SECOND, archive};
use support::cobblerd::Cobblerd;

const MCO_PASSWORD: &str = "mco-secret";

/// What it holds of everything that is registered, as JSON.
const ASK: &str = r#"
import json
def asked(kind, name, *keys):
    found = getattr(cobbler, "get_" + kind)(name)
    return None if found == "~" else {key: found[key] for key in keys}
print(json.dumps({
    "distro": asked("distro", "ubuntu_bootstrap", "kernel", "initrd", "arch", "breed", "os_version"),
    "profile": asked("profile", "ubuntu_bootstrap", "distro", "kernel_options", "autoinstall"),
    "system": asked("system", "default", "profile", "netboot_enabled"),
}))
"#;

struct Site {
    cobblerd: Cobblerd,
    store: Store,
}

impl Site {
    /// A cobblerd and two images, of which none is active.
    fn start() -> Self {
        let cobblerd = Cobblerd::start();
        let store = Store::new(cobblerd.scratch.path("bootstraps"), None);
        for (uuid, options) in [(FIRST, "net.ifnames=1 biosdevname=1"), (SECOND, "")] {
            store.import(&archive(cobblerd.scratch.folder(), uuid, options)).unwrap();
        }
        Self { cobblerd, store }
    }

    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.cobblerd.scratch.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn registry(&self, changes: &Value) -> Registry {
        let mut settings = json!({
            "url": self.cobblerd.url(),
            "user": "cobbler",
            "password_file": self.cobblerd.password(),
            "images_url": "http://10.20.0.2:8080/bootstraps/",
            "nailgun_url": "http://10.20.0.2:8000/api",
            "mco_user": "mcollective",
            "mco_password_file": self.secret("mco", MCO_PASSWORD),
            "timeout": 5,
        });
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Registry::new(&settings, None, Cancel::default()).unwrap()
    }

    fn activate(&self, uuid: &str, registry: &Registry) -> Result<Activation, Error> {
        activation::activate(&self.store, &id(uuid), Some(registry))
    }

    fn held(&self) -> Value {
        serde_json::from_str(&self.cobblerd.python(ASK, &[])).unwrap()
    }

    fn active(&self) -> Option<ImageId> {
        self.store.active().unwrap()
    }

    /// What both loaders of a machine that Cobbler does not know would start.
    #[track_caller]
    fn assert_unknown_machines_start(&self, uuid: &str) {
        let pxelinux = self.cobblerd.tftp("pxelinux.cfg/default").unwrap();
        let grub =
            self.cobblerd.tftp("grub/system/default").or_else(|| self.cobblerd.tftp("grub/x86_64_menu_items.cfg"));
        let fetch = format!("fetch=http://10.20.0.2:8080/bootstraps/{uuid}/root.squashfs");
        for file in [&pxelinux, &grub.unwrap()] {
            assert!(file.contains(&fetch), "{file}");
            assert!(file.contains("bedplate.squashfs=sha256:"), "{file}");
            assert!(file.contains("/images/ubuntu_bootstrap/vmlinuz"), "{file}");
        }
        assert!(pxelinux.contains("ipappend 2"), "{pxelinux}");
        let kernel = self.cobblerd.tftp("images/ubuntu_bootstrap/vmlinuz").unwrap();
        assert_eq!(kernel, format!("kernel of {uuid}"));
    }
}

fn id(uuid: &str) -> ImageId {
    uuid.parse().unwrap()
}

#[track_caller]
fn words(error: &Error) -> (Kind, String) {
    let text = error.to_string();
    for secret in ["hunter2", MCO_PASSWORD] {
        assert!(!text.contains(secret), "{text}");
    }
    (error.kind(), text)
}

fn file_of(store: &Store, uuid: &str, name: &str) -> String {
    store.folder().join(uuid).join(name).to_str().unwrap().to_owned()
}

#[test]
fn needs_root_activation_registers_and_roll_back_takes_back() {
    let site = Site::start();
    let registry = site.registry(&json!({ "breed": "generic", "os_version": "" }));
    let nothing = json!({ "distro": null, "profile": null, "system": null });
    assert_eq!(site.held(), nothing);

    let activation = site.activate(FIRST, &registry).unwrap();
    assert_eq!(activation, Activation { active: Some(id(FIRST)), previous: None, cobbler: true });
    let digest = site.store.image(&id(FIRST)).unwrap().metadata;
    let digest = digest.modules.values().last().unwrap().raw_sha256.as_ref().unwrap().to_string();
    let expected = json!({
        "distro": { "kernel": file_of(&site.store, FIRST, "vmlinuz"), "initrd": file_of(&site.store, FIRST, "initrd.img"),
            "arch": "x86_64", "breed": "generic", "os_version": "" },
        "profile": { "distro": "ubuntu_bootstrap", "autoinstall": "", "kernel_options": {
            "net.ifnames": "1", "biosdevname": "1", "console": ["ttyS0,9600", "tty0"], "panic": "60",
            "ethdevice-timeout": "120", "boot": "live", "toram": "~", "components": "~",
            "fetch": format!("http://10.20.0.2:8080/bootstraps/{FIRST}/root.squashfs"), "bedplate.squashfs": digest,
            "url": "http://10.20.0.2:8000/api", "mco_user": "mcollective", "mco_pass": MCO_PASSWORD, "ip": "frommedia",
        } },
        "system": { "profile": "ubuntu_bootstrap", "netboot_enabled": true },
    });
    assert_eq!(site.held(), expected);
    site.assert_unknown_machines_start(FIRST);

    let activation = site.activate(SECOND, &registry).unwrap();
    assert_eq!(activation, Activation { active: Some(id(SECOND)), previous: Some(id(FIRST)), cobbler: true });
    site.assert_unknown_machines_start(SECOND);
    activation::roll_back(&site.store, Some(&registry)).unwrap();
    assert_eq!((site.held(), site.active()), (expected, Some(id(FIRST))));
    site.assert_unknown_machines_start(FIRST);

    // Back to where nothing was active, and Cobbler knew nothing.
    site.store.delete(SECOND, true).unwrap();
    let activation = activation::roll_back(&site.store, Some(&registry)).unwrap();
    assert_eq!(activation, Activation { active: None, previous: Some(id(FIRST)), cobbler: true });
    assert_eq!(site.held(), nothing);
}

#[test]
fn needs_root_what_cobbler_held_before_the_first_image_comes_back() {
    let site = Site::start();
    let boot = site.store.folder().join(SECOND);
    site.cobblerd.python(
        r#"
boot = arguments[0]
make("distro", name="other", kernel=boot + "/vmlinuz", initrd=boot + "/initrd.img", breed="generic", os_version="", arch="x86_64")
make("profile", name="other", distro="other", kernel_options="console=b console=a quiet x=1")
make("system", name="default", profile="other", netboot_enabled=False)
make("distro", name="ubuntu_bootstrap", kernel=boot + "/vmlinuz", initrd=boot + "/initrd.img", breed="generic", os_version="", arch="x86_64")
make("profile", name="ubuntu_bootstrap", distro="other", kernel_options="console=b console=a quiet x=1")
make("system", name="node-1", profile="ubuntu_bootstrap", modify_interface={"macaddress-eth0": "52:54:00:77:00:01"})
"#,
        &[boot.to_str().unwrap()],
    );
    let before = site.held();
    let registry = site.registry(&json!({}));
    site.activate(FIRST, &registry).unwrap();
    assert_ne!(site.held(), before);
    let distro = &site.held()["distro"];
    assert_eq!((&distro["breed"], &distro["os_version"]), (&json!("ubuntu"), &json!("xenial")), "upstream's");
    activation::roll_back(&site.store, Some(&registry)).unwrap();
    assert_eq!((site.held(), site.active()), (before, None));
    assert_eq!(site.cobblerd.python("print(cobbler.get_system('node-1')['profile'])", &[]), "ubuntu_bootstrap");
}

#[test]
fn needs_root_an_activation_that_fails_changes_nothing() {
    let mut site = Site::start();
    let registry = site.registry(&json!({}));
    site.activate(FIRST, &registry).unwrap();
    let before = site.held();
    let assert_unchanged = |site: &Site| {
        assert_eq!((site.held(), site.active()), (before.clone(), Some(id(FIRST))));
        site.assert_unknown_machines_start(FIRST);
    };

    let wrong = site.secret("wrong", "hunter2");
    let refused = site.activate(SECOND, &site.registry(&json!({ "password_file": wrong }))).unwrap_err();
    let expected = format!(
        "activating the bootstrap image {SECOND}: asking Cobbler what it holds: logging in to Cobbler at {} as \"cobbler\": \
         fault 1: login failed (cobbler)",
        site.cobblerd.url()
    );
    assert_eq!(words(&refused), (Kind::Master, expected));
    assert_unchanged(&site);

    // Refused in the middle: the distro is written, the profile has a distro that it does not know.
    let refused = site.activate(SECOND, &site.registry(&json!({ "os_version": "no-such" }))).unwrap_err();
    let (kind, text) = words(&refused);
    assert_eq!(kind, Kind::Master);
    let start = format!(
        "activating the bootstrap image {SECOND}: nothing is changed, what Cobbler held is restored: registering "
    );
    assert!(text.starts_with(&start) && text.contains("distro \"ubuntu_bootstrap\": os_version: "), "{text}");
    assert_unchanged(&site);
    let folder = site.cobblerd.scratch.path("elsewhere");
    let refused = site.activate(SECOND, &site.registry(&json!({ "images_dir": folder }))).unwrap_err();
    assert!(words(&refused).1.contains("distro \"ubuntu_bootstrap\": initrd: "), "{refused}");
    assert_unchanged(&site);

    site.cobblerd.stop();
    let refused = site.activate(SECOND, &site.registry(&json!({ "timeout": 1 }))).unwrap_err();
    let (kind, text) = words(&refused);
    let start = format!("activating the bootstrap image {SECOND}: asking Cobbler what it holds: 3 attempts: ");
    assert!(kind == Kind::Master && text.starts_with(&start) && text.ends_with("(os error 111)"), "{text}");
    site.cobblerd.restart();
    site.cobblerd.wait();
    assert_unchanged(&site);
    // The link cannot be replaced: Cobbler goes back as well.
    let store = Store::new(site.store.folder(), Some(Path::new("/proc/no/active").to_owned()));
    let refused = activation::activate(&store, &id(SECOND), Some(&registry)).unwrap_err();
    assert!(
        words(&refused).1.contains("what Cobbler held is restored: writing the link /proc/no/active: "),
        "{refused}"
    );
    assert_unchanged(&site);
}
