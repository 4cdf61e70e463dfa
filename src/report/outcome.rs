//! The final report of a run, as it is written to a file and sent to the master.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was done and verified.
    Done,
    /// The run stopped at an error.
    Failed,
}

/// The error that ended a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReport {
    /// The exit code.
    pub code: u8,
    /// Whose fault it is.
    pub kind: Kind,
    /// The whole chain on one line.
    pub message: String,
    /// The chain, outermost first.
    pub causes: Vec<String>,
    /// The step that failed.
    pub step: Option<String>,
    /// What the operator can do.
    pub what_to_do: Option<String>,
}

impl ErrorReport {
    /// The report of an error that ended `step`.
    #[must_use]
    pub fn of(error: &Error, step: Option<&str>) -> Self {
        Self {
            code: error.kind().exit_code(),
            kind: error.kind(),
            message: error.to_string(),
            causes: error.chain(),
            step: step.map(str::to_owned),
            what_to_do: error.advice().map(str::to_owned),
        }
    }
}

/// In what state a run left a disk that it was allowed to touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// Not one byte was written.
    Untouched,
    /// Partly written; it holds no boot code and hands over to the next boot device.
    NotBootable,
    /// Partly written, and what makes it start could not be taken back: it may start.
    Unknown,
    /// Complete and verified.
    Complete,
    /// Emptied as asked for, and nothing is recognised on it any more.
    Erased,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StepReport {
    /// The step's identifier.
    pub step: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Bytes it wrote, where that says something.
    pub bytes: Option<u64>,
}

/// One image that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageReport {
    /// Where it came from, without credentials.
    pub source: String,
    /// The device it went to.
    pub target: String,
    /// Bytes that were fetched.
    pub bytes_read: u64,
    /// Bytes of the image, all of which are on the target.
    pub bytes_written: u64,
    /// Bytes among them that are zero and were made by the device itself.
    pub bytes_zeroed: u64,
    /// Seconds from the first byte to the proof.
    pub seconds: f64,
    /// Digests of the decoded image, `algorithm:hex`.
    pub digests: Vec<String>,
    /// Whether a digest or length given from outside was compared.
    pub proved: bool,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// The run's identifier, as in its events.
    pub run: String,
    /// Version of the agent.
    pub version: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The error, if it failed.
    pub error: Option<ErrorReport>,
    /// Digest of the plan that was carried out.
    pub plan_digest: Option<String>,
    /// Every disk that the plan names.
    pub disks: std::collections::BTreeMap<String, DiskState>,
    /// Every step that ended, in order.
    pub steps: Vec<StepReport>,
    /// Every image that was written.
    pub images: Vec<ImageReport>,
    /// What was noticed on the way.
    pub warnings: Vec<String>,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// The largest resident set of the agent, in bytes.
    pub peak_memory: Option<u64>,
}

impl Report {
    /// The report of a run of which nothing more was heard. It stands until there is a better one.
    #[must_use]
    pub fn cut_off(run: String) -> Self {
        let error = Error::new(Kind::Terminated, "the run was cut off: it was killed, or the power failed")
            .advise("trust nothing that is on its disks; run the same again");
        Self {
            run,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: Outcome::Failed,
            error: Some(ErrorReport::of(&error, None)),
            plan_digest: None,
            disks: std::collections::BTreeMap::new(),
            steps: Vec::new(),
            images: Vec::new(),
            warnings: Vec::new(),
            seconds: 0.0,
            peak_memory: None,
        }
    }
}
