//! `bedplate write-image`: one image to one device or file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::image_options::ImageOptions;
use super::report_file;
use crate::http::Client;
use crate::image::{self, Job, Location, TargetKind, Written};
use crate::report::{DiskState, ErrorReport, Outcome, Report, Reporter, StepReport};
use crate::sys::memory;

/// Streams one image to a block device or a regular file, and proves it there.
///
/// How the image is packed is found out by its first bytes.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address (http, https, file) or path of the image
    pub source: Location,

    /// Block device, or regular file, which is made if it is absent; several get the same from one download
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<PathBuf>,

    /// Map of the blocks that matter, of bmaptool; the others become zeros
    #[arg(long, value_name = "FILE_OR_URL")]
    pub bmap: Option<Location>,

    /// What is expected of the image, and where the report goes.
    #[command(flatten)]
    pub image: ImageOptions,
}

impl Options {
    /// The same as a job.
    #[must_use]
    pub fn job(&self) -> Job {
        let names: Vec<_> = self.targets.iter().map(|target| target.display().to_string()).collect();
        let mut job = Job::new(format!("write-image {}", names.join(" ")), self.source.clone(), PathBuf::new());
        job.targets.clone_from(&self.targets);
        job.target_kind = TargetKind::DeviceOrFile;
        job.bmap.clone_from(&self.bmap);
        self.image.apply(&mut job);
        job
    }
}

/// Writes the image and, if it is asked for, the report. Never exits; the report's error holds the exit code.
pub fn run(options: &Options, reporter: &Reporter, http: &Client) -> Report {
    let words =
        Words { verb: "write", gerund: "writing", done: "the image is written", failed: "the image is not written" };
    carry_out(&options.job(), options.image.report.as_deref(), reporter, &words, |job| {
        match options.image.proof.complete(job.clone(), http) {
            Ok(job) => image::write(&job, http, reporter),
            Err(error) => Written { outcome: Err(error), state: Some(DiskState::Untouched) },
        }
    })
}

/// What is said of a job.
pub(super) struct Words {
    pub(super) verb: &'static str,
    pub(super) gerund: &'static str,
    pub(super) done: &'static str,
    pub(super) failed: &'static str,
}

/// Does a job, and tells of it as of a run with one step.
pub(super) fn carry_out(
    job: &Job,
    report_file: Option<&Path>,
    reporter: &Reporter,
    words: &Words,
    act: impl FnOnce(&Job) -> Written,
) -> Report {
    let began = Instant::now();
    let (source, target) = (&job.source, job.target_names());
    reporter.run_started(&format!("{} {source} to {target}", words.gerund));
    reporter.step_started(&job.step, &format!("{} {source} to {target}", words.verb));
    let begun = report_file.map_or(Ok(()), |path| {
        report_file::require_apart(path, job).and_then(|()| report_file::begin(path, reporter.id()))
    });
    let has_begun = begun.is_ok();
    let written = match begun {
        Ok(()) => act(job),
        Err(error) => Written { outcome: Err(error), state: Some(DiskState::Untouched) },
    };
    match &written.outcome {
        Ok(images) => reporter.step_finished(&job.step, images.first().map(|image| image.bytes_written)),
        Err(error) => reporter.step_failed(&job.step, error),
    }
    let mut report = report_of(job, &written, reporter.id());
    report.seconds = began.elapsed().as_secs_f64();
    report.peak_memory = memory::peak();
    let saved = report_file.filter(|_| has_begun).map_or(Ok(()), |path| report_file::save(&report, path));
    match (&written.outcome, &saved) {
        (Ok(_), Ok(())) => reporter.run_finished(words.done, None),
        (Err(error), _) => reporter.run_finished(words.failed, Some(error)),
        (Ok(_), Err(error)) => reporter.run_finished(&format!("{}, its report is not", words.done), Some(error)),
    }
    match saved {
        Err(error) if written.outcome.is_ok() => {
            Report { outcome: Outcome::Failed, error: Some(ErrorReport::of(&error, None)), ..report }
        }
        Err(error) => Report { warnings: vec![error.to_string()], ..report },
        Ok(()) => report,
    }
}

