//! The file that the report of a run goes to. It is there from the beginning: a run that is cut off must not leave the
//! report of the one before it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Kind, Result};
use crate::image::{Job, Location};
use crate::report::Report;
use crate::sys::files;

/// Puts there that the run was cut off, which is true until [`save`]. A pipe or terminal gets the report itself alone.
///
/// # Errors
/// `Usage`: the path is the caller's choice.
pub(super) fn begin(path: &Path, run: String) -> Result<()> {
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    save(&Report::cut_off(run), path)
}

/// Writes the report whole or not at all, for root alone.
///
/// # Errors
/// As [`begin`].
pub(super) fn save(report: &Report, path: &Path) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report).context(Kind::Bug, || "writing the report as JSON")?;
    json.push(b'\n');
    files::replace_private(path, &json).map_err(|error| error.within("saving the report"))
}

/// Refuses a report that would replace what the job reads or writes.
///
/// # Errors
/// `Usage` with the path.
pub(super) fn require_apart(path: &Path, job: &Job) -> Result<()> {
    let file_of = |location: &Location| match location {
        Location::File(path) => Some(path.clone()),
        Location::Http(_) => None,
    };
    let inputs = [Some(&job.source), job.bmap.as_ref(), job.signed.as_ref().map(|signed| &signed.signature)];
    let own: Vec<PathBuf> =
        inputs.into_iter().flatten().filter_map(file_of).chain(job.targets.iter().cloned()).collect();
    match own.iter().find(|own| is_same(own, path)) {
        Some(_) => Err(Error::new(
            Kind::Usage,
            format!("report {}: the image is read from there or written to there", path.display()),
        )),
        None => Ok(()),
    }
}

/// Whether two paths lead to one file, also one that is not there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some((fs::canonicalize(folder).ok()?, path.file_name()?.to_owned()))
    };
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => place(one).is_some_and(|it| place(other) == Some(it)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_report_is_kept_apart_from_what_the_job_reads_and_writes() {
        let scratch = Scratch::new();
        let [image, map, target, link] = ["image", "map", "target", "link"].map(|name| scratch.path(name));
        fs::write(&image, "image").unwrap();
        fs::write(&map, "map").unwrap();
        std::os::unix::fs::symlink(&image, &link).unwrap();
        let mut job = Job::new("test", Location::File(image.clone()), target.clone());
        job.bmap = Some(Location::File(map.clone()));
        for own in [
            &image,
            &map,
            &target,
            &link,
            &scratch.path("../").join(scratch.folder().file_name().unwrap()).join("target"),
        ] {
            let words = require_apart(own, &job).unwrap_err().to_string();
            assert_eq!(words, format!("report {}: the image is read from there or written to there", own.display()));
        }
        require_apart(&scratch.path("report.json"), &job).unwrap();
    }

    #[test]
    fn a_run_that_is_cut_off_leaves_no_report_of_the_one_before() {
        let path = Scratch::new();
        let file = path.path("report.json");
        fs::write(&file, r#"{"outcome": "done"}"#).unwrap();
        begin(&file, "run-2".to_owned()).unwrap();
        let report: Report = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!((report.run.as_str(), report.outcome), ("run-2", crate::report::Outcome::Failed));
        assert_eq!(report.error.unwrap().message, "the run was cut off: it was killed, or the power failed");
        let error = begin(Path::new("/proc/no/report.json"), "run-3".to_owned()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        begin(Path::new("/dev/null"), "run-4".to_owned()).unwrap();
    }
}
