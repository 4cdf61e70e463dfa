//! What can be said before anything is fetched: who builds, with which tools, from which files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::error::{Context as _, Error, Kind, Result};
use crate::master::bootstraps::repository::{self, Repository};
use crate::master::bootstraps::settings::Settings;
use crate::sys::command::{Call, Tool};

use super::request::Request;
use super::workshop::Workshop;

/// What a build and its scripts call, and the package that has it.
const TOOLS: [(Tool, &str); 11] = [
    (Tool::AptGet, "apt"),
    (Tool::Cpio, "cpio"),
    (Tool::DpkgDeb, "dpkg"),
    (Tool::Gpgv, "gpgv"),
    (Tool::Mksquashfs, "squashfs-tools"),
    (Tool::Mmdebstrap, "mmdebstrap"),
    (Tool::Rsync, "rsync"),
    (Tool::Setpriv, "util-linux"),
    (Tool::Tar, "tar"),
    (Tool::Unshare, "util-linux"),
    (Tool::Zstd, "zstd"),
];

/// What a build stands on.
#[derive(Debug)]
pub(super) struct Ground {
    /// `debian` or `ubuntu`.
    pub(super) distribution: String,
    /// Its release.
    pub(super) suite: String,
    /// Where packages come from, each with the file of the keys that must have signed it; without one nobody must.
    pub(super) repositories: Vec<(Repository, Option<PathBuf>)>,
    /// The packages of the live system and of the site, the kernel first.
    pub(super) packages: Vec<String>,
    /// Options of dpkg.
    pub(super) dpkg_options: Vec<String>,
    /// The packages of the agent.
    pub(super) debs: Vec<PathBuf>,
    /// Whether firmware goes in.
    pub(super) has_firmware: bool,
    /// The folder with `packaging/` and `initramfs/`.
    pub(super) scripts: PathBuf,
}

impl Ground {
    /// A script of the live bootstrap.
    pub(super) fn script(&self, name: &str) -> PathBuf {
        self.scripts.join("packaging/bootstrap/live").join(name)
    }
}

/// Only root can make a root directory with its owners.
///
/// # Errors
/// `Refused`.
pub(super) fn root() -> Result<()> {
    let user = Uid::effective();
    if user.is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, format!("building a bootstrap: only root can: this is user {user}"))
        .advise("run it as root, for example with sudo"))
}

/// Looks at all that the request names.
///
/// # Errors
/// `Tool` when one is missing; `Usage` with every file that is, or when the host's distribution is neither.
pub(super) fn ground(request: &Request, workshop: &Workshop) -> Result<Ground> {
    tools()?;
    let settings = &request.settings;
    let scripts = fs::canonicalize(&settings.scripts).unwrap_or_else(|_| settings.scripts.clone());
    if !scripts.join("packaging/bootstrap/live/image.sh").is_file() || !scripts.join("initramfs/hooks").is_dir() {
        return Err(Error::new(
            Kind::Usage,
            format!("scripts: {} has not packaging/bootstrap and initramfs", scripts.display()),
        )
        .advise("install the package bedplate-master, or name a checkout of the repository"));
    }
    let debs = settings.agent_packages.clone().unwrap_or_else(|| scripts.join("debs"));
    let mut faults = files(request);
    let debs = packages_of_agent(&debs).unwrap_or_else(|error| {
        faults.push(error);
        Vec::new()
    });
    if let Some(error) = Error::join(faults) {
        return Err(error);
    }
    output(&settings.output_dir)?;
    let ask = |what: &str| ask(&scripts, settings, what);
    let told = ask("distribution")?;
    let words: Vec<&str> = told.split_whitespace().collect();
    let &[distribution, suite, keyring] = words.as_slice() else {
        return Err(Error::bug(format!("inputs.sh distribution said {told:?}")));
    };
    let mut packages: Vec<String> = ask("packages")?.split_whitespace().map(str::to_owned).collect();
    packages.extend(settings.packages.iter().filter(|name| !packages.contains(name)).cloned().collect::<Vec<_>>());
    let repositories = repositories(settings, &ask, Path::new(keyring))?;
    copy_private(request, workshop)?;
    Ok(Ground {
        distribution: distribution.to_owned(),
        suite: suite.to_owned(),
        repositories,
        packages,
        dpkg_options: ask("dpkg-options")?.lines().map(str::to_owned).collect(),
        debs,
        has_firmware: has_firmware(settings),
        scripts,
    })
}

