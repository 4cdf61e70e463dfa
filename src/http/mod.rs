//! The one HTTP client: blocking, with timeouts on silence, redirects followed by hand, secrets kept out of every message.
//!
//! It is used for images, the master and event sinks; each caller gives an [`Error`] the kind that says whose fault it is.

mod excerpt;
mod fault;
mod identity;
mod settings;
mod url;

use std::io::{self, Read};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use log::debug;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result as AgentResult;
use crate::request::Secret;

pub use excerpt::excerpt;
pub use fault::{Error, Fault};
pub use settings::{Proxies, Settings};
pub use ureq::http::Method;
pub use url::{Scheme, Url};

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Redirects that are followed before giving up; more is a loop in all but name.
const MAX_REDIRECTS: usize = 5;

/// Receive buffer of a connection: large reads halve the system calls of a long download.
const INPUT_BUFFER: usize = 128 << 10;

/// The HTTP client. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    direct: ureq::Agent,
    http_proxied: Option<ureq::Agent>,
    https_proxied: Option<ureq::Agent>,
    settings: Settings,
    has_roots: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings.
    ///
    /// # Errors
    /// `Usage` when a CA file cannot be read or holds no certificate, when the client's certificate or key cannot be used, or
    /// when a proxy's address is not one.
    pub fn new(settings: &Settings) -> AgentResult<Self> {
        let tls = settings.tls()?;
        let agent = |proxy: Option<ureq::Proxy>| {
            let mut config = ureq::Agent::config_builder()
                .proxy(proxy)
                .http_status_as_error(false)
                // Redirects are followed in `Request::send`, which knows what may follow where.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("bedplate/", env!("CARGO_PKG_VERSION")))
                .input_buffer_size(INPUT_BUFFER)
                .timeout_resolve(Some(settings.resolve_timeout))
                .timeout_connect(Some(settings.connect_timeout))
                .timeout_recv_response(Some(settings.response_timeout))
                .timeout_per_read(Some(settings.read_timeout))
                .timeout_per_write(Some(settings.read_timeout));
            if let Some(tls) = &tls {
                config = config.tls_config(tls.clone());
            }
            ureq::Agent::new_with_config(config.build())
        };
        let proxied =
            |scheme| Ok::<_, crate::error::Error>(settings.proxies.proxy(scheme)?.map(|proxy| agent(Some(proxy))));
        Ok(Self {
            direct: agent(None),
            http_proxied: proxied(Scheme::Http)?,
            https_proxied: proxied(Scheme::Https)?,
            settings: settings.clone(),
            has_roots: tls.is_some(),
        })
    }

    /// Begins a request. A wrong address is reported by [`Request::send`].
    pub fn request(&self, method: Method, url: &str) -> Request<'_> {
        Request { client: self, method, url: url.parse(), headers: Vec::new(), body: None, answer_within: None }
    }

    /// Begins a request to an address that was read before.
    pub fn request_to(&self, method: Method, url: &Url) -> Request<'_> {
        Request { client: self, method, url: Ok(url.clone()), headers: Vec::new(), body: None, answer_within: None }
    }

    fn agent(&self, url: &Url) -> &ureq::Agent {
        let proxied = match url.scheme() {
            Scheme::Http => self.http_proxied.as_ref(),
            Scheme::Https => self.https_proxied.as_ref(),
        };
        match proxied {
            Some(agent) if !self.settings.proxies.is_direct(url.host()) => agent,
            _ => &self.direct,
        }
    }
}

/// A request in the making.
#[must_use = "a request does nothing before `send`"]
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: Result<Url>,
    headers: Vec<(String, Secret)>,
    body: Option<std::result::Result<Vec<u8>, serde_json::Error>>,
    answer_within: Option<Duration>,
}

