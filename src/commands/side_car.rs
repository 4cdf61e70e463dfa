//! Fetches the metadata that lies beside an image.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::thread;
use std::time::Duration;

use log::warn;

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method};
use crate::request::{Request, SideCar, side_car_uri};
use crate::units::widen;

/// A side-car is some hundred bytes for each image and package.
const LIMIT: u64 = 4 << 20;
/// How often a server is asked that does not answer as it should.
const ATTEMPTS: u32 = 4;
/// Between two attempts (upstream's `http_retry_delay`).
const DELAY: Duration = Duration::from_secs(2);

/// Fetches the side-car of the request's root image; nothing when the server says that there is none.
///
/// Upstream took every failure for "there is none", so that a typing error turned verification off without a word.
///
/// # Errors
/// `Image` when the server cannot be asked or the side-car makes no sense.
pub fn fetch(request: &Request, http: &Client) -> Result<Option<SideCar>> {
    let root = request.images.iter().find(|image| image.mount == "/");
    let Some(uri) = root.and_then(|image| side_car_uri(&image.uri)) else { return Ok(None) };
    let bytes = match uri.strip_prefix("file://") {
        Some(path) => read_file(path, LIMIT)?,
        None => fetch_patiently(&uri, "the metadata of the images", LIMIT, http)?,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    SideCar::parse(&bytes).map(Some).map_err(|error| error.within(format!("metadata of image {uri}")))
}

/// A file's bytes; nothing where it is not there.
pub(super) fn read_file(path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let what = || format!("reading {path}");
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::caused(Kind::Image, what(), cause)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).context(Kind::Image, what)?;
    if widen(bytes.len()) > limit {
        return Err(Error::new(Kind::Image, format!("{}: expected at most {limit} bytes, found more", what())));
    }
    Ok(Some(bytes))
}

/// What a server has there; nothing when it says that there is none.
pub(super) fn fetch_patiently(uri: &str, what: &str, limit: u64, http: &Client) -> Result<Option<Vec<u8>>> {
    let mut attempt = 1;
    loop {
        match fetch_once(uri, what, limit, http) {
            Err(error) if attempt < ATTEMPTS => warn!("{error}; trying again"),
            result => return result,
        }
        attempt += 1;
        thread::sleep(DELAY);
    }
}

fn fetch_once(uri: &str, what: &str, limit: u64, http: &Client) -> Result<Option<Vec<u8>>> {
    let what = || format!("fetching {what}");
    let response = http.request(Method::GET, uri).send().context(Kind::Image, what)?;
    match response.status() {
        200 => response.bytes(limit).map(Some).context(Kind::Image, what),
        404 | 410 => Ok(None),
        _ => {
            Err(Error::new(Kind::Image, format!("{}: {} answered {}", what(), response.url(), response.status_text())))
        }
    }
}
