//! The settings file of bootstraps: upstream's keys, and further ones. YAML.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Context as _, Error, Kind, Result};
use crate::master::config::is_kernel_text;
use crate::request::{Secret, YamlFault, yaml};

use super::cobbler;
use super::repository::{self, Repository};
use super::store::Store;

/// Where the settings are looked for, in this order; the second is upstream's place.
pub const FILES: [&str; 2] = ["/etc/bedplate/bootstrap.yaml", "/etc/fuel-bootstrap-cli/fuel_bootstrap_cli.yaml"];

/// In the folder of a master, before [`FILES`].
pub const OF_MASTER: &str = "bootstrap.yaml";

/// Keys that are there for other programs of Fuel, or that mean nothing here.
const IGNORED: [(&str, &str); 2] = [
    ("flavor", "there is one kind of bootstrap"),
    ("skip_default_img_build", "nothing is built unless it is asked for"),
];

/// Which distribution a bootstrap is made of. They differ in data alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

impl Distribution {
    /// Its name in lower case, as in /etc/os-release.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
        }
    }
}

/// How much is in a live system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// With the tools that people look at machines with.
    #[default]
    Full,
    /// What the agent and an orchestrator need, for guests that live for minutes.
    Small,
}

impl Variant {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Small => "small",
        }
    }
}

/// What a site sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `distribution`: the host's where none is given, Ubuntu with `ubuntu_release`.
    pub distribution: Option<Distribution>,
    /// `suite`, or upstream's `ubuntu_release`.
    pub suite: Option<String>,
    /// `repos`: where packages come from. None: those that this machine's apt has of the distribution.
    pub repos: Vec<Repository>,
    /// `keyring`: keys of repositories that name none.
    pub keyring: Option<PathBuf>,
    /// `allow_unsigned`: addresses of repositories that need no signature.
    pub allow_unsigned: BTreeSet<String>,
    /// `packages`: what is installed beside what a bootstrap needs.
    pub packages: BTreeSet<String>,
    /// `kernel_flavor`: `generic`, `cloud`, or the name of a kernel's package.
    pub kernel_flavor: String,
    /// `firmware`: whether firmware packages go in; all kernels but `cloud` want them.
    pub firmware: Option<bool>,
    /// `variant`: how much is in the image.
    pub variant: Variant,
    /// `extra_dirs`: folders whose content is laid over the root directory.
    pub extra_dirs: Vec<PathBuf>,
    /// `certs`: certificates of authorities that the image trusts; files, or folders as `extra_dirs`.
    pub certs: Vec<PathBuf>,
    /// `post_script_file`: run by bash in the root directory when all is installed.
    pub post_script_file: Option<PathBuf>,
    /// `root_ssh_authorized_file`: public keys that may log in as root.
    pub root_ssh_authorized_file: Option<PathBuf>,
    /// `hashed_root_password`: in the form of shadow(5).
    pub hashed_root_password: Option<Secret>,
    /// `extend_kopts`: what the image wants on the kernel line.
    pub extend_kopts: String,
    /// `http_proxy`
    pub http_proxy: Option<Secret>,
    /// `https_proxy`
    pub https_proxy: Option<Secret>,
    /// `direct_repo_addresses`: hosts that are asked without the proxy.
    pub direct_repo_addresses: BTreeSet<String>,
    /// `output_dir`: where archives are put.
    pub output_dir: PathBuf,
    /// `build_dir`: where a build works.
    pub build_dir: PathBuf,
    /// `scripts`: the folder with `packaging/` and `initramfs/`, which say what an image is.
    pub scripts: PathBuf,
    /// `agent_packages`: the folder with the packages of the agent; `debs` below `scripts` where none is given.
    pub agent_packages: Option<PathBuf>,
    /// `bootstrap_images_dir`: where imported images are kept.
    pub bootstrap_images_dir: Option<PathBuf>,
    /// `active_bootstrap_symlink`: names the active one; `active_bootstrap` in that folder where none is given.
    pub active_bootstrap_symlink: Option<PathBuf>,
    /// `cobbler`: where activation is registered.
    pub cobbler: Option<cobbler::Settings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            distribution: None,
            suite: None,
            repos: Vec::new(),
            keyring: None,
            allow_unsigned: BTreeSet::new(),
            packages: BTreeSet::new(),
            kernel_flavor: "generic".to_owned(),
            firmware: None,
            variant: Variant::Full,
            extra_dirs: Vec::new(),
            certs: Vec::new(),
            post_script_file: None,
            root_ssh_authorized_file: None,
            hashed_root_password: None,
            // Upstream's.
            extend_kopts: "biosdevname=0 net.ifnames=1".to_owned(),
            http_proxy: None,
            https_proxy: None,
            direct_repo_addresses: BTreeSet::new(),
            output_dir: "/tmp".into(),
            // Upstream's is /tmp, which may be in memory and belongs to everybody.
            build_dir: "/var/lib/bedplate/build".into(),
            scripts: "/usr/share/bedplate/bootstrap".into(),
            agent_packages: None,
            bootstrap_images_dir: None,
            active_bootstrap_symlink: None,
            cobbler: None,
        }
    }
}

