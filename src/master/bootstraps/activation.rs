//! Which image nodes start: Cobbler is told, then one link is replaced.

use std::io::ErrorKind;
use std::path::PathBuf;

use log::{info, warn};
use serde::Serialize;

use crate::error::{Context as _, Error, Kind, Result};
use crate::master::store::write_durably;

use super::cobbler::{Before, Registry, with_outcome};
use super::metadata::ImageId;
use super::store::{Changing, Image, Store};

/// Holds what Cobbler held before it was told of the first image.
const BEFORE: &str = ".cobbler-before.json";

/// What is active after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Activation {
    /// What nodes start; nothing when the first activation was rolled back.
    pub active: Option<ImageId>,
    /// What a roll-back would make active.
    pub previous: Option<ImageId>,
    /// Whether Cobbler was told.
    pub cobbler: bool,
}

impl Activation {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let told = if self.cobbler { ", also in Cobbler" } else { "" };
        match &self.active {
            Some(id) => format!("Bootstrap image {id} has been activated{told}\n"),
            None => format!("No bootstrap image is active any more{told}\n"),
        }
    }
}

/// Has nodes start this image from now on. Those that are on their way go on with the one that they began with.
///
/// # Errors
/// `Usage` when there is no such image, `Image` when it is broken, `Master` when Cobbler cannot be told. Then nodes start what
/// they started before, and Cobbler holds what it held; where that cannot be reached, the advice says so.
pub fn activate(store: &Store, id: &ImageId, registry: Option<&Registry>) -> Result<Activation> {
    let changing = store.change()?;
    let image = store.image(id)?;
    switch(store, &changing, Some(&image), registry)
        .map_err(|error| error.within(format!("activating the bootstrap image {id}")))
}

/// Goes back to the image that was active before; where there was none, to no image at all. Done twice, it undoes itself.
///
/// # Errors
/// `Refused` when there is nothing to go back to; else as [`activate`].
pub fn roll_back(store: &Store, registry: Option<&Registry>) -> Result<Activation> {
    let changing = store.change()?;
    let (active, previous) = (store.active()?, store.previous()?);
    if active == previous {
        return Err(Error::new(Kind::Refused, "rolling back: no other bootstrap image was active before"));
    }
    let within = |error: Error| match &previous {
        Some(id) => error.within(format!("rolling back to the bootstrap image {id}")),
        None => error.within("rolling back to no bootstrap image"),
    };
    let image = previous.as_ref().map(|id| store.image(id)).transpose().map_err(within)?;
    switch(store, &changing, image.as_ref(), registry).map_err(within)
}

fn switch(
    store: &Store,
    changing: &Changing,
    image: Option<&Image>,
    registry: Option<&Registry>,
) -> Result<Activation> {
    let undo = registry.map(|registry| tell(store, image, registry)).transpose()?;
    if let Err(error) = store.set_active(changing, image.map(Image::id)) {
        return Err(match (registry, undo) {
            (Some(registry), Some(before)) => with_outcome(error, registry.restore(&before)),
            _ => error,
        });
    }
    if image.is_none() {
        forget(store);
    }
    let activation = Activation { active: store.active()?, previous: store.previous()?, cobbler: registry.is_some() };
    match &activation.active {
        Some(id) => info!("the bootstrap image {id} is active"),
        None => info!("no bootstrap image is active"),
    }
    Ok(activation)
}

/// Tells Cobbler of an image, or gives back what it held before the first one. Returns what it held just before.
fn tell(store: &Store, image: Option<&Image>, registry: &Registry) -> Result<Before> {
    let now = registry.read()?;
    let first = read_first(store)?;
    let told = match (image, &first) {
        (Some(image), _) => {
            if first.is_none() {
                let bytes = serde_json::to_vec_pretty(&now).context(Kind::Bug, || "serialising what Cobbler held")?;
                // Kernel options of a site may hold passwords: nobody else may read it.
                write_durably(&path(store), &bytes, 0o600)?;
            }
            registry.register(image)
        }
        (None, Some(first)) => registry.restore(first),
        (None, None) => {
            warn!("what Cobbler held before is not known: it is left as it is");
            Ok(())
        }
    };
    let Err(error) = told else { return Ok(now) };
    let restored = registry.restore(&now);
    if first.is_none() && restored.is_ok() {
        forget(store);
    }
    Err(with_outcome(error, restored))
}

fn path(store: &Store) -> PathBuf {
    store.folder().join(BEFORE)
}

fn read_first(store: &Store) -> Result<Option<Before>> {
    let path = path(store);
    match std::fs::read(&path) {
        Ok(bytes) => {
            Before::parse(&bytes).map(Some).map_err(|error| error.within(format!("reading {}", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::caused(Kind::Medium, format!("reading {}", path.display()), error)),
    }
}

fn forget(store: &Store) {
    if let Err(error) = std::fs::remove_file(path(store))
        && error.kind() != ErrorKind::NotFound
    {
        warn!("removing {}: {error}", path(store).display());
    }
}
