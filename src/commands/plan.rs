//! `plan FILE`: shows what would be done, and touches nothing.

use std::fs;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::side_car;
use crate::error::{Context as _, Error, Kind, Result};
use crate::execute;
use crate::http::Client;
use crate::inventory::{self, Inventory};
use crate::plan::{self, Plan};
use crate::request::{self, SideCar};
use crate::units;

/// Options of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request: a provision.json
    pub file: PathBuf,
    /// Plan for this machine: the output of `inventory --json`, or a list of devices
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Take the metadata of the images from this file instead of the server
    #[arg(long, value_name = "FILE")]
    pub image_meta: Option<PathBuf>,
    /// Ask no server: metadata that is not given counts as absent
    #[arg(long)]
    pub offline: bool,
    /// Derive all UUIDs from this seed
    #[arg(long)]
    pub seed: Option<String>,
    /// Refuse images of which neither a digest nor a signature is known
    #[arg(long)]
    pub require_digest: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the plan.
///
/// # Errors
/// Those of reading the files and of [`plan::make`].
pub fn run(args: &Args, http: &Client) -> Result<()> {
    let document = read_request(&args.file)?;
    let mut parsed = request::parse(&document).map_err(|error| error.within(args.file.display().to_string()))?;
    parsed.request.requires_digest |= args.require_digest;
    let machine = match &args.inventory {
        Some(path) => {
            let bytes = read(path, Kind::Usage)?;
            inventory::from_json(&bytes).map_err(|error| error.within(format!("{}", path.display())))?
        }
        None => inventory::collect(Path::new("/")),
    };
    let meta = match &args.image_meta {
        Some(path) => Some(SideCar::parse(&read(path, Kind::Image)?)?),
        None if args.offline => None,
        None => side_car::fetch(&parsed.request, http)?,
    };
    let plan = make(&parsed, &machine, meta.as_ref(), args.seed.as_deref())?;
    if args.inventory.is_none() {
        // No part of the plan: whoever plans from a saved inventory cannot know them.
        match execute::remnants(&plan) {
            Ok(remnants) => remnants.iter().for_each(|it| log::warn!("will be lost, too: {it}")),
            Err(error) => log::warn!("{error}"),
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&plan)
            .map_err(|cause| Error::bug(format!("writing the plan as JSON: {cause}")))?;
        print(&format!("{text}\n"))
    } else {
        print(&plan.text(is_coloured()))
    }
}

/// Colour is for terminals, and for none where NO_COLOR says so (no-color.org: present and not empty).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_unwanted
}

/// Writes to standard output; whoever has read enough (`plan | head`) ends it without an error.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => {
            Err(Error::caused(Kind::Usage, "writing to standard output", cause))
        }
        _ => Ok(()),
    }
}

/// The plan for a parsed request, with what was odd about the document among its warnings.
///
/// # Errors
/// Those of [`plan::make`].
pub fn make(parsed: &request::Parsed, machine: &Inventory, meta: Option<&SideCar>, seed: Option<&str>) -> Result<Plan> {
    let mut plan = plan::make(&parsed.request, machine, meta, seed)?;
    if !parsed.warnings.is_empty() {
        plan.warnings.splice(0..0, parsed.warnings.iter().cloned());
        plan.digest = plan.compute_digest()?;
    }
    Ok(plan)
}

/// Reads a request, and no more of a file than a request may have: what is larger is refused by its reader.
///
/// # Errors
/// `Request` when the file cannot be read.
pub fn read_request(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = units::widen(request::LIMIT).saturating_add(1);
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .context(Kind::Request, || format!("reading the request {}", path.display()))?;
    Ok(bytes)
}

/// Reads a file that the caller named.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Vec<u8>> {
    fs::read(path).context(kind, || format!("reading {}", path.display()))
}
