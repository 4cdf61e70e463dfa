//! How the client reaches servers and whom it trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::Proxy;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::error::{Context as _, Error, Kind, Result};
use crate::request::Secret;

use super::{Scheme, identity};

/// How the client reaches servers and whom it trusts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// PEM files with certificate authorities that are trusted beside those of the system.
    pub ca_files: Vec<PathBuf>,
    /// PEM file with the certificate that is shown to servers which ask for one, and those of the authorities between it
    /// and theirs.
    pub client_cert: Option<PathBuf>,
    /// PEM file with its private key, without a passphrase; by default the same file.
    pub client_key: Option<PathBuf>,
    /// The system's authorities in one PEM file; it need not exist.
    pub system_ca_file: PathBuf,
    /// Proxies, by default those of the environment.
    pub proxies: Proxies,
    /// Limit for resolving a name.
    pub resolve_timeout: Duration,
    /// Limit for connecting, TLS included.
    pub connect_timeout: Duration,
    /// Limit for the whole response header, counted from the end of the request.
    pub response_timeout: Duration,
    /// Limit for silence in the middle of an answer. There is no limit for the whole of it.
    pub read_timeout: Duration,
}

/// Where ca-certificates puts its bundle; Red Hat's systems link it to theirs.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            client_cert: None,
            client_key: None,
            system_ca_file: PathBuf::from(SYSTEM_CA_FILE),
            proxies: Proxies::from_environment(),
            resolve_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The configuration of TLS, or nothing when no authority is known.
    pub(super) fn tls(&self) -> Result<Option<TlsConfig>> {
        let mut roots = Vec::new();
        if self.system_ca_file.is_file() {
            roots.extend(certificates(&self.system_ca_file)?);
        }
        for file in &self.ca_files {
            let found = certificates(file)?;
            if found.is_empty() {
                return Err(Error::new(Kind::Usage, format!("{} holds no certificate", file.display())));
            }
            roots.extend(found);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = identity::read(self.client_cert.as_deref(), self.client_key.as_deref(), &provider)?;
        if roots.is_empty() {
            return Ok(None);
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .client_cert(client)
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::from(roots))
            .build();
        Ok(Some(tls))
    }
}

/// All certificates of a PEM file.
pub(super) fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let reading = || format!("reading certificates of {}", file.display());
    let pem = fs::read(file).context(Kind::Usage, reading)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.context(Kind::Usage, reading)? {
            found.push(certificate);
        }
    }
    Ok(found)
}

/// Proxies by scheme, and the hosts that are reached without one.
///
/// Plain http goes through a proxy by CONNECT too, which some proxies allow for port 443 alone.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For http addresses; may hold a login.
    pub http: Option<Secret>,
    /// For https addresses; may hold a login.
    pub https: Option<Secret>,
    /// Names, `.suffixes` and addresses that are reached directly; `*` stands for all.
    pub no_proxy: Vec<String>,
}

impl Proxies {
    /// Reads `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, and the same in capitals.
    ///
    /// As in curl the capital `HTTP_PROXY` is not read: a CGI server sets it from a request's header.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let no_proxy = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Self {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]).map(Secret::new),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]).map(Secret::new),
            no_proxy: no_proxy.split([',', ' ']).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// Whether this host is reached directly.
    pub(super) fn is_direct(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.no_proxy.iter().any(|entry| {
            let entry = entry.to_ascii_lowercase();
            let name = entry.trim_start_matches("*.").trim_start_matches('.');
            // As in curl a plain name covers its subdomains.
            entry == "*" || host == name || host.strip_suffix(name).is_some_and(|front| front.ends_with('.'))
        })
    }

    pub(super) fn proxy(&self, scheme: Scheme) -> Result<Option<Proxy>> {
        let (variable, address) = match scheme {
            Scheme::Http => ("http_proxy", &self.http),
            Scheme::Https => ("https_proxy", &self.https),
        };
        let Some(address) = address else { return Ok(None) };
        let scheme = address.reveal().split_once("://").map_or("http", |(scheme, _)| scheme).to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            let words = format!("reading the address in {variable}: expected a proxy that speaks http, found {scheme}");
            return Err(Error::new(Kind::Usage, words));
        }
        // The address itself may hold a password, so the error does not show it.
        let proxy =
            Proxy::new(address.reveal()).context(Kind::Usage, || format!("reading the address in {variable}"))?;
        Ok(Some(proxy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_that_do_not_speak_http_are_refused() {
        for address in ["socks5://u:hunter2@p:1080", "SOCKS4://p", "ftp://p"] {
            let proxies = Proxies { http: Some(Secret::new(address)), ..Proxies::default() };
            let error = proxies.proxy(Scheme::Http).unwrap_err();
            let scheme = address.split_once(':').unwrap().0.to_lowercase();
            let words = format!("reading the address in http_proxy: expected a proxy that speaks http, found {scheme}");
            assert_eq!((error.kind(), error.to_string()), (Kind::Usage, words));
        }
        for address in ["http://p:3128", "p:3128"] {
            let proxies = Proxies { http: Some(Secret::new(address)), ..Proxies::default() };
            assert!(proxies.proxy(Scheme::Http).unwrap().is_some(), "{address}");
        }
    }

    #[test]
    fn proxies_are_read_by_scheme_and_capital_http_proxy_is_not_believed() {
        let variable = |name: &str| match name {
            "HTTP_PROXY" => Some("http://evil".to_owned()),
            "all_proxy" => Some("http://all:3128".to_owned()),
            "HTTPS_PROXY" => Some("http://u:hunter2@tls:3128".to_owned()),
            "no_proxy" => Some("localhost, .example.com,10.0.0.1".to_owned()),
            _ => None,
        };
        let proxies = Proxies::from_variables(variable);
        assert_eq!(proxies.http.as_ref().map(Secret::reveal), Some("http://all:3128"));
        assert_eq!(proxies.https.as_ref().map(Secret::reveal), Some("http://u:hunter2@tls:3128"));
        assert!(!format!("{proxies:?}").contains("hunter2"));
        for direct in ["localhost", "example.com", "a.EXAMPLE.com", "10.0.0.1"] {
            assert!(proxies.is_direct(direct), "{direct}");
        }
        for proxied in ["badexample.com", "10.0.0.2", "example.com.evil.org"] {
            assert!(!proxies.is_direct(proxied), "{proxied}");
        }
    }

    #[test]
    fn a_bad_proxy_address_is_refused_without_its_password() {
        let proxies = Proxies { https: Some(Secret::new("gopher://u:hunter2@h")), ..Proxies::default() };
        let error = proxies.proxy(Scheme::Https).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
