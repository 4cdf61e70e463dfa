//! What went wrong, whose fault it is, and the exit code that says so.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault an error is. Each kind has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The caller's options.
    Usage,
    /// The request: not JSON, missing or wrong fields, contradictions.
    Request,
    /// A disk that is absent, ambiguous or too small; firmware that cannot boot the request.
    Hardware,
    /// A safety rule: disk in use, plan differs, another run holds the lock, not root.
    Refused,
    /// An image: unreachable, digest or size differs, truncated, corrupt, larger than its target.
    Image,
    /// An I/O error or a wrong read-back on a disk.
    Medium,
    /// An external tool is missing or failed.
    Tool,
    /// The master or an event sink is unreachable or refuses.
    Master,
    /// Everything ran, yet what was read back is not what was planned.
    Verify,
    /// A broken invariant of this program.
    Bug,
    /// SIGINT; cleaned up.
    Interrupted,
    /// SIGTERM; cleaned up.
    Terminated,
}

impl Kind {
    /// The process' exit code for this kind.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Request => 10,
            Self::Hardware => 11,
            Self::Refused => 12,
            Self::Image => 13,
            Self::Medium => 14,
            Self::Tool => 15,
            Self::Master => 16,
            Self::Verify => 17,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usage => "usage",
            Self::Request => "request",
            Self::Hardware => "hardware",
            Self::Refused => "refused",
            Self::Image => "image",
            Self::Medium => "medium",
            Self::Tool => "tool",
            Self::Master => "master",
            Self::Verify => "verify",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        })
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error with its kind, the chain of causes and what the operator can do.
///
/// Messages read `gerund + object`, lower case, without a full stop; the causes follow after colons.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    cause: Option<Cause>,
    advice: Option<String>,
    /// When it stands for several: each of them as text.
    faults: Vec<String>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that has no further cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None, advice: None, faults: Vec::new() }
    }

    /// A broken invariant of this program.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message).advise("this is a defect of bedplate: please report it with the log")
    }

    /// An error caused by another one.
    pub fn caused(kind: Kind, message: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { kind, message: message.into(), cause: Some(cause.into()), advice: None, faults: Vec::new() }
    }

    /// The same error with what the operator can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same fault seen from one level up: the message goes in front, the kind stays.
    #[must_use]
    pub fn within(self, message: impl Into<String>) -> Self {
        let (kind, advice) = (self.kind, self.advice.clone());
        Self { kind, message: message.into(), cause: Some(Box::new(self)), advice, faults: Vec::new() }
    }

    /// Several faults that were found together, as one; nothing when there are none.
    ///
    /// Where one is the request's, so is the whole: on another machine it would be as wrong. Else the first tells the
    /// kind. The advice is the first that any of them gives.
    #[must_use]
    pub fn join(mut faults: Vec<Self>) -> Option<Self> {
        if faults.len() < 2 {
            return faults.pop();
        }
        let kind = faults.iter().map(Self::kind).find(|kind| *kind == Kind::Request).unwrap_or(faults[0].kind);
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let advice = faults.into_iter().find_map(|fault| fault.advice);
        let message = format!("{} faults: {}", texts.len(), texts.join("; "));
        Some(Self { kind, message, cause: None, advice, faults: texts })
    }

    /// Each fault as text: itself, or those that were joined.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        if self.faults.is_empty() { vec![self.to_string()] } else { self.faults.clone() }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the operator can do, where it is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// The message and the messages of all causes, outermost first.
    #[must_use]
    pub fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.message.clone()];
        let mut next = self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static));
        while let Some(cause) = next {
            match cause.downcast_ref::<Self>() {
                Some(own) => chain.push(own.message.clone()),
                None => chain.push(cause.to_string()),
            }
            next = cause.source();
        }
        chain
    }
}

/// The whole chain on one line.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// Gives a foreign error its kind and the action that failed.
pub trait Context<T> {
    /// Wraps the error in one of this kind; `message` says what was being done, to what.
    ///
    /// # Errors
    /// The wrapped error.
    fn context<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for std::result::Result<T, E> {
    fn context<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| Error::caused(kind, message(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_every_level_once() {
        let io = std::io::Error::new(std::io::ErrorKind::StorageFull, "No space left on device");
        let error = Error::caused(Kind::Medium, "at byte 4096 of 8192", io).within("writing image to /dev/sda");
        assert_eq!(error.to_string(), "writing image to /dev/sda: at byte 4096 of 8192: No space left on device");
        assert_eq!(error.kind().exit_code(), 14);
    }

    #[test]
    fn several_faults_are_the_requests_when_one_of_them_is() {
        let disk = || Error::new(Kind::Hardware, "sda is gone").advise("plug it in");
        let request = || Error::new(Kind::Request, "$.hostname: missing");
        assert_eq!(Error::join(vec![]).map(|error| error.to_string()), None);
        assert_eq!(Error::join(vec![disk()]).unwrap().to_string(), "sda is gone");
        let joined = Error::join(vec![disk(), request()]).unwrap();
        assert_eq!((joined.kind(), joined.advice()), (Kind::Request, Some("plug it in")));
        assert_eq!(joined.to_string(), "2 faults: sda is gone; $.hostname: missing");
        assert_eq!(joined.faults(), ["sda is gone", "$.hostname: missing"]);
    }

    #[test]
    fn advice_survives_the_levels_above() {
        let error = Error::new(Kind::Refused, "sda is mounted").advise("unmount it").within("planning");
        assert_eq!(error.advice(), Some("unmount it"));
    }
}
