//! What operators do with bootstrap images through a running master.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::Cancel;
use crate::request::{YamlFault, yaml};

use super::bootstrap::IMAGES;
use super::bootstraps::activation::{self, Activation};
use super::bootstraps::build::{Options, Request};
use super::bootstraps::cobbler::Registry;
use super::bootstraps::metadata::ImageId;
use super::bootstraps::repository::Repository;
use super::bootstraps::settings::{Distribution, OF_MASTER, Settings, Variant, says_nothing};
use super::builds::Build;
use super::state::Master;

/// What of the settings can be read and set from afar. The others name files and secrets of this machine.
const SETTABLE: [&str; 10] = [
    "allow_unsigned",
    "direct_repo_addresses",
    "distribution",
    "extend_kopts",
    "firmware",
    "kernel_flavor",
    "packages",
    "repos",
    "suite",
    "variant",
];

/// What the next build is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingsView {
    /// Addresses of repositories that need no signature.
    pub allow_unsigned: BTreeSet<String>,
    /// Hosts that are asked without the proxy.
    pub direct_repo_addresses: BTreeSet<String>,
    /// The distribution; the master's own where none is set.
    pub distribution: Option<Distribution>,
    /// What the image wants on the kernel line.
    pub extend_kopts: String,
    /// Whether firmware packages go in.
    pub firmware: Option<bool>,
    /// `generic`, `cloud`, or the name of a kernel's package.
    pub kernel_flavor: String,
    /// What is installed beside what a bootstrap needs.
    pub packages: BTreeSet<String>,
    /// Where packages come from.
    pub repos: Vec<Repository>,
    /// The release of the distribution.
    pub suite: Option<String>,
    /// How much is in the image.
    pub variant: Variant,
}

impl From<Settings> for SettingsView {
    fn from(settings: Settings) -> Self {
        Self {
            allow_unsigned: settings.allow_unsigned,
            direct_repo_addresses: settings.direct_repo_addresses,
            distribution: settings.distribution,
            extend_kopts: settings.extend_kopts,
            firmware: settings.firmware,
            kernel_flavor: settings.kernel_flavor,
            packages: settings.packages,
            repos: settings.repos,
            suite: settings.suite,
            variant: settings.variant,
        }
    }
}

impl Master {
    fn settings(&self) -> Result<Settings> {
        // Warnings were told at the start.
        Settings::of_master(&self.store.path("")).map(|(settings, _)| settings)
    }

    fn registry(&self) -> Result<Option<Registry>> {
        let Some(cobbler) = self.settings()?.cobbler else { return Ok(None) };
        let own = format!("{}/{IMAGES}", self.url);
        Registry::new(&cobbler, Some(&own), Cancel::default()).map(Some)
    }

    /// Has nodes start an image.
    ///
    /// # Errors
    /// As [`activation::activate`].
    pub(crate) fn activate(&self, id: &str) -> Result<Activation> {
        let id: ImageId = id.parse().map_err(|words| Error::new(Kind::Usage, words))?;
        activation::activate(&self.images, &id, self.registry()?.as_ref())
    }

    /// Goes back to the image that was active before.
    ///
    /// # Errors
    /// As [`activation::roll_back`].
    pub(crate) fn roll_back(&self) -> Result<Activation> {
        activation::roll_back(&self.images, self.registry()?.as_ref())
    }

    /// What the next build is made of.
    ///
    /// # Errors
    /// `Usage` when the file of the settings is wrong.
    pub(crate) fn bootstrap_settings(&self) -> Result<SettingsView> {
        self.settings().map(SettingsView::from)
    }

    /// Sets what the next build is made of: these keys are replaced, null takes one away, the others stay. The file is
    /// written anew, in the master's folder.
    ///
    /// # Errors
    /// `Usage` with every key that is unknown here or has a wrong value; nothing is changed then.
    pub(crate) fn set_bootstrap_settings(&self, changes: Map<String, Value>) -> Result<SettingsView> {
        if let Some(key) = changes.keys().find(|key| !SETTABLE.contains(&key.as_str())) {
            let expected = SETTABLE.join(", ");
            return Err(Error::new(Kind::Usage, format!("{key}: cannot be set here: expected {expected}")));
        }
        // Nobody else sets something in between.
        let _changing = self.images.change()?;
        let mut members = self.written_settings()?;
        for (key, value) in changes {
            if value.is_null() {
                members.remove(&key);
            } else {
                members.insert(key, value);
            }
        }
        let options = serde_saphyr::ser_options! { quote_all: true, yaml_12: false };
        let mut text = String::new();
        serde_saphyr::to_fmt_writer_with_options(&mut text, &Value::Object(members), options)
            .context(Kind::Bug, || "writing settings")?;
        let (settings, _) = Settings::parse(&text)?;
        self.store.write(OF_MASTER, text.as_bytes())?;
        log::info!("the settings of bootstrap images were set");
        Ok(settings.into())
    }

    fn written_settings(&self) -> Result<Map<String, Value>> {
        let Some(path) = Settings::file_of(&self.store.path("")) else { return Ok(Map::new()) };
        let reading = || format!("reading {}", path.display());
        let text = std::fs::read_to_string(&path).context(Kind::Usage, reading)?;
        if says_nothing(&text) {
            return Ok(Map::new());
        }
        let value = yaml(&text).map_err(|fault| match fault {
            YamlFault::Twice(path) => Error::new(Kind::Usage, format!("{}: {path}: given twice", reading())),
            YamlFault::Other(path, words) => Error::new(Kind::Usage, format!("{}: {path}: {words}", reading())),
        })?;
        match value {
            Value::Object(members) => Ok(members),
            _ => Err(Error::new(Kind::Usage, format!("{}: expected a mapping", reading()))),
        }
    }

    /// Starts a build with the settings and what one call says beside them; the image is imported, and activated where that
    /// is asked for.
    ///
    /// # Errors
    /// `Usage` when a value cannot be used, `Refused` while another build goes on.
    pub(crate) fn build(self: &Arc<Self>, options: Options, activates: bool) -> Result<Build> {
        let options = Options {
            output_dir: Some(self.builds.folder().to_owned()),
            log_file: Some(self.builds.log_file()),
            ..options
        };
        let request = Request::new(self.settings()?, options, None)?;
        let master = Arc::clone(self);
        let activate = activates.then_some(move |id: &str| master.activate(id).map(|_| ()));
        self.builds.start(request, self.images.clone(), activate)
    }
}
