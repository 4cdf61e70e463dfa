//! The HTTP client against real servers on the loopback.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use bedplate::http::{Client, Fault, Method, Proxies, Settings, read_error};
use bedplate::request::Secret;
use rcgen::{CertificateParams, date_time_ymd};
use support::authority::Authority;
use support::http_server::{Cut, Length, Reply, Server};

/// A client that knows no authority, no proxy, and waits a second.
fn settings() -> Settings {
    Settings {
        system_ca_file: PathBuf::from("/nonexistent/ca.crt"),
        proxies: Proxies::default(),
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(1),
        ..Settings::default()
    }
}

fn client() -> Client {
    Client::new(&settings()).unwrap()
}

fn server(authority: &Authority, host: &str, adjust: impl FnOnce(&mut CertificateParams)) -> Server {
    authority.serving(host, adjust, |_, _| Reply::new(200, *b"over TLS"))
}

fn trusting(authority: &Authority) -> Client {
    Client::new(&Settings { ca_files: vec![authority.ca_file.clone()], ..settings() }).unwrap()
}

#[test]
fn request_carries_method_headers_token_and_json_and_any_status_is_an_answer() {
    let server = Server::start(|_, _| Reply::new(409, *b"{\"reason\":\"known\"}").header("X-Note", "n1"));
    let response = client()
        .request(Method::POST, &server.url("/api/nodes/?x=1"))
        .bearer(&Secret::new("t0ken"))
        .header("X-One", "1")
        .json(&serde_json::json!({"mac": "52:54:00:00:00:01"}))
        .send()
        .unwrap();
    assert_eq!((response.status(), response.header("x-note")), (409, Some("n1")));
    assert_eq!(response.json::<serde_json::Value>(1 << 20).unwrap(), serde_json::json!({"reason": "known"}));
    let seen = server.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/api/nodes/?x=1"));
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen.header("x-one"), Some("1"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("accept-encoding"), None);
    assert_eq!(seen.body, br#"{"mac":"52:54:00:00:00:01"}"#);
}

#[test]
fn body_larger_than_the_limit_is_refused() {
    let server = Server::start(|_, _| Reply::new(200, vec![b'x'; 1001]));
    let fetch = |limit| client().request(Method::GET, &server.url("/big")).send().unwrap().bytes(limit);
    assert_eq!(fetch(1001).unwrap().len(), 1001);
    let error = fetch(1000).unwrap_err();
    assert_eq!(error.fault(), Fault::Protocol);
    assert_eq!(error.to_string(), format!("the answer of {} exceeds 1000 bytes", server.url("/big")));
}

#[test]
fn login_in_the_address_is_sent_as_basic_and_never_shown() {
    let server = Server::start(|_, _| Reply::new(200, *b"ok").cut(Cut::Close(1)));
    let address = server.url("/a").replace("http://", "http://user:hun%3Ater2@");
    let response = client().request(Method::GET, &address).send().unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Basic dXNlcjpodW46dGVyMg=="));
    let shown = format!("{response:?}") + &response.bytes(10).unwrap_err().to_string();
    assert!(!shown.contains("ter2"), "{shown}");
}

#[test]
fn redirects_are_followed_and_credentials_stay_with_their_server() {
    let other = Server::start(|_, _| Reply::new(200, *b"arrived"));
    let target = other.url("/end");
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/one" => Reply::redirect(302, "two?x=y"),
        _ => Reply::redirect(307, target.clone()),
    });
    let response =
        client().request(Method::GET, &server.url("/one")).bearer(&Secret::new("t")).header("X", "1").send().unwrap();
    assert_eq!(response.url().to_string(), other.url("/end"));
    assert_eq!(response.bytes(100).unwrap(), b"arrived");
    assert_eq!(server.seen()[1].path, "/two?x=y");
    assert_eq!(server.seen()[1].header("authorization"), Some("Bearer t"));
    assert_eq!(other.seen()[0].header("authorization"), None);
    assert_eq!(other.seen()[0].header("x"), Some("1"));
}

