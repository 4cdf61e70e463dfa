//! Certificate authorities, and servers that show what they signed.

use std::path::PathBuf;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::http_server::{Reply, Seen, Server};
use super::scratch::Scratch;

/// An authority, and files in which its parties keep their certificates.
pub struct Authority {
    pub scratch: Scratch,
    /// Its own certificate, for those who trust it.
    pub ca_file: PathBuf,
    pub certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Of two authorities with one name a server could not tell which it is.
        let scratch = Scratch::new();
        params.distinguished_name.push(DnType::CommonName, scratch.folder().display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let ca_file = scratch.path("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        Self { scratch, ca_file, certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, which `adjust` may spoil, and its key.
    pub fn signed(&self, name: &str, adjust: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        adjust(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server with such a certificate.
    pub fn serving(
        &self,
        name: &str,
        adjust: impl FnOnce(&mut CertificateParams),
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let (certificate, key) = self.signed(name, adjust);
        Server::start_tls(certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap(), answer)
    }

    /// A file of one of its parties.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
