//! `bedplate-master bootstrap`, and upstream's `fuel-bootstrap`, which takes the same commands and options.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use log::{debug, info, warn};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::Cancel;
use crate::master::cli::default_dir;
use crate::request::Secret;
use crate::sys::signal;

use super::build::{self, Options, Phase, Progress, Request};
use super::commands::{self, Keep};
use super::repository::Repository;
use super::settings::{Settings, Variant};

/// The name of upstream's program.
const UPSTREAM: &str = "fuel-bootstrap";

/// Builds and keeps the images that nodes are bootstrapped with.
#[derive(Debug, Parser)]
#[command(name = UPSTREAM, version, arg_required_else_help = true)]
pub struct FuelBootstrap {
    /// Tell developers more
    #[arg(long, global = true)]
    debug: bool,
    /// Tell more
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

impl FuelBootstrap {
    /// Whether a program was called by upstream's name.
    #[must_use]
    pub fn is_named(program: &OsStr) -> bool {
        Path::new(program).file_name().is_some_and(|name| name == UPSTREAM)
    }

    /// How much is logged.
    #[must_use]
    pub fn level(&self) -> log::LevelFilter {
        if self.debug || self.verbose > 0 { log::LevelFilter::Debug } else { log::LevelFilter::Info }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn run(self) -> Result<()> {
        self.bootstrap.run()
    }
}

/// A command about bootstrap images.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// The settings [default: bootstrap.yaml in the state folder, else /etc/bedplate/bootstrap.yaml, else
    /// /etc/fuel-bootstrap-cli/fuel_bootstrap_cli.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder of the master [env: BEDPLATE_MASTER_DIR]
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = default_dir())]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from package repositories
    Build(Box<Build>),
    #[command(flatten)]
    Keep(Keep),
}

/// Upstream's options, and further ones.
#[derive(Debug, Args)]
struct Build {
    /// Release of the distribution; by upstream's name that of Ubuntu
    #[arg(long, visible_alias = "ubuntu-release", value_name = "NAME")]
    suite: Option<String>,
    /// Repository, 'type uri codename [sections][,priority]'; instead of those of the settings (repeatable)
    #[arg(long = "repo", value_name = "REPOSITORY")]
    repos: Vec<String>,
    /// Address of a repository that needs no signature (repeatable)
    #[arg(long, value_name = "URI")]
    allow_unsigned: Vec<String>,
    /// Proxy for http
    #[arg(long, value_name = "URL")]
    http_proxy: Option<String>,
    /// Proxy for https
    #[arg(long, value_name = "URL")]
    https_proxy: Option<String>,
    /// Host that is asked without the proxy (repeatable)
    #[arg(long, value_name = "ADDR")]
    direct_repo_addr: Vec<String>,
    /// Script that bash runs in the root directory when all packages are installed
    #[arg(long = "script", value_name = "FILE")]
    post_script_file: Option<PathBuf>,
    /// Further package (repeatable)
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// Name for people [default: the UUID]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Folder whose content is laid over the root directory (repeatable)
    #[arg(long = "extra-dir", value_name = "PATH")]
    extra_dirs: Vec<PathBuf>,
    /// What the image wants on the kernel line
    #[arg(long, value_name = "OPTS", allow_hyphen_values = true)]
    extend_kopts: Option<String>,
    /// Kernel: generic, cloud, or the name of a package
    #[arg(long, value_name = "NAME")]
    kernel_flavor: Option<String>,
    /// How much is in the image
    #[arg(long, value_name = "NAME")]
    variant: Option<Variant>,
    /// File with the public keys that may log in as root
    #[arg(long, value_name = "FILE")]
    root_ssh_authorized_file: Option<PathBuf>,
    /// Folder for the archive
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Folder to build in; it needs some gigabytes
    #[arg(long, value_name = "DIR")]
    image_build_dir: Option<PathBuf>,
    /// Import the image and activate it as well
    #[arg(long)]
    activate: bool,
    /// Leave out the packages of the settings
    #[arg(long)]
    no_default_packages: bool,
    /// Leave out the direct hosts of the settings
    #[arg(long)]
    no_default_direct_repo_addr: bool,
    /// Leave out the extra folders of the settings
    #[arg(long)]
    no_default_extra_dirs: bool,
    /// Make a folder instead of an archive; it cannot be imported
    #[arg(long)]
    no_compress: bool,
    /// Certificate of an authority that the image trusts: a file, or a folder as --extra-dir (repeatable)
    #[arg(long = "load-cert", value_name = "PATH")]
    certs: Vec<PathBuf>,
    /// Root's password on a terminal. Everybody on this machine can read options: rather set hashed_root_password
    #[arg(long, value_name = "TEXT")]
    root_password: Option<String>,
    /// Write the log there, and keep it [default: in the build folder, kept after a failure]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl ValueEnum for Variant {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Full, Self::Small]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl Bootstrap {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn run(self) -> Result<()> {
        let (settings, warnings) = self.settings()?;
        for warning in warnings {
            warn!("{warning}");
        }
        match self.command {
            Command::Build(build) => build.run(settings, &self.dir),
            Command::Keep(keep) => keep.run(&settings, &self.dir),
        }
    }
}

impl Bootstrap {
    fn settings(&self) -> Result<(Settings, Vec<String>)> {
        match &self.config {
            Some(file) => Settings::read(file),
            None => Settings::of_master(&self.dir),
        }
    }
}

