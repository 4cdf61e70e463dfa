//! Images: streamed to their device and proved, then made the device's own file system.

use std::path::Path;

use super::{Inputs, adoption, require_device};
use crate::error::{Error, Kind, Result};
use crate::image::{self, Cancel, Digest, Job, Location, MinisignKey, Signed};
use crate::plan::Step;
use crate::report::ImageReport;
use crate::request::Container;
use crate::sys::signal;

/// Carries out a `WriteImage` step.
pub fn write(id: &str, step: &Step, inputs: &Inputs<'_>) -> Result<ImageReport> {
    let Step::WriteImage {
        source,
        target,
        container,
        format,
        label,
        uuid,
        size,
        digests,
        container_size,
        container_digests,
        mirrors,
        minisign_key,
        signature,
        bmap,
    } = step
    else {
        return Err(Error::bug(format!("{id} is no image")));
    };
    let device = require_device(target)?;
    let source = location(source)?;
    let mut job = Job::new(id, source.clone(), device);
    job.mirrors = self::mirrors(mirrors)?;
    job.bmap = bmap.as_deref().map(location).transpose()?;
    if let Some(key) = minisign_key {
        let key: MinisignKey = key.parse().map_err(|reason: String| Error::new(Kind::Request, reason))?;
        let signature = signature.as_deref().map(location).transpose()?;
        job.signed = Some(Signed::new(key, signature.unwrap_or_else(|| source.with_suffix(".minisig"))));
    }
    job.container = Some(self::container(container)?);
    job.max_window = inputs.max_window;
    job.size = *size;
    job.container_size = *container_size;
    job.digests = parse(digests)?;
    job.container_digests = parse(container_digests)?;
    job.cancel = Cancel::with_flag(signal::cancel_flag());
    let mut reports = image::write(&job, inputs.http, inputs.reporter).outcome?;
    let report = reports.pop().ok_or_else(|| Error::bug(format!("{id} has no report")))?;
    let scratch = Path::new("/run/bedplate/grow");
    adoption::adopt(target, format, label.as_deref(), uuid, scratch)
        .map_err(|error| error.within(format!("making the file system on {target} its own")))?;
    Ok(report)
}

/// Where a step's image comes from.
pub fn location(source: &str) -> Result<Location> {
    source.parse().map_err(|reason: String| Error::new(Kind::Request, format!("image {source}: {reason}")))
}

/// Where else it comes from.
pub fn mirrors(addresses: &[String]) -> Result<Vec<Location>> {
    addresses.iter().map(|address| location(address)).collect()
}

/// How a step's image is packed.
pub fn container(word: &str) -> Result<Container> {
    Container::of_word(word)
        .ok_or_else(|| Error::new(Kind::Request, format!("{word:?} is no packing of images that this program knows")))
}

fn parse(digests: &[String]) -> Result<Vec<Digest>> {
    let parse =
        |digest: &String| digest.parse().map_err(|reason: String| Error::bug(format!("digest {digest}: {reason}")));
    digests.iter().map(parse).collect()
}
