//! What can go wrong between us and a server, told apart.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// At which point a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The address, a header or the proxy setting is not valid.
    Url,
    /// The host's name was not resolved.
    NameResolution,
    /// No connection: refused, unreachable.
    Connect,
    /// TLS: certificate, protocol, or no certificate authority to check with.
    Tls,
    /// Silence for longer than allowed.
    Timeout,
    /// Too many redirects, a loop of them, or one that leads from https to http.
    Redirect,
    /// The connection broke.
    Broken,
    /// The answer is not HTTP, or is larger than the caller takes.
    Protocol,
}

/// A failed call. The caller chooses the [`Kind`](crate::error::Kind): an image's server is not the master.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    /// What was being done, outermost first: method and addresses.
    doing: Vec<String>,
    reason: String,
}

impl Error {
    pub(super) fn new(fault: Fault, reason: impl Into<String>) -> Self {
        Self { fault, doing: Vec::new(), reason: reason.into() }
    }

    /// At which point it failed.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// What failed, without method and address: for callers that name them in their own words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the same call may succeed later: servers restart, names appear, links come up.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.fault {
            Fault::NameResolution | Fault::Connect | Fault::Timeout | Fault::Broken => true,
            Fault::Url | Fault::Tls | Fault::Redirect | Fault::Protocol => false,
        }
    }

    /// The same fault with what was being done in front.
    pub(super) fn during(mut self, action: impl fmt::Display) -> Self {
        self.doing.insert(0, action.to_string());
        self
    }

    /// The fault as an error of reading.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match self.fault {
            Fault::Timeout => io::ErrorKind::TimedOut,
            Fault::Broken => io::ErrorKind::ConnectionReset,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }

    pub(super) fn of_ureq(error: ureq::Error, host: &str) -> Self {
        use ureq::Error as E;
        match error {
            E::Io(error) => Self::of_io(error, host),
            E::Timeout(which) => Self::new(Fault::Timeout, timeout_words(which)),
            E::HostNotFound => Self::new(Fault::NameResolution, format!("resolving {host}: no address")),
            E::ConnectionFailed => Self::new(Fault::Connect, format!("connecting to {host}: failed")),
            E::ConnectProxyFailed(reason) => {
                Self::new(Fault::Connect, format!("connecting through the proxy: {reason}"))
            }
            E::Tls(reason) => Self::new(Fault::Tls, format!("TLS with {host}: {reason}")),
            E::Rustls(error) => Self::of_rustls(&error, host),
            E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl => Self::new(Fault::Url, error.to_string()),
            other => Self::new(Fault::Protocol, other.to_string()),
        }
    }

    fn of_io(error: io::Error, host: &str) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_rustls(tls, host);
        }
        if error.get_ref().is_some_and(|inner| inner.is::<ureq::Error>()) {
            return Self::of_ureq(ureq::Error::from(error), host);
        }
        let words = error.to_string();
        // std has no error kind for a failed lookup; this is the text of its only place that makes one.
        if let Some(detail) = words.strip_prefix("failed to lookup address information: ") {
            return Self::new(Fault::NameResolution, format!("resolving {host}: {detail}"));
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::new(Fault::Timeout, "timed out"),
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::new(Fault::Connect, format!("connecting to {host}: {words}")),
            io::ErrorKind::UnexpectedEof => Self::new(Fault::Broken, format!("{host} closed the connection")),
            _ => Self::new(Fault::Broken, format!("connection to {host}: {words}")),
        }
    }

    fn of_rustls(error: &rustls::Error, host: &str) -> Self {
        let reason = match error {
            rustls::Error::InvalidCertificate(certificate) => certificate_words(certificate),
            rustls::Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                "it wants a client certificate".to_owned()
            }
            rustls::Error::AlertReceived(alert) if is_about_certificate(*alert) => {
                format!("it refuses the client certificate: {alert:?}")
            }
            other => other.to_string(),
        };
        Self::new(Fault::Tls, format!("TLS with {host}: {reason}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.doing.iter().try_for_each(|doing| write!(f, "{doing}: "))?;
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

fn timeout_words(which: ureq::Timeout) -> String {
    match which {
        ureq::Timeout::Resolve => "resolving the name timed out",
        ureq::Timeout::Connect => "connecting timed out",
        ureq::Timeout::RecvResponse => "no answer in time",
        ureq::Timeout::PerRead => "the server fell silent",
        ureq::Timeout::PerWrite | ureq::Timeout::SendRequest | ureq::Timeout::SendBody => "sending timed out",
        _ => "timed out",
    }
    .to_owned()
}

/// Alerts by which a server refuses who we are. RFC 8446, section 6.2.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    )
}

fn certificate_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "its certificate is issued by an unknown authority".to_owned(),
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate has expired: valid until {}, the clock here says {}",
            clock_words(not_after.as_secs()),
            clock_words(time.as_secs())
        ),
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid yet: valid from {}, the clock here says {}",
            clock_words(not_before.as_secs()),
            clock_words(time.as_secs())
        ),
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("its certificate is for another name: {}", presented.join(", "))
        }
        CertificateError::Other(cause) if cause.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority, not of a server (basicConstraints CA:TRUE)".to_owned()
        }
        CertificateError::Revoked => "its certificate is revoked".to_owned(),
        other => format!("its certificate is not valid: {other}"),
    }
}

/// Seconds since the epoch as RFC 3339.
fn clock_words(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("second {seconds}"))
}
