//! Options that all commands share which fetch one image: what is expected of it, and where the report goes.

use std::path::PathBuf;

use super::proof::Proof;
use crate::image::{Cancel, Job};
use crate::settings::Settings;
use crate::sys::signal;
use crate::units::{Bytes, MaxWindow};

/// What is expected of an image, and where the report goes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ImageOptions {
    /// Where else it lies, and what proves it.
    #[command(flatten)]
    pub proof: Proof,

    /// Exact size of the image, or of the tar archive, once it is unpacked
    #[arg(long, value_name = "BYTES")]
    pub size: Option<u64>,

    /// Largest zstd window or xz dictionary that is unpacked; it is memory. Without it 128 for zstd, 64 for xz
    #[arg(long, value_name = "MIB")]
    pub max_window: Option<MaxWindow>,

    /// Do not read back what was written to compare it
    #[arg(long)]
    pub no_read_back: bool,

    /// Where the report goes, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl ImageOptions {
    /// Adds what the settings say and the options do not.
    pub fn settle(&mut self, settings: &Settings) {
        self.max_window = self.max_window.or(settings.max_window);
        self.proof.require_digest |= settings.require_digest;
        self.report = self.report.take().or_else(|| settings.report.clone());
    }

    /// Adds to a job what the options say by themselves, and has signals end it.
    pub(super) fn apply(&self, job: &mut Job) {
        self.proof.apply(job);
        job.size = self.size.map(Bytes::new);
        job.read_back = !self.no_read_back;
        job.max_window = self.max_window.unwrap_or_default();
        job.cancel = Cancel::with_flag(signal::cancel_flag());
    }
}
