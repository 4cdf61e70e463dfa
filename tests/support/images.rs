//! Images, how they are packed, and jobs that write them from servers on the loopback.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bedplate::error::{Error, Kind};
use bedplate::http::{Client, Proxies, Settings};
use bedplate::image::{self, Job, Location, TargetKind};
use bedplate::report::{ImageReport, Reporter};
use bedplate::request::Container;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use sha2::Digest as _;

use super::http_server::{Cut, Length, Reply, Server};
use super::scratch::Scratch;

/// 3 MiB and a bit that compress by half: several pieces, several packets, an end that is no whole sector.
pub fn picture() -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..3_200_017).map(|at| if at % 2048 < 1024 { noise() } else { 0 }).collect()
}

/// One member of a form, with checksums.
pub fn packed(bytes: &[u8], container: Container) -> Vec<u8> {
    fn finished<W: Write>(mut encoder: W, bytes: &[u8], finish: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
        encoder.write_all(bytes).unwrap();
        finish(encoder)
    }
    let out = Vec::new();
    match container {
        Container::Raw | Container::Qcow2 => bytes.to_vec(),
        Container::Gzip => {
            let encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            finished(encoder, bytes, |encoder| encoder.finish().unwrap())
        }
        Container::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 1).unwrap();
            encoder.include_checksum(true).unwrap();
            finished(encoder, bytes, |encoder| encoder.finish().unwrap())
        }
        Container::Xz => {
            let encoder = liblzma::write::XzEncoder::new(out, 0);
            finished(encoder, bytes, |encoder| encoder.finish().unwrap())
        }
        Container::Bzip2 => {
            let encoder = bzip2::write::BzEncoder::new(out, bzip2::Compression::fast());
            finished(encoder, bytes, |encoder| encoder.finish().unwrap())
        }
        Container::Lz4 => {
            let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_checksums(true);
            let encoder = FrameEncoder::with_frame_info(info, out);
            finished(encoder, bytes, |encoder| encoder.finish().unwrap())
        }
    }
}

/// One gzip member.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    packed(bytes, Container::Gzip)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha2::Sha256::digest(bytes)))
}

pub fn md5(bytes: &[u8]) -> String {
    format!("md5:{}", hex(&md5::Md5::digest(bytes)))
}

pub fn client() -> Client {
    client_trusting(Vec::new())
}

/// A client that knows these authorities alone.
pub fn client_trusting(ca_files: Vec<PathBuf>) -> Client {
    let settings = Settings {
        ca_files,
        proxies: Proxies::default(),
        system_ca_file: PathBuf::from("/nonexistent/ca.crt"),
        read_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        ..Settings::default()
    };
    Client::new(&settings).unwrap()
}

pub fn job(url: &str, target: &Path) -> Job {
    let mut job = Job::new("write-image test", url.parse::<Location>().unwrap(), target);
    job.target_kind = TargetKind::DeviceOrFile;
    job.patience = Duration::from_secs(5);
    job
}

pub fn write(job: &Job) -> Result<ImageReport, Error> {
    write_with(&client(), job)
}

pub fn write_with(client: &Client, job: &Job) -> Result<ImageReport, Error> {
    image::write(job, client, &Reporter::silent()).outcome.map(|mut reports| reports.remove(0))
}

/// Writes `/image` of the server to a file, with its true digest; gives back what the file holds then.
pub fn written(server: &Server, adjust: impl FnOnce(&mut Job)) -> Result<(ImageReport, Vec<u8>), Error> {
    let scratch = Scratch::new();
    let target = scratch.path("target.img");
    let mut job = job(&server.url("/image"), &target);
    adjust(&mut job);
    let report = write(&job)?;
    Ok((report, std::fs::read(&target).unwrap()))
}

/// The error, without the path of the target in front.
pub fn failure(server: &Server, adjust: impl FnOnce(&mut Job)) -> (Kind, String) {
    let error = written(server, adjust).unwrap_err();
    let words = error.to_string();
    let (front, rest) = words.split_once("target.img: ").unwrap();
    assert!(front.starts_with("writing image to /"), "{words}");
    (error.kind(), rest.to_owned())
}

/// A server was given up that sent the first hundred thousand bytes and then one now and then, for a second of patience.
pub fn assert_too_slow(words: &str, total: usize) {
    let (front, end) = ("reading URL: at byte 1000", " bytes in 1 s");
    assert!(words.starts_with(front) && words.contains(&format!(" of {total}: ")), "{words}");
    assert!(words.contains("the server sends too slowly: ") && words.ends_with(end), "{words}");
}

/// A server whose first connections break after so many bytes, in turn.
pub fn breaking(body: Vec<u8>, cuts: Vec<Cut>, length: Length) -> Server {
    let body: Arc<[u8]> = body.into();
    Server::start(move |seen, nth| {
        let reply = Reply::file(seen, &body, "\"v1\"");
        let reply = if reply.status == 206 { reply } else { reply.length(length) };
        cuts.get(nth).map_or_else(|| reply.clone(), |&cut| reply.clone().cut(cut))
    })
}