impl Request<'_> {
    /// Sends `Authorization: Bearer TOKEN`; it does not follow a redirect to another server.
    pub fn bearer(self, token: &Secret) -> Self {
        self.header("Authorization", &format!("Bearer {}", token.reveal()))
    }

    /// Sends this header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Secret::new(value)));
        self
    }

    /// Sends this value as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = Some(serde_json::to_vec(value));
        Self { body, ..self }.header("Content-Type", "application/json")
    }

    /// Sends this body.
    pub fn body(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(Ok(bytes.into())), ..self }
    }

    /// Waits this long for the response header, instead of the client's setting.
    pub fn answer_within(self, limit: Duration) -> Self {
        Self { answer_within: Some(limit), ..self }
    }

    /// Sends the request and waits for the response header. Any HTTP status is an answer, not an error.
    ///
    /// GET and HEAD follow up to five redirects; other methods never do, so that nothing is posted where it was not meant
    /// to go: their 3xx is the answer.
    ///
    /// # Errors
    /// Classified by [`Error::fault`]; the message names method and address.
    pub fn send(self) -> Result<Response> {
        let Self { client, method, url, headers, body, answer_within } = self;
        let mut url = url.map_err(|error| error.during(&method))?;
        let origin = url.clone();
        let body = body
            .transpose()
            .map_err(|error| Error::new(Fault::Protocol, format!("{method} {url}: body as JSON: {error}")))?;
        let mut trail = vec![url.to_string()];
        let mut seen = vec![url.clone()];
        loop {
            let named = |error: Error| error.during(format_args!("{method} {}", trail.join(" -> ")));
            let hop = Hop { client, method: &method, url: &url, origin: &origin, headers: &headers };
            let response = hop.send(body.as_deref(), answer_within).map_err(named)?;
            let follows = matches!(method, Method::GET | Method::HEAD);
            let location = response.header("location").filter(|_| follows && is_redirect(response.status()));
            let Some(location) = location else { return Ok(response) };
            let next = url.join(location).map_err(|error| named(error.during("following a redirect")))?;
            if url.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
                return Err(named(Error::new(Fault::Redirect, format!("redirected from https to plain {next}"))));
            }
            if seen.contains(&next) {
                return Err(named(Error::new(Fault::Redirect, format!("redirected in a loop, back to {next}"))));
            }
            if seen.len() > MAX_REDIRECTS {
                return Err(named(Error::new(
                    Fault::Redirect,
                    format!("more than {MAX_REDIRECTS} redirects, to {next}"),
                )));
            }
            debug!("{method} {url} is redirected to {next}");
            trail.push(next.to_string());
            seen.push(next.clone());
            url = next;
        }
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// One exchange with one server.
struct Hop<'a> {
    client: &'a Client,
    method: &'a Method,
    url: &'a Url,
    /// Where the caller's own headers were meant to go.
    origin: &'a Url,
    headers: &'a [(String, Secret)],
}

impl Hop<'_> {
    fn send(&self, body: Option<&[u8]>, answer_within: Option<Duration>) -> Result<Response> {
        let host = self.url.host();
        if self.url.scheme() == Scheme::Https && !self.client.has_roots {
            let file = self.client.settings.system_ca_file.display();
            let reason =
                format!("TLS with {host}: no certificate authority is known: {file} is absent and no CA file is given");
            return Err(Error::new(Fault::Tls, reason));
        }
        let is_home = self.url.is_same_origin(self.origin);
        let mut request = ureq::http::Request::builder().method(self.method).uri(self.url.bare());
        for (name, value) in self.headers {
            if is_home || !is_credential(name) {
                request = request.header(name, value.reveal());
            }
        }
        let login = self.url.login().or_else(|| self.origin.login().filter(|_| is_home));
        let has_own = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(login) = login.filter(|_| !(has_own && is_home)) {
            let pair = BASE64.encode(format!("{}:{}", login.user.reveal(), login.password.reveal()));
            request = request.header("Authorization", format!("Basic {pair}"));
        }
        let agent = self.client.agent(self.url);
        let answered = match body {
            Some(body) => self.run(agent, request.body(body), answer_within),
            None => self.run(agent, request.body(()), answer_within),
        }?;
        debug!("{} {}: {}", self.method, self.url, answered.status());
        Ok(Response { inner: answered, url: self.url.clone() })
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        agent: &ureq::Agent,
        request: std::result::Result<ureq::http::Request<B>, ureq::http::Error>,
        answer_within: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>> {
        let request = request.map_err(|error| Error::new(Fault::Url, error.to_string()))?;
        let answered = match answer_within {
            Some(limit) => {
                let request = agent
                    .configure_request(request)
                    .timeout_recv_response(Some(limit))
                    .timeout_per_read(Some(limit.max(self.client.settings.read_timeout)))
                    .build();
                agent.run(request)
            }
            None => agent.run(request),
        };
        answered.map_err(|error| Error::of_ureq(error, self.url.host()))
    }
}

