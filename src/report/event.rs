//! One thing that happened, as orchestrators read it: a JSON object on a line.

use serde::{Deserialize, Serialize};

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A run begins.
    RunStarted,
    /// A step begins.
    StepStarted,
    /// A step goes on: bytes done, rate, time left.
    Progress,
    /// A step ended well.
    StepFinished,
    /// A step failed; the run ends.
    StepFailed,
    /// The run ended, well or not.
    RunFinished,
    /// A line for the operator.
    Log,
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// The run it belongs to.
    pub run: String,
    /// Counts up from 1 within a run.
    pub seq: u64,
    /// Wall clock, RFC 3339 in UTC. The clock of a bootstrap may be wrong: see `boot_time_ms`.
    pub time: String,
    /// Milliseconds since the machine started.
    pub boot_time_ms: u64,
    /// What it tells.
    pub kind: EventKind,
    /// The step's identifier, for example `write-image /dev/mapper/os-root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Bytes done in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<u64>,
    /// Bytes to do in this step, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Bytes per second over the last seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Seconds left at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// Words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The error, its whole chain on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
