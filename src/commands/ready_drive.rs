//! Config drives that are ready: fetched whole, and proved where the request says by what.

use crate::configdrive::ConfigDrive;
use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::image::Digest;
use crate::request::shown_uri;

use super::side_car;

/// More than the partition of a config drive has.
const LIMIT: u64 = 32 << 20;

/// Fetches the image, and compares it with each of its digests.
///
/// # Errors
/// `Image` when it is not there, too large, or another one.
pub fn fetch(uri: &str, digests: &[String], http: &Client) -> Result<ConfigDrive> {
    let what = || format!("config drive {}", shown_uri(uri));
    let bytes = match uri.strip_prefix("file://") {
        Some(path) => side_car::read_file(path, LIMIT)?,
        None => side_car::fetch_patiently(uri, "the config drive", LIMIT, http)?,
    };
    let bytes = bytes.ok_or_else(|| Error::new(Kind::Image, format!("{}: there is none", what())))?;
    for text in digests {
        let expected: Digest = text.parse().map_err(|fault| Error::caused(Kind::Request, what(), fault))?;
        let found = Digest::of_bytes(expected.algorithm(), &bytes);
        if found != expected {
            return Err(Error::new(Kind::Image, format!("{}: expected {expected}, found {found}", what())));
        }
    }
    Ok(ConfigDrive::ready(bytes))
}