fn tools() -> Result<()> {
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| tool.find().is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(tool, _)| tool.name()).collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    Err(Error::new(Kind::Tool, format!("tools are missing: {}", names.join(", ")))
        .advise(format!("apt install {}", packages.join(" "))))
}

fn has_firmware(settings: &Settings) -> bool {
    // Kernels for guests have no drivers of what wants firmware.
    let is_for_guests = ["cloud", "virtual", "kvm"].iter().any(|word| settings.kernel_flavor.contains(word));
    settings.firmware.unwrap_or(!is_for_guests)
}

/// Every file and folder that is named and is not there.
fn files(request: &Request) -> Vec<Error> {
    let settings = &request.settings;
    let mut faults = Vec::new();
    let mut want = |key: &str, path: &Path, is_right: &dyn Fn(&fs::Metadata) -> bool, expected: &str| {
        let fault = match fs::metadata(path) {
            Ok(found) if is_right(&found) => return,
            Ok(_) => Error::new(Kind::Usage, format!("{key}: {}: expected {expected}", path.display())),
            Err(cause) => Error::caused(Kind::Usage, format!("{key}: {}", path.display()), cause),
        };
        faults.push(fault);
    };
    for path in &settings.extra_dirs {
        want("extra_dirs", path, &fs::Metadata::is_dir, "a folder");
    }
    for path in &settings.certs {
        want("certs", path, &|found| found.is_dir() || found.is_file(), "a file or a folder");
    }
    let keys = settings.repos.iter().filter_map(|repository| Some(("repos: key", repository.key.as_ref()?)));
    let single = [
        ("post_script_file", &settings.post_script_file),
        ("root_ssh_authorized_file", &settings.root_ssh_authorized_file),
        ("keyring", &settings.keyring),
    ];
    for (key, path) in keys.chain(single.iter().filter_map(|(key, path)| Some((*key, path.as_ref()?)))) {
        want(key, path, &fs::Metadata::is_file, "a file");
    }
    // It becomes a word of a line of apt's sources.
    let is_word = |path: &Path| path.is_absolute() && !path.to_string_lossy().contains([' ', ']', '\n']);
    if let Some(path) = settings.keyring.as_ref().filter(|path| !is_word(path)) {
        faults.push(Error::new(
            Kind::Usage,
            format!("keyring: {}: expected an absolute path without blanks", path.display()),
        ));
    }
    let lines = settings.extra_dirs.iter().chain(&settings.certs);
    for path in lines.filter(|path| !path.is_absolute() || path.to_string_lossy().contains('\n')) {
        faults.push(Error::new(Kind::Usage, format!("{}: expected an absolute path in one line", path.display())));
    }
    faults
}

fn packages_of_agent(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.display().to_string();
    let reading = || format!("agent_packages: {name}");
    let advise = |error: Error| error.advise("`make deb` builds them; the package bedplate-master brings them along");
    // apt is called with their paths from another folder.
    let folder = fs::canonicalize(folder).context(Kind::Usage, reading).map_err(advise)?;
    let entries = fs::read_dir(&folder).context(Kind::Usage, reading).map_err(advise)?;
    let mut debs = Vec::new();
    for entry in entries {
        let path = entry.context(Kind::Usage, reading)?.path();
        let name = entry_name(&path);
        // `make deb` puts the master's beside them, which nodes have no use for.
        if name.ends_with(".deb") && !name.starts_with("bedplate-master_") {
            debs.push(path);
        }
    }
    debs.sort();
    let is_agent = |path: &&PathBuf| entry_name(path).starts_with("bedplate_");
    match debs.iter().filter(is_agent).count() {
        1 => Ok(debs),
        count => {
            Err(advise(Error::new(Kind::Usage, format!("{}: expected one bedplate_*.deb, found {count}", reading()))))
        }
    }
}