impl Settings {
    /// Reads a file. Beside the settings come warnings.
    ///
    /// # Errors
    /// `Usage` when it is absent, is not YAML, has an unknown key or a wrong value.
    pub fn read(path: &Path) -> Result<(Self, Vec<String>)> {
        let reading = || format!("reading {}", path.display());
        let text = std::fs::read_to_string(path).context(Kind::Usage, reading)?;
        Self::parse(&text).map_err(|error| error.within(reading()))
    }

    /// Reads `bootstrap.yaml` of a master's folder, else the first of [`FILES`] that is there; without any the default.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_master(dir: &Path) -> Result<(Self, Vec<String>)> {
        match Self::file_of(dir) {
            Some(path) => Self::read(&path),
            None => Ok((Self::default(), Vec::new())),
        }
    }

    /// The file that a master with this folder reads.
    #[must_use]
    pub fn file_of(dir: &Path) -> Option<PathBuf> {
        std::iter::once(dir.join(OF_MASTER)).chain(FILES.map(PathBuf::from)).find(|path| path.exists())
    }

    /// Where images are kept: `bootstraps` in the master's folder where nothing is said.
    #[must_use]
    pub fn store(&self, dir: &Path) -> Store {
        let folder = self.bootstrap_images_dir.clone().unwrap_or_else(|| dir.join("bootstraps"));
        // Cobbler and builds look from elsewhere.
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Store::new(absolute(folder), self.active_bootstrap_symlink.clone().map(absolute))
    }

    /// Reads settings, and tells of keys that have no effect.
    ///
    /// # Errors
    /// `Usage` with every key that is unknown or has a wrong value.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>)> {
        let fault = |words: String| Error::new(Kind::Usage, words);
        if says_nothing(text) {
            return Ok((Self::default(), Vec::new()));
        }
        let value = yaml(text).map_err(|found| match found {
            YamlFault::Twice(path) => fault(format!("{}: given twice", path.trim_start_matches("$."))),
            YamlFault::Other(path, cause) => fault(format!("{path}: it is not YAML: {cause}")),
        })?;
        let Value::Object(members) = value else { return Err(fault("expected a mapping".to_owned())) };
        let mut settings = Self::default();
        let (mut warnings, mut faults) = (Vec::new(), Vec::new());
        for (key, value) in members {
            if let Some((_, why)) = IGNORED.iter().find(|(ignored, _)| *ignored == key) {
                warnings.push(format!("{key}: without effect: {why}"));
            } else if !value.is_null()
                && let Err(words) = settings.set(&key, value)
            {
                faults.push(fault(format!("{key}: {words}")));
            }
        }
        if let Some(error) = Error::join(faults) {
            return Err(error);
        }
        settings.check()?;
        Ok((settings, warnings))
    }

    /// Takes one key's value.
    fn set(&mut self, key: &str, value: Value) -> std::result::Result<(), String> {
        match key {
            "distribution" => self.distribution = Some(take(value)?),
            "suite" => self.set_suite(take(value)?)?,
            "ubuntu_release" => {
                // The keys come in the order of their names: what is said of the distribution is known.
                self.distribution.get_or_insert(Distribution::Ubuntu);
                self.set_suite(take(value)?)?;
            }
            "repos" => self.repos = take(value)?,
            "keyring" => self.keyring = path(value)?,
            "allow_unsigned" => self.allow_unsigned = take(value)?,
            "packages" => self.packages = take(value)?,
            "kernel_flavor" => self.kernel_flavor = take(value)?,
            "firmware" => self.firmware = Some(take(value)?),
            "variant" => self.variant = take(value)?,
            "extra_dirs" => self.extra_dirs = take(value)?,
            "certs" => self.certs = take(value)?,
            "post_script_file" => self.post_script_file = path(value)?,
            "root_ssh_authorized_file" => self.root_ssh_authorized_file = path(value)?,
            "hashed_root_password" => self.hashed_root_password = secret(&value)?,
            "extend_kopts" => self.extend_kopts = take(value)?,
            "http_proxy" => self.http_proxy = secret(&value)?,
            "https_proxy" => self.https_proxy = secret(&value)?,
            "direct_repo_addresses" => self.direct_repo_addresses = take(value)?,
            "output_dir" => self.output_dir = take(value)?,
            "build_dir" => self.build_dir = take(value)?,
            "scripts" => self.scripts = take(value)?,
            "agent_packages" => self.agent_packages = path(value)?,
            "bootstrap_images_dir" => self.bootstrap_images_dir = path(value)?,
            "active_bootstrap_symlink" => self.active_bootstrap_symlink = path(value)?,
            "cobbler" => {
                let settings: cobbler::Settings = take(value)?;
                settings.check()?;
                self.cobbler = Some(settings);
            }
            _ => return Err("unknown key".to_owned()),
        }
        Ok(())
    }

    fn set_suite(&mut self, suite: String) -> std::result::Result<(), String> {
        match self.suite.replace(suite) {
            Some(other) if self.suite.as_ref() != Some(&other) => {
                Err("ubuntu_release and suite name two suites".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Gives names to repositories, and checks what becomes part of a line somewhere.
    ///
    /// # Errors
    /// `Usage` with the key at fault.
    pub fn check(&mut self) -> Result<()> {
        let fault = |words: String| Err(Error::new(Kind::Usage, words));
        repository::settle(&mut self.repos)?;
        if !is_kernel_text(&self.extend_kopts) {
            return fault("extend_kopts: expected one line of printable ASCII without ${".to_owned());
        }
        for package in self.packages.iter().chain([&self.kernel_flavor]) {
            if !is_package(package) {
                return fault(format!("packages: expected the name of a package, found {package:?}"));
            }
        }
        let suite = self.suite.as_deref().unwrap_or("stable");
        if !suite.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
            return fault(format!("suite: expected a name, found {suite:?}"));
        }
        for proxy in [&self.http_proxy, &self.https_proxy].into_iter().flatten() {
            if !is_plain(proxy.reveal()) || !proxy.reveal().contains("://") {
                // Not shown: a password may be in it.
                return fault("http_proxy, https_proxy: expected addresses, SCHEME://HOST:PORT".to_owned());
            }
        }
        if let Some(host) = self.direct_repo_addresses.iter().find(|host| !is_host(host)) {
            return fault(format!("direct_repo_addresses: expected a host, found {host:?}"));
        }
        if let Some(hash) = &self.hashed_root_password
            && (!hash.reveal().starts_with('$') || !is_plain(hash.reveal()) || hash.reveal().contains(':'))
        {
            return fault("hashed_root_password: expected a hash in the form of crypt(5)".to_owned());
        }
        Ok(())
    }
}

/// Whether a file holds comments alone.
pub(crate) fn says_nothing(text: &str) -> bool {
    let is_empty = |line: &str| matches!(line.trim(), "" | "---" | "{}") || line.trim_start().starts_with('#');
    text.lines().all(is_empty)
}

fn take<T: DeserializeOwned>(value: Value) -> std::result::Result<T, String> {
    serde_json::from_value(value).map_err(|cause| cause.to_string())
}

/// Upstream's files have empty texts for what is not set.
fn path(value: Value) -> std::result::Result<Option<PathBuf>, String> {
    take::<PathBuf>(value).map(|path| (!path.as_os_str().is_empty()).then_some(path))
}

/// What is found is not told.
fn secret(value: &Value) -> std::result::Result<Option<Secret>, String> {
    let text = value.as_str().ok_or("expected text")?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

/// Names of packages, Debian Policy 5.6.1; a version or a release may follow as apt-get takes them.
pub(super) fn is_package(name: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b':' | b'=' | b'/' | b'~' | b'_')
    };
    // A sign at the end would have apt-get remove it, or is part of the name (g++).
    name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(is_letter)
        && !name.ends_with('-')
}

/// One word that can stand between quotation marks in a configuration of apt.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\''))
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        Settings::parse(text).unwrap().0
    }

    fn fault(text: &str) -> String {
        let error = Settings::parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    }

    #[test]
    fn upstreams_settings_are_read() {
        let (settings, warnings) = Settings::parse(
            "flavor: ubuntu\nubuntu_release: xenial\nkernel_flavor: linux-image-generic-lts-xenial\nextra_dirs: [/x]\n\
             root_ssh_authorized_file: /root/.ssh/id_rsa.pub\nhttp_proxy: ''\nhashed_root_password: $6$a$b\n\
             direct_repo_addresses: [10.20.0.2]\npost_script_file: ''\nskip_default_img_build: false\npackages: [vim, g++]\n\
             repos:\n- {name: mos, type: deb, uri: 'http://a/mos', suite: mos10.0, section: main, priority: 1050}\n",
        )
        .unwrap();
        let expected = Settings {
            distribution: Some(Distribution::Ubuntu),
            suite: Some("xenial".into()),
            kernel_flavor: "linux-image-generic-lts-xenial".into(),
            extra_dirs: vec!["/x".into()],
            root_ssh_authorized_file: Some("/root/.ssh/id_rsa.pub".into()),
            hashed_root_password: Some(Secret::new("$6$a$b")),
            direct_repo_addresses: BTreeSet::from(["10.20.0.2".into()]),
            packages: BTreeSet::from(["vim".into(), "g++".into()]),
            repos: vec![Repository { name: "mos".into(), ..("deb http://a/mos mos10.0 main,1050").parse().unwrap() }],
            ..Settings::default()
        };
        assert_eq!(settings, expected);
        assert_eq!(
            warnings,
            [
                "flavor: without effect: there is one kind of bootstrap",
                "skip_default_img_build: without effect: nothing is built unless it is asked for"
            ]
        );
    }

    #[test]
    fn nothing_set_is_the_default() {
        for text in ["", "# nothing\n", "---\n", "{}", "packages:\n"] {
            assert_eq!(parse(text), Settings::default(), "{text:?}");
        }
    }

    #[test]
    fn keys_at_fault_are_named() {
        for (text, words) in [
            ("paccages: [vim]", "paccages: unknown key"),
            ("a: 1\nb: 2", "2 faults: a: unknown key; b: unknown key"),
            ("packages: vim", "packages: invalid type: string \"vim\", expected a sequence"),
            ("packages: [-y]", "packages: expected the name of a package, found \"-y\""),
            ("packages: [vim-]", "packages: expected the name of a package, found \"vim-\""),
            ("firmware: maybe", "firmware: invalid type: string \"maybe\", expected a boolean"),
            ("distribution: suse", "distribution: unknown variant `suse`, expected `debian` or `ubuntu`"),
            ("suite: a b", "suite: expected a name, found \"a b\""),
            ("suite: a\nubuntu_release: b", "ubuntu_release: ubuntu_release and suite name two suites"),
            ("extend_kopts: ${x}", "extend_kopts: expected one line of printable ASCII without ${"),
            ("hashed_root_password: r00tme", "hashed_root_password: expected a hash in the form of crypt(5)"),
            ("http_proxy: secret", "http_proxy, https_proxy: expected addresses, SCHEME://HOST:PORT"),
            (
                "repos: [{uri: 'http://a', suite: b, arch: x}]",
                "repos: unknown field `arch`, expected one of `name`, `type`, `uri`, `suite`, `section`, `priority`, `key`",
            ),
            ("- x", "expected a mapping"),
            ("suite: a\nsuite: b", "suite: given twice"),
        ] {
            assert_eq!(fault(text), words, "{text}");
        }
    }

    #[test]
    fn images_lie_in_the_masters_folder_unless_told_otherwise() {
        let folder = |text: &str, dir: &str| parse(text).store(Path::new(dir)).folder().to_owned();
        assert_eq!(folder("", "/srv/m"), Path::new("/srv/m/bootstraps"));
        assert_eq!(folder("", "m"), std::env::current_dir().unwrap().join("m/bootstraps"));
        assert_eq!(folder("bootstrap_images_dir: /var/www/b", "m"), Path::new("/var/www/b"));
    }

    #[test]
    fn a_named_file_must_be_there() {
        let error = Settings::read(Path::new("/nonexistent.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "reading /nonexistent.yaml: No such file or directory (os error 2)");
    }
}
