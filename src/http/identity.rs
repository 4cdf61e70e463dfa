//! Who we are: the certificate that is shown to servers which ask for one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey};

use crate::error::{Context as _, Error, Kind, Result};

use super::settings::certificates;

/// Reads certificate and key, and looks whether they belong together.
///
/// # Errors
/// `Usage` with the file and what is missing in it.
pub(super) fn read(
    certificate: Option<&Path>,
    key: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<ClientCert>> {
    let Some(certificate_file) = certificate else {
        return match key {
            Some(_) => Err(Error::new(Kind::Usage, "client-key is given without client-cert")),
            None => Ok(None),
        };
    };
    let chain = certificates(certificate_file)?;
    if chain.is_empty() {
        return Err(Error::new(Kind::Usage, format!("{} holds no certificate", certificate_file.display())));
    }
    let key_file = key.unwrap_or(certificate_file);
    let (key, der) = private_key(key_file, key.is_none())?;
    check(&chain, der, provider).map_err(|cause| {
        let files = format!("{} and {}", certificate_file.display(), key_file.display());
        let reason = match cause {
            rustls::Error::InconsistentKeys(_) => "certificate and key do not belong together".to_owned(),
            other => other.to_string(),
        };
        Error::new(Kind::Usage, format!("reading the client certificate of {files}: {reason}"))
    })?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

/// The key as either library wants it.
fn private_key(file: &Path, is_certificate_file: bool) -> Result<(PrivateKey<'static>, PrivateKeyDer<'static>)> {
    let reading = || format!("reading the private key of {}", file.display());
    let pem = fs::read(file).context(Kind::Usage, reading)?;
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|cause| {
        let is_locked = String::from_utf8_lossy(&pem).contains("BEGIN ENCRYPTED PRIVATE KEY");
        let reason = match (cause, is_certificate_file) {
            (pem::Error::NoItemsFound, _) if is_locked => "it needs a passphrase, which nobody could type".to_owned(),
            (pem::Error::NoItemsFound, true) => "it holds none, and client-key is not given".to_owned(),
            (pem::Error::NoItemsFound, false) => "it holds none".to_owned(),
            (other, _) => other.to_string(),
        };
        Error::new(Kind::Usage, format!("{}: {reason}", reading()))
    })?;
    let key = PrivateKey::from_pem(&pem).context(Kind::Usage, reading)?;
    Ok((key, der))
}

/// The client library panics where these do not fit, so they are tried beforehand.
fn check(
    chain: &[Certificate<'static>],
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> std::result::Result<(), rustls::Error> {
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    CertifiedKey::from_der(chain, key, provider).map(|_| ())
}