fn report_of(job: &Job, written: &Written, run: String) -> Report {
    let (outcome, error) = match &written.outcome {
        Ok(_) => (Outcome::Done, None),
        Err(error) => (Outcome::Failed, Some(ErrorReport::of(error, Some(&job.step)))),
    };
    let images: Vec<_> = written.outcome.iter().flatten().cloned().collect();
    let unproved = images.iter().find(|image| !image.proved);
    let warnings = unproved.map(|image| format!("{}: nothing proves this image: no digest, no size", image.source));
    let warnings: Vec<_> = warnings.into_iter().collect();
    warnings.iter().for_each(|words| log::warn!("{words}"));
    let steps = images.first().map(|image| StepReport {
        step: job.step.clone(),
        seconds: image.seconds,
        bytes: Some(image.bytes_written),
    });
    Report {
        run,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        outcome,
        error,
        plan_digest: None,
        disks: job.targets.iter().filter_map(|it| Some((it.display().to_string(), written.state?))).collect(),
        steps: steps.into_iter().collect(),
        images,
        warnings,
        seconds: 0.0,
        peak_memory: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::http::{Proxies, Settings};
    use crate::scratch::Scratch;
    use crate::units::Bytes;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Line::try_parse_from(format!("write-image {line}").split(' ')).map(|line| line.options)
    }

    fn client() -> Client {
        Client::new(&Settings { proxies: Proxies::default(), ..Settings::default() }).unwrap()
    }

    #[test]
    fn options_become_a_job() {
        let md5 = "md5:900150983cd24fb0d6963f7d28e17f72";
        let sha1 = "sha1:a9993e364706816aba3e25717850c26c9cd0d89d";
        let line = format!(
            "http://h/i.gz /dev/sdx --digest {md5} --raw-digest {sha1} --size 512 --no-read-back --max-window 2048"
        );
        let job = parse(&line).unwrap().job();
        assert_eq!(job.step, "write-image /dev/sdx");
        assert_eq!(job.source.to_string(), "http://h/i.gz");
        assert_eq!(job.container_digests.iter().map(ToString::to_string).collect::<Vec<_>>(), [md5]);
        assert_eq!(job.digests.iter().map(ToString::to_string).collect::<Vec<_>>(), [sha1]);
        assert_eq!((job.size, job.read_back), (Some(Bytes::new(512)), false));
        assert_eq!(job.max_window.xz(), 2048 << 20);
    }

    #[test]
    fn wrong_options_are_refused_with_what_is_wrong() {
        let words = parse("http://h/i.gz /dev/sdx --digest md5:00").unwrap_err().to_string();
        assert!(words.contains("expected 32 hexadecimal digits after the colon"), "{words}");
        let words = parse("http://h/i.zst /dev/sdx --max-window 2G").unwrap_err().to_string();
        assert!(words.contains("expected a number of MiB from 1 to 2048, found \"2G\""), "{words}");
        let words = parse("ftp://h/i.gz /dev/sdx").unwrap_err().to_string();
        assert!(words.contains("images are read from http, https and file addresses, not from ftp"), "{words}");
    }

    #[test]
    fn report_is_saved_after_success_and_failure() {
        let scratch = Scratch::new();
        let (source, target, saved) = (scratch.path("i.img"), scratch.path("t.img"), scratch.path("report.json"));
        std::fs::write(&source, [7; 5000]).unwrap();
        let line = format!("{} {} --report {}", source.display(), target.display(), saved.display());
        let mut options = parse(&line).unwrap();
        let read = || serde_json::from_slice::<Report>(&std::fs::read(&saved).unwrap()).unwrap();

        let report = run(&options, &Reporter::new("r1", Vec::new()), &client());
        assert_eq!((report.outcome, &report), (Outcome::Done, &read()));
        assert_eq!((report.images[0].bytes_written, report.steps.len()), (5000, 1));
        assert!(std::fs::read(&target).unwrap() == [7; 5000]);

        options.image.size = Some(4999);
        let report = run(&options, &Reporter::new("r2", Vec::new()), &client());
        assert_eq!(report, read());
        let error = report.error.unwrap();
        assert_eq!((error.kind, error.code), (crate::error::Kind::Image, 13));
        assert_eq!(error.step, Some(format!("write-image {}", target.display())));

        assert!(report.warnings.is_empty());
        options.image.size = None;
        let report = run(&options, &Reporter::new("r4", Vec::new()), &client());
        let words = format!("{}: nothing proves this image: no digest, no size", source.display());
        assert_eq!((report.outcome, report.warnings), (Outcome::Done, vec![words]));

        std::fs::write(&target, "before").unwrap();
        options.image.report = Some(PathBuf::from("/proc/no/report.json"));
        let report = run(&options, &Reporter::new("r3", Vec::new()), &client());
        assert_eq!(report.outcome, Outcome::Failed);
        assert!(report.error.unwrap().message.starts_with("saving the report: writing /proc/no/report.json: "));
        assert_eq!(std::fs::read(&target).unwrap(), b"before", "it is known before anything is written");
    }
}