impl Build {
    fn run(self, settings: Settings, dir: &Path) -> Result<()> {
        signal::install()?;
        let activates = self.activate;
        if activates && self.no_compress {
            return Err(Error::new(Kind::Usage, "--activate: an image without an archive cannot be imported"));
        }
        let request = Request::new(settings.clone(), self.options()?, epoch()?)?;
        if request.settings.root_ssh_authorized_file.is_none() {
            warn!("nobody can log in to this bootstrap by ssh: root_ssh_authorized_file is not set");
        }
        let built = build::build(&request, &mut Console, &Cancel::with_flag(signal::cancel_flag()))?;
        say(&format!("Bootstrap image {} has been built: {}\n", built.uuid, built.path.display()))?;
        if activates { commands::import(&settings, dir, &built.path, true, false) } else { Ok(()) }
    }

    fn options(self) -> Result<Options> {
        let repos = self.repos.iter().map(|text| text.parse::<Repository>()).collect::<Result<Vec<_>>>()?;
        let words = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
        Ok(Options {
            suite: self.suite,
            repos,
            allow_unsigned: words(self.allow_unsigned),
            http_proxy: self.http_proxy.map(Secret::new),
            https_proxy: self.https_proxy.map(Secret::new),
            direct_repo_addresses: words(self.direct_repo_addr),
            no_default_direct_repo_addresses: self.no_default_direct_repo_addr,
            post_script_file: self.post_script_file,
            packages: words(self.packages),
            no_default_packages: self.no_default_packages,
            label: self.label,
            extra_dirs: absolute(self.extra_dirs)?,
            no_default_extra_dirs: self.no_default_extra_dirs,
            extend_kopts: self.extend_kopts,
            kernel_flavor: self.kernel_flavor,
            variant: self.variant,
            root_ssh_authorized_file: self.root_ssh_authorized_file,
            output_dir: self.output_dir,
            build_dir: self.image_build_dir,
            no_compress: self.no_compress,
            certs: absolute(self.certs)?,
            root_password: self.root_password.map(Secret::new),
            log_file: self.log_file,
        })
    }
}

/// Options name files as seen from where the caller is.
fn absolute(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let each = |path: PathBuf| std::path::absolute(&path).context(Kind::Usage, || format!("{}", path.display()));
    paths.into_iter().map(each).collect()
}

/// The moment that a build counts as, for repeatable ones.
fn epoch() -> Result<Option<i64>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds >= 0);
    let fault = || Error::new(Kind::Usage, format!("SOURCE_DATE_EPOCH: expected seconds since 1970, found {text:?}"));
    seconds.ok_or_else(fault).map(Some)
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(Kind::Usage, || "writing to the terminal")
}

/// Tells the phases on the terminal.
struct Console;

impl Progress for Console {
    fn log(&mut self, path: &Path) {
        info!("the log is {}", path.display());
    }

    fn phase(&mut self, phase: Phase) {
        let number = Phase::ALL.iter().position(|other| *other == phase).unwrap_or_default() + 1;
        info!("{number}/{}: {}", Phase::ALL.len(), phase.doing());
    }

    fn line(&mut self, line: &str) {
        debug!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        let command = FuelBootstrap::try_parse_from(words).unwrap().bootstrap.command;
        let Command::Build(build) = command else { panic!("{command:?}") };
        build.options()
    }

    #[test]
    fn command_line_is_consistent() {
        FuelBootstrap::command().debug_assert();
    }

    #[test]
    fn upstreams_options_are_taken() {
        let options = parse(&[
            "/usr/bin/fuel-bootstrap",
            "--debug",
            "build",
            "--ubuntu-release",
            "xenial",
            "--repo",
            "deb http://a/ubuntu xenial main universe",
            "--repo",
            "deb http://a/mos mos10.0 main,1050",
            "--http-proxy",
            "http://p:1",
            "--https-proxy",
            "http://p:2",
            "--direct-repo-addr",
            "10.20.0.2",
            "--script",
            "/s",
            "--package",
            "vim",
            "--package",
            "mc",
            "--label",
            "a label",
            "--extra-dir",
            "/x",
            "--extend-kopts",
            "-x=1 y",
            "--kernel-flavor",
            "linux-image-generic",
            "--root-ssh-authorized-file",
            "/k",
            "--output-dir",
            "/o",
            "--image-build-dir",
            "/b",
            "--no-default-packages",
            "--no-default-direct-repo-addr",
            "--no-default-extra-dirs",
            "--no-compress",
            "--load-cert",
            "/c",
            "--root-password",
            "secret",
        ])
        .unwrap();
        assert_eq!(options.suite.as_deref(), Some("xenial"));
        assert_eq!(options.repos[1].priority, Some(1050));
        assert_eq!(options.packages, BTreeSet::from(["mc".to_owned(), "vim".to_owned()]));
        assert_eq!(options.extend_kopts.as_deref(), Some("-x=1 y"));
        assert_eq!((options.certs[0].as_path(), options.extra_dirs[0].as_path()), (Path::new("/c"), Path::new("/x")));
        assert!(options.no_compress && options.no_default_packages && options.no_default_extra_dirs);
        assert_eq!(format!("{:?} {:?}", options.root_password, options.http_proxy), "Some(***) Some(***)");
    }

    #[test]
    fn upstreams_name_is_known_by_its_link() {
        assert!(FuelBootstrap::is_named(OsStr::new("/usr/bin/fuel-bootstrap")));
        assert!(!FuelBootstrap::is_named(OsStr::new("bedplate-master")));
    }
}
