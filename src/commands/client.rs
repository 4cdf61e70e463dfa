//! The HTTP client as it is configured.

use crate::http;
use crate::settings::Settings;

/// Settings of the HTTP client; options as `--ca-file` have taken their place among the settings.
#[must_use]
pub fn http_settings(settings: &Settings) -> http::Settings {
    http::Settings {
        ca_files: settings.ca_file.clone(),
        client_cert: settings.client_cert.clone(),
        client_key: settings.client_key.clone(),
        ..http::Settings::default()
    }
}
