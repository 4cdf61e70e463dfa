//! Servers that ask who we are: client certificates, and proxies that open tunnels.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bedplate::http::{Client, Method, Proxies, Settings};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use support::authority::Authority;
use support::http_server::{Reply, Server};
use support::images::picture;
use support::proxy::Proxy;

/// A server that speaks only to those whom this authority knows.
fn demanding(authority: &Authority) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let (certificate, key) = authority.signed("127.0.0.1", |_| ());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let body: Arc<[u8]> = picture().into();
    Server::start_tls_with(config, move |seen, _| Reply::file(seen, &body, "\"v1\""))
}

fn settings(authority: &Authority) -> Settings {
    Settings {
        ca_files: vec![authority.ca_file.clone()],
        system_ca_file: PathBuf::from("/nonexistent/ca.crt"),
        proxies: Proxies::default(),
        response_timeout: Duration::from_secs(5),
        ..Settings::default()
    }
}

#[test]
fn a_server_that_demands_a_certificate_gets_it_from_one_file_or_two() {
    let authority = Authority::new();
    let server = demanding(&authority);
    let (certificate, key) = authority.signed("node-1", |_| ());
    let apart = Settings {
        client_cert: Some(authority.file("c.pem", &certificate.pem())),
        client_key: Some(authority.file("k.pem", &key.serialize_pem())),
        ..settings(&authority)
    };
    let both = format!("{}{}", key.serialize_pem(), certificate.pem());
    let together = Settings { client_cert: Some(authority.file("both.pem", &both)), ..settings(&authority) };
    for settings in [apart, together] {
        let response = Client::new(&settings).unwrap().request(Method::GET, &server.url("/image")).send().unwrap();
        assert!(response.bytes(4 << 20).unwrap() == picture());
    }
}

#[test]
fn without_a_certificate_or_with_a_strangers_the_server_refuses_and_that_is_said() {
    let authority = Authority::new();
    let server = demanding(&authority);
    let refused = |settings: &Settings| {
        let client = Client::new(settings).unwrap();
        let outcome = client.request(Method::GET, &server.url("/image")).send();
        let error = outcome.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        error.reason().to_owned()
    };
    assert_eq!(refused(&settings(&authority)), "TLS with 127.0.0.1: it wants a client certificate");
    let stranger = Authority::new();
    let (certificate, key) = stranger.signed("node-1", |_| ());
    let both = format!("{}{}", key.serialize_pem(), certificate.pem());
    let settings = Settings { client_cert: Some(stranger.file("both.pem", &both)), ..settings(&authority) };
    let words = refused(&settings);
    assert!(words.starts_with("TLS with 127.0.0.1: it refuses the client certificate: "), "{words}");
}

#[test]
fn files_that_make_no_identity_are_named_with_what_is_missing() {
    let authority = Authority::new();
    let (certificate, key) = authority.signed("node-1", |_| ());
    let (_, other) = authority.signed("node-2", |_| ());
    let good = authority.file("c.pem", &certificate.pem());
    let key = authority.file("k.pem", &key.serialize_pem());
    let other = authority.file("other.pem", &other.serialize_pem());
    let locked = authority
        .file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let absent = authority.scratch.path("absent.pem");
    let words = |cert: Option<&PathBuf>, key: Option<&PathBuf>| {
        let settings = Settings { client_cert: cert.cloned(), client_key: key.cloned(), ..settings(&authority) };
        let error = Client::new(&settings).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        error.to_string().replace(&format!("{}/", authority.scratch.folder().display()), "")
    };
    assert_eq!(words(None, Some(&key)), "client-key is given without client-cert");
    assert_eq!(
        words(Some(&absent), Some(&key)),
        "reading certificates of absent.pem: No such file or directory (os error 2)"
    );
    assert_eq!(words(Some(&key), Some(&key)), "k.pem holds no certificate");
    assert_eq!(
        words(Some(&good), None),
        "reading the private key of c.pem: it holds none, and client-key is not given"
    );
    assert_eq!(words(Some(&good), Some(&good)), "reading the private key of c.pem: it holds none");
    assert_eq!(
        words(Some(&good), Some(&locked)),
        "reading the private key of locked.pem: it needs a passphrase, which nobody could type"
    );
    assert_eq!(
        words(Some(&good), Some(&other)),
        "reading the client certificate of c.pem and other.pem: certificate and key do not belong together"
    );
}

#[test]
fn proxies_of_the_environment_tunnel_http_and_https() {
    let authority = Authority::new();
    let (certificate, key) = authority.signed("127.0.0.1", |_| ());
    let body: Arc<[u8]> = picture().into();
    let plain = Server::serving(Arc::clone(&body));
    let secure = Server::start_tls(
        certificate.der().clone(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        move |seen, _| Reply::file(seen, &body, "\"v1\""),
    );
    for (server, variable) in [(&plain, "http_proxy"), (&secure, "HTTPS_PROXY")] {
        let proxy = Proxy::start();
        let target = authority.scratch.path("target.img");
        let run = |no_proxy: &str| {
            Command::new(env!("CARGO_BIN_EXE_bedplate"))
                .env_clear()
                .env(variable, format!("http://u:hunter2@{}", proxy.address))
                .env("no_proxy", no_proxy)
                .args(["write-image", "--ca-file"])
                .arg(&authority.ca_file)
                .arg(server.url("/image"))
                .arg(&target)
                .output()
                .unwrap()
        };
        let output = run("");
        assert!(output.status.success(), "{output:?}");
        assert!(std::fs::read(&target).unwrap() == picture());
        let seen = proxy.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0][0], format!("CONNECT {} HTTP/1.1", server.address()));
        let login = "proxy-authorization: basic dtpodw50zxiy";
        assert!(seen[0].iter().any(|line| line.to_ascii_lowercase() == login), "{seen:?}");
        assert!(run("127.0.0.1").status.success());
        assert_eq!(proxy.seen().len(), 1);
    }
}