#[test]
fn redirect_loops_and_endless_chains_are_errors_that_name_the_way() {
    let server = Server::start(|seen, nth| match seen.path.as_str() {
        "/a" => Reply::redirect(302, "/b"),
        "/b" => Reply::redirect(302, "/a"),
        _ => Reply::redirect(302, format!("/chain{nth}")),
    });
    let error = client().request(Method::GET, &server.url("/a")).send().unwrap_err();
    let (a, b) = (server.url("/a"), server.url("/b"));
    assert_eq!(error.to_string(), format!("GET {a} -> {b}: redirected in a loop, back to {a}"));
    assert_eq!(error.fault(), Fault::Redirect);
    let error = client().request(Method::GET, &server.url("/chain")).send().unwrap_err();
    assert!(error.to_string().contains(": more than 5 redirects, to "), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn what_is_posted_is_not_redirected() {
    let server = Server::start(|_, _| Reply::redirect(307, "/elsewhere"));
    let response = client().request(Method::POST, &server.url("/a")).body("x").send().unwrap();
    assert_eq!((response.status(), server.seen().len()), (307, 1));
}

#[test]
fn faults_are_told_apart() {
    let fault = |url: &str| {
        let error = client().request(Method::GET, url).send().unwrap_err();
        (error.fault(), error.to_string())
    };
    let (kind, words) = fault("http://no-such-host.invalid/x");
    assert_eq!(kind, Fault::NameResolution);
    assert!(words.starts_with("GET http://no-such-host.invalid/x: resolving no-such-host.invalid: "), "{words}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (kind, words) = fault(&format!("http://{free}/"));
    assert_eq!(kind, Fault::Connect);
    assert_eq!(words, format!("GET http://{free}/: connecting to 127.0.0.1: Connection refused (os error 111)"));

    let silent = Server::start(|_, _| Reply::new(200, *b"").delay(Duration::from_secs(3)));
    let (kind, words) = fault(&silent.url("/"));
    assert_eq!(kind, Fault::Timeout);
    assert!(words.ends_with(": no answer in time") || words.ends_with(": the server fell silent"), "{words}");

    let (kind, words) = fault("gopher://u:hunter2@h/");
    assert_eq!((kind, words.as_str()), (Fault::Url, "GET: address is neither http:// nor https://"));
}

#[test]
fn silence_and_breaks_in_the_middle_of_a_body_are_told_apart() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/stall" => Reply::new(200, vec![7; 2000]).stall(1000, Duration::from_secs(3)),
        "/close" => Reply::new(200, vec![7; 2000]).cut(Cut::Close(1000)),
        "/reset" => Reply::new(200, vec![7; 2000]).cut(Cut::Reset(1000)),
        _ => Reply::new(200, vec![7; 2000]).length(Length::Chunked).cut(Cut::Close(1000)),
    });
    let read = |path: &str| {
        let response = client().request(Method::GET, &server.url(path)).send().unwrap();
        assert!(response.has_marked_end());
        let mut bytes = Vec::new();
        let error = response.reader().read_to_end(&mut bytes).unwrap_err();
        (bytes.len(), read_error(error))
    };
    let (count, error) = read("/stall");
    assert_eq!((count, error.fault(), error.to_string().as_str()), (1000, Fault::Timeout, "the server fell silent"));
    for path in ["/close", "/reset", "/chunks"] {
        let (count, error) = read(path);
        assert_eq!((count, error.fault()), (1000, Fault::Broken), "{path}: {error}");
        assert_eq!(error.to_string(), "127.0.0.1 closed the connection");
    }
}

#[test]
fn private_authority_is_trusted_beside_those_of_the_system() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |_| ());
    let response = trusting(&authority).request(Method::GET, &server.url("/")).send().unwrap();
    assert_eq!(response.bytes(100).unwrap(), b"over TLS");
}

