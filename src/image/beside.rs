//! Small files that lie beside images: signatures, lists of checksums, maps of blocks.

use std::io::Read as _;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::units::widen;

use super::cancel::Cancel;
use super::location::Location;
use super::source::{self, Access};

/// A list of the checksums of ten thousand files has a megabyte, a map of a fragmented image of a TiB some.
const LIMIT: u64 = 16 << 20;

/// Nothing is written yet, so failing early is better.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the whole of a small file.
///
/// # Errors
/// `Image` when it is absent, cannot be had, or is larger than such a file can be; `Terminated` when the run is to end.
pub fn read(location: &Location, client: &Client, cancel: &Cancel) -> Result<Vec<u8>> {
    let (location, client, inner) = (location.clone(), client.clone(), cancel.clone());
    cancel.aside(move || read_whole(&location, &client, &inner))
}

fn read_whole(location: &Location, client: &Client, cancel: &Cancel) -> Result<Vec<u8>> {
    let access =
        Access { source: location, mirrors: &[], has_digest: false, signed: None, client, cancel, patience: PATIENCE };
    let mut bytes = Vec::new();
    source::open(&access)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(source::own_error)?;
    if widen(bytes.len()) > LIMIT {
        return Err(Error::new(Kind::Image, format!("reading {location}: expected at most {LIMIT} bytes, found more")));
    }
    Ok(bytes)
}
