//! The HTTP client as it is configured.

use std::path::PathBuf;

use crate::http;
use crate::settings::Settings;

/// Settings of the HTTP client with these certificate authorities, else the configured ones.
pub(super) fn http_settings(settings: &Settings, ca_files: &[PathBuf]) -> http::Settings {
    let ca_files = if ca_files.is_empty() { &settings.ca_file } else { ca_files };
    http::Settings { ca_files: ca_files.to_vec(), ..http::Settings::default() }
}