#[test]
fn https_without_any_authority_says_so() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |_| ());
    let error = client().request(Method::GET, &server.url("/")).send().unwrap_err();
    assert_eq!(error.fault(), Fault::Tls);
    assert_eq!(
        error.to_string(),
        format!(
            "GET {}: TLS with 127.0.0.1: no certificate authority is known: /nonexistent/ca.crt is absent and no CA file is given",
            server.url("/")
        )
    );
}

#[test]
fn certificate_faults_name_their_cause() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let cause = |client: &Client, server: &Server| {
        let error = client.request(Method::GET, &server.url("/")).send().unwrap_err();
        assert_eq!(error.fault(), Fault::Tls, "{error}");
        error.to_string().rsplit_once("TLS with 127.0.0.1: ").unwrap().1.to_owned()
    };
    let good = server(&authority, "127.0.0.1", |_| ());
    assert_eq!(cause(&trusting(&stranger), &good), "its certificate is issued by an unknown authority");

    let client = trusting(&authority);
    let expired = server(&authority, "127.0.0.1", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let words = cause(&client, &expired);
    assert!(
        words.starts_with("its certificate has expired: valid until 2020-01-01T00:00:00Z, the clock here says 2"),
        "{words}"
    );
    let early = server(&authority, "127.0.0.1", |params| params.not_before = date_time_ymd(3000, 1, 1));
    let words = cause(&client, &early);
    assert!(
        words.starts_with("its certificate is not valid yet: valid from 3000-01-01T00:00:00Z, the clock"),
        "{words}"
    );

    let other = server(&authority, "images.example.com", |_| ());
    assert_eq!(cause(&client, &other), "its certificate is for another name: DnsName(\"images.example.com\")");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("https://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the client hangs up.
        let _hung_up = stream.read_to_end(&mut Vec::new());
    });
    let error = client.request(Method::GET, &plain).send().unwrap_err();
    server.join().unwrap();
    assert!(error.to_string().ends_with("TLS with 127.0.0.1: it does not speak TLS on this port"), "{error}");
}

#[test]
fn redirect_from_https_to_http_is_refused() {
    let authority = Authority::new();
    let server = authority.serving("127.0.0.1", |_| (), |_, _| Reply::redirect(302, "http://127.0.0.1:1/plain"));
    let error = trusting(&authority).request(Method::GET, &server.url("/")).send().unwrap_err();
    assert_eq!(error.fault(), Fault::Redirect);
    assert!(error.to_string().ends_with("redirected from https to plain http://127.0.0.1:1/plain"), "{error}");
}

#[test]
fn proxy_is_asked_unless_the_host_is_exempt() {
    let proxy = Server::start(|_, _| Reply::new(403, *b"no"));
    let server = Server::start(|_, _| Reply::new(200, *b"direct"));
    let through = |no_proxy: &[&str]| {
        let proxies = Proxies {
            http: Some(Secret::new(proxy.url("").replace("http://", "http://u:hunter2@"))),
            https: None,
            no_proxy: no_proxy.iter().map(|&host| host.to_owned()).collect(),
        };
        let client = Client::new(&Settings { proxies, ..settings() }).unwrap();
        client.request(Method::GET, &server.url("/")).send()
    };
    let error = through(&[]).unwrap_err();
    assert_eq!(error.fault(), Fault::Connect, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    assert_eq!(proxy.seen()[0].method, "CONNECT");
    assert_eq!(through(&["127.0.0.1"]).unwrap().bytes(10).unwrap(), b"direct");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let file = std::env::temp_dir().join(format!("bedplate-no-ca-{}.pem", std::process::id()));
    std::fs::write(&file, "not PEM at all").unwrap();
    let error = Client::new(&Settings { ca_files: vec![file.clone()], ..settings() }).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(error.to_string(), format!("{} holds no certificate", file.display()));
    assert_eq!(error.kind().exit_code(), 2);
}
