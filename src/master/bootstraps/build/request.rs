//! What is to be built: settings, and what one call says beside them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::master::bootstraps::repository::Repository;
use crate::master::bootstraps::settings::{Settings, Variant};
use crate::request::Secret;

/// What one call says beside the settings. Lists are united with those of the settings, everything else replaces it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The release of the distribution.
    pub suite: Option<String>,
    /// Take the place of all that the settings name.
    pub repos: Vec<Repository>,
    /// Addresses of repositories that need no signature.
    pub allow_unsigned: BTreeSet<String>,
    /// Proxy for http.
    pub http_proxy: Option<Secret>,
    /// Proxy for https.
    pub https_proxy: Option<Secret>,
    /// Hosts that are asked without the proxy.
    pub direct_repo_addresses: BTreeSet<String>,
    /// Without those of the settings.
    pub no_default_direct_repo_addresses: bool,
    /// Run in the root directory when all is installed.
    pub post_script_file: Option<PathBuf>,
    /// Further packages.
    pub packages: BTreeSet<String>,
    /// Without those of the settings.
    pub no_default_packages: bool,
    /// A name for people.
    pub label: Option<String>,
    /// Folders that are laid over the root directory.
    pub extra_dirs: Vec<PathBuf>,
    /// Without those of the settings.
    pub no_default_extra_dirs: bool,
    /// What the image wants on the kernel line.
    pub extend_kopts: Option<String>,
    /// `generic`, `cloud`, or the name of a kernel's package.
    pub kernel_flavor: Option<String>,
    /// How much is in the image.
    pub variant: Option<Variant>,
    /// Public keys that may log in as root.
    pub root_ssh_authorized_file: Option<PathBuf>,
    /// Where the archive is put.
    pub output_dir: Option<PathBuf>,
    /// Where the build works.
    pub build_dir: Option<PathBuf>,
    /// A folder instead of an archive, which cannot be imported.
    pub no_compress: bool,
    /// Certificates of authorities that the image trusts.
    pub certs: Vec<PathBuf>,
    /// Root's password on a terminal.
    pub root_password: Option<Secret>,
    /// Where the log goes; it is then kept.
    pub log_file: Option<PathBuf>,
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Request {
    /// Settings, with what the call said instead.
    pub settings: Settings,
    /// A name for people; the UUID where none is given.
    pub label: Option<String>,
    /// A folder instead of an archive.
    pub no_compress: bool,
    /// Root's password on a terminal, which takes the place of the hash of the settings.
    pub root_password: Option<Secret>,
    /// Where the log goes; beside the build, and kept only after a failure, where none is given.
    pub log_file: Option<PathBuf>,
    /// The moment that the build counts as, in seconds since 1970: given, equal inputs give equal images.
    pub epoch: Option<i64>,
}

impl Request {
    /// Unites settings and options.
    ///
    /// # Errors
    /// `Usage` when a value cannot be used.
    pub fn new(mut settings: Settings, options: Options, epoch: Option<i64>) -> Result<Self> {
        if options.no_default_packages {
            settings.packages.clear();
        }
        if options.no_default_extra_dirs {
            settings.extra_dirs.clear();
        }
        if options.no_default_direct_repo_addresses {
            settings.direct_repo_addresses.clear();
        }
        if !options.repos.is_empty() {
            settings.repos = options.repos;
        }
        settings.packages.extend(options.packages);
        settings.allow_unsigned.extend(options.allow_unsigned);
        settings.direct_repo_addresses.extend(options.direct_repo_addresses);
        for (list, more) in [(&mut settings.extra_dirs, options.extra_dirs), (&mut settings.certs, options.certs)] {
            // Folders are laid over one another: those of the call come last, and win.
            list.retain(|path| !more.contains(path));
            list.extend(more);
        }
        replace(&mut settings.kernel_flavor, options.kernel_flavor);
        replace(&mut settings.extend_kopts, options.extend_kopts);
        replace(&mut settings.variant, options.variant);
        replace(&mut settings.output_dir, options.output_dir);
        replace(&mut settings.build_dir, options.build_dir);
        settings.suite = options.suite.or(settings.suite);
        settings.http_proxy = options.http_proxy.or(settings.http_proxy);
        settings.https_proxy = options.https_proxy.or(settings.https_proxy);
        settings.post_script_file = options.post_script_file.or(settings.post_script_file);
        settings.root_ssh_authorized_file = options.root_ssh_authorized_file.or(settings.root_ssh_authorized_file);
        settings.check()?;
        let usage = |words: &str| Err(Error::new(Kind::Usage, words));
        if options.label.as_ref().is_some_and(|label| label.is_empty() || label.chars().any(char::is_control)) {
            return usage("label: expected one line of text");
        }
        let is_password = |password: &Secret| !password.reveal().is_empty() && !password.reveal().contains('\0');
        if options.root_password.as_ref().is_some_and(|password| !is_password(password)) {
            return usage("root password: expected text");
        }
        let all = settings.repos.iter();
        let unknown = settings.allow_unsigned.iter().find(|uri| !all.clone().any(|repository| repository.is_at(uri)));
        if let Some(uri) = unknown {
            return usage(&format!("allow_unsigned: no repository is at {uri}"));
        }
        Ok(Self {
            settings,
            label: options.label,
            no_compress: options.no_compress,
            root_password: options.root_password,
            log_file: options.log_file,
            epoch,
        })
    }
}

fn replace<T>(value: &mut T, with: Option<T>) {
    if let Some(with) = with {
        *value = with;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<T: Ord + From<&'static str>>(words: &[&'static str]) -> BTreeSet<T> {
        words.iter().map(|word| T::from(*word)).collect()
    }

    #[test]
    fn lists_are_united_unless_the_call_says_otherwise() {
        let settings = Settings {
            packages: set(&["a"]),
            extra_dirs: vec!["/a".into(), "/b".into()],
            direct_repo_addresses: set(&["10.0.0.1"]),
            repos: vec!["deb http://a b main".parse().unwrap()],
            suite: Some("bookworm".into()),
            ..Settings::default()
        };
        let options = Options {
            packages: set(&["b"]),
            extra_dirs: vec!["/a".into()],
            repos: vec!["deb http://c d main".parse().unwrap()],
            ..Options::default()
        };
        let united = Request::new(settings.clone(), options.clone(), None).unwrap().settings;
        assert_eq!(united.packages, set(&["a", "b"]));
        assert_eq!(united.extra_dirs, [PathBuf::from("/b"), "/a".into()]);
        assert_eq!((united.repos[0].uri.as_str(), united.repos.len()), ("http://c", 1));
        assert_eq!(united.suite.as_deref(), Some("bookworm"));
        let alone = Options {
            no_default_packages: true,
            no_default_extra_dirs: true,
            no_default_direct_repo_addresses: true,
            suite: Some("trixie".into()),
            ..options
        };
        let alone = Request::new(settings, alone, None).unwrap().settings;
        assert_eq!(alone.packages, set(&["b"]));
        assert_eq!(alone.extra_dirs, [PathBuf::from("/a")]);
        assert_eq!(alone.direct_repo_addresses, BTreeSet::new());
        assert_eq!(alone.suite.as_deref(), Some("trixie"));
    }

    #[test]
    fn an_unsigned_repository_that_is_none_is_refused() {
        let options = Options {
            repos: vec!["deb http://c d main".parse().unwrap()],
            allow_unsigned: set(&["http://c/", "http://e"]),
            ..Options::default()
        };
        let error = Request::new(Settings::default(), options, None).unwrap_err();
        assert_eq!(error.to_string(), "allow_unsigned: no repository is at http://e");
    }
}