fn entry_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Found out now rather than when all is built.
fn output(folder: &Path) -> Result<()> {
    let using = || format!("output_dir: {}", folder.display());
    fs::create_dir_all(folder).context(Kind::Usage, using)?;
    let trial = folder.join(format!(".bedplate-trial-{}", std::process::id()));
    fs::write(&trial, "").and_then(|()| fs::remove_file(&trial)).context(Kind::Usage, using)
}

/// What the scripts say of an image.
fn ask(scripts: &Path, settings: &Settings, what: &str) -> Result<String> {
    let script = scripts.join("packaging/bootstrap/live/inputs.sh");
    let mut call = Call::new(Tool::Bash, [script.as_os_str(), what.as_ref()])
        .env("KERNEL", &settings.kernel_flavor)
        .env("VARIANT", settings.variant.name())
        .env("FIRMWARE", firmware_word(has_firmware(settings)));
    if let Some(distribution) = settings.distribution {
        call = call.env("DISTRO", distribution.name());
    }
    if let Some(suite) = &settings.suite {
        call = call.env("SUITE", suite);
    }
    if let Some(keyring) = &settings.keyring {
        call = call.env("KEYRING", keyring);
    }
    let output = call.run().map_err(|error| {
        // The script's words are about settings; how it was called is not of interest.
        let words = error.to_string();
        let words = words.split_once(": inputs.sh: ").map_or(words.clone(), |(_, words)| words.to_owned());
        Error::new(Kind::Usage, words)
    })?;
    Ok(output.stdout)
}

/// As the scripts say it.
pub(super) fn firmware_word(has_firmware: bool) -> &'static str {
    if has_firmware { "firmware" } else { "plain" }
}

fn repositories(
    settings: &Settings,
    ask: &dyn Fn(&str) -> Result<String>,
    keyring: &Path,
) -> Result<Vec<(Repository, Option<PathBuf>)>> {
    let mut repositories = settings.repos.clone();
    if repositories.is_empty() {
        repositories = ask("repositories")?.lines().map(str::parse).collect::<Result<_>>()?;
        repository::settle(&mut repositories)?;
    }
    if repositories.is_empty() {
        return Err(Error::new(Kind::Usage, "repos: this machine's apt has none of that distribution")
            .advise("name them with repos or --repo"));
    }
    let with_key = |repository: Repository| {
        let is_free = settings.allow_unsigned.iter().any(|uri| repository.is_at(uri));
        let key = (!is_free).then(|| repository.key.clone().unwrap_or_else(|| keyring.to_owned()));
        (repository, key)
    };
    Ok(repositories.into_iter().map(with_key).collect())
}

/// Copies what must stay as it is while the build goes on, and what root alone may read.
fn copy_private(request: &Request, workshop: &Workshop) -> Result<()> {
    let settings = &request.settings;
    let copies = [("post-script", &settings.post_script_file), ("authorized_keys", &settings.root_ssh_authorized_file)];
    for (name, source) in copies {
        let Some(source) = source else { continue };
        let target = workshop.path(name);
        fs::copy(source, &target)
            .and_then(|_| fs::set_permissions(&target, fs::Permissions::from_mode(0o600)))
            .context(Kind::Medium, || format!("copying {}", source.display()))?;
    }
    for (name, paths) in [("extra-dirs", &settings.extra_dirs), ("certs", &settings.certs)] {
        if !paths.is_empty() {
            let lines: Vec<_> = paths.iter().map(|path| format!("{}\n", path.display())).collect();
            workshop.write(name, &lines.concat())?;
        }
    }
    Ok(())
}
