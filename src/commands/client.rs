//! The HTTP client as it is configured.

use crate::http;
use crate::settings::Settings;

/// Settings of the HTTP client; `--ca-file` has taken its place among the settings.
#[must_use]
pub fn http_settings(settings: &Settings) -> http::Settings {
    http::Settings { ca_files: settings.ca_file.clone(), ..http::Settings::default() }
}
