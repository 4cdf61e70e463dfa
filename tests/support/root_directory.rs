//! A root directory of the distribution, with mcollective, its broker and what the agent's package depends on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The one that all runs share, and none writes to; it is built where it is not cached.
pub fn root_directory() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/mcollective/build.sh");
    let built = Command::new(script).stderr(Stdio::inherit()).output().expect("build.sh starts");
    assert!(built.status.success(), "building the root directory: {}", built.status);
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}