fn is_credential(header: &str) -> bool {
    ["authorization", "cookie", "proxy-authorization"].iter().any(|name| header.eq_ignore_ascii_case(name))
}

/// An answer: its header has arrived, its body is read from the connection.
pub struct Response {
    inner: ureq::http::Response<ureq::Body>,
    url: Url,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status()).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// The status code with its usual words: `404 Not Found`.
    #[must_use]
    pub fn status_text(&self) -> String {
        self.inner.status().to_string()
    }

    /// Where it came from in the end, after redirects.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The header `name`, where it is present and plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The announced length of the body.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(|length| length.trim().parse().ok())
    }

    /// Whether the end of the body is marked, by its length or by chunks, so that a broken connection cannot be taken for it.
    #[must_use]
    pub fn has_marked_end(&self) -> bool {
        self.content_length().is_some()
            || self.header("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    }

    /// The whole body.
    ///
    /// # Errors
    /// `Protocol` when it is larger than `limit` bytes; else what broke the connection.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let url = self.url.clone();
        let mut bytes = Vec::new();
        let read = self.reader().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| read_error(error).during(format_args!("reading the answer of {url}")))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
            return Ok(bytes);
        }
        Err(Error::new(Fault::Protocol, format!("the answer of {url} exceeds {limit} bytes")))
    }

    /// The whole body, read within this time: one that drips is as good as none.
    ///
    /// # Errors
    /// As [`Response::bytes`]; `Timeout` when it is not complete by then.
    pub fn bytes_within(self, limit: u64, within: Duration) -> Result<Vec<u8>> {
        let url = self.url.clone();
        let fault = |error: Error| error.during(format_args!("reading the answer of {url}"));
        let mut reader = self.reader();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
        let begun = Instant::now();
        loop {
            let count = reader.read(&mut buffer).map_err(|error| fault(read_error(error)))?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..count]);
            if !u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
                return Err(fault(Error::new(Fault::Protocol, format!("it exceeds {limit} bytes"))));
            }
            if begun.elapsed() > within {
                let reason = format!("not complete after {:.1} s", within.as_secs_f64());
                return Err(fault(Error::new(Fault::Timeout, reason)));
            }
        }
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// As [`Response::bytes`]; `Protocol` when it is not the JSON that is expected.
    pub fn json<T: DeserializeOwned>(self, limit: u64) -> Result<T> {
        let url = self.url.clone();
        let bytes = self.bytes(limit)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Fault::Protocol, format!("the answer of {url} as JSON: {error}")))
    }

    /// The body as a stream. Its errors are [`Error`]s inside [`io::Error`]s; see [`read_error`].
    pub fn reader(self) -> BodyReader {
        let host = self.url.host().to_owned();
        BodyReader { inner: self.inner.into_body().into_reader(), host }
    }
}

/// The body of an answer.
pub struct BodyReader {
    inner: ureq::BodyReader<'static>,
    host: String,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| Error::of_ureq(ureq::Error::from(error), &self.host).into_io())
    }
}

/// The classified error inside an error of [`BodyReader`].
#[must_use]
pub fn read_error(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(other) => Error::new(Fault::Broken, other.to_string()),
    }
}
