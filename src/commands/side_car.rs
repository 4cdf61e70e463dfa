//! Fetches the metadata that lies beside an image.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use log::warn;

use crate::error::{Context as _, Error, Kind, Result};
use crate::http::{Client, Method};
use crate::request::{Request, SideCar, side_car_uri};

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
        Some(path) => match fs::read(path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Error::caused(Kind::Image, format!("reading {path}"), cause)),
        },
        None => match fetch_patiently(&uri, http)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        },
    };
    SideCar::parse(&bytes).map(Some).map_err(|error| error.within(format!("metadata of image {uri}")))
}

fn fetch_patiently(uri: &str, http: &Client) -> Result<Option<Vec<u8>>> {
    let mut attempt = 1;
    loop {
        match fetch_once(uri, http) {
            Err(error) if attempt < ATTEMPTS => warn!("{error}; trying again"),
            result => return result,
        }
        attempt += 1;
        thread::sleep(DELAY);
    }
}

fn fetch_once(uri: &str, http: &Client) -> Result<Option<Vec<u8>>> {
    let what = || "fetching the metadata of the images";
    let response = http.request(Method::GET, uri).send().context(Kind::Image, what)?;
    match response.status() {
        200 => response.bytes(LIMIT).map(Some).context(Kind::Image, what),
        404 | 410 => Ok(None),
        _ => {
            Err(Error::new(Kind::Image, format!("{}: {} answered {}", what(), response.url(), response.status_text())))
        }
    }
}
