//! The commands that keep images: list, import, activate, roll back, delete.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::error::{Error, Kind, Result};
use crate::image::Cancel;
use crate::master::client;
use crate::sys::signal;

use super::activation::{self, Activation};
use super::cobbler::Registry;
use super::metadata::ImageId;
use super::settings::Settings;
use super::store::Store;

/// A command about images that are there.
#[derive(Debug, Subcommand)]
pub enum Keep {
    /// List all images
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import the archive of an image
    Import {
        /// Archive, a tar.gz
        archive: PathBuf,
        /// Activate it as well
        #[arg(long)]
        activate: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have nodes start an image from now on
    Activate {
        /// UUID of the image
        #[arg(required_unless_present = "previous")]
        id: Option<String>,
        /// The one that was active before, as `rollback`
        #[arg(long, conflicts_with = "id")]
        previous: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to the image that was active before
    Rollback {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete an image
    Delete {
        /// UUID of the image
        id: String,
        /// Also the one that a roll-back would need
        #[arg(long)]
        force: bool,
    },
}

impl Keep {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever went wrong.
    pub fn run(self, settings: &Settings, dir: &Path) -> Result<()> {
        let store = settings.store(dir);
        match self {
            Self::List { json } => {
                let list = store.list()?;
                client::print(json, &list, || list.text())
            }
            Self::Import { archive, activate, json } => import(settings, dir, &archive, activate, json),
            Self::Activate { id: Some(id), json, .. } => tell(json, &activate(settings, &store, dir, &id)?),
            Self::Activate { id: None, json, .. } | Self::Rollback { json } => {
                let registry = registry(settings, dir)?;
                tell(json, &activation::roll_back(&store, registry.as_ref())?)
            }
            Self::Delete { id, force } => {
                store.delete(&id, force)?;
                client::print(false, &(), || format!("Bootstrap image {id} has been deleted\n"))
            }
        }
    }
}

/// Imports an archive, and activates it where that is asked for.
///
/// # Errors
/// As [`Store::import`] and [`activation::activate`].
pub fn import(settings: &Settings, dir: &Path, archive: &Path, activates: bool, is_json: bool) -> Result<()> {
    let store = settings.store(dir);
    let imported = store.import(archive)?;
    client::print(is_json, &imported, || imported.text())?;
    if !activates {
        return Ok(());
    }
    let activation = activate(settings, &store, dir, imported.uuid.as_str())?;
    // One document is enough: `list` tells what is active.
    if is_json { Ok(()) } else { tell(false, &activation) }
}

fn activate(settings: &Settings, store: &Store, dir: &Path, id: &str) -> Result<Activation> {
    let id: ImageId = id.parse().map_err(|words| Error::new(Kind::Usage, words))?;
    activation::activate(store, &id, registry(settings, dir)?.as_ref())
}

fn tell(is_json: bool, activation: &Activation) -> Result<()> {
    client::print(is_json, activation, || activation.text())
}

/// Cobbler, where the settings name one.
fn registry(settings: &Settings, dir: &Path) -> Result<Option<Registry>> {
    let Some(cobbler) = &settings.cobbler else { return Ok(None) };
    // A run that is asked to end puts back what Cobbler held.
    signal::install()?;
    let own = client::endpoint(dir).ok().map(|endpoint| format!("{}/bootstraps", endpoint.nodes_url));
    Registry::new(cobbler, own.as_deref(), Cancel::with_flag(signal::cancel_flag())).map(Some)
}
