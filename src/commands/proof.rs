//! Where else an image lies and what proves it: options that all commands share which take one.

use crate::error::{Error, Kind, Result};
use crate::http::Client;
use crate::image::{self, Digest, Job, Location, MinisignKey, Signed};

/// Where else an image lies, and what proves it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Proof {
    /// Another server that publishes the same file, asked when those before it fail; repeatable
    #[arg(long = "mirror", value_name = "URL")]
    pub mirrors: Vec<Location>,

    /// Digest of the file as it is published, packed: md5, sha1, sha256 or sha512; repeatable
    #[arg(long = "digest", value_name = "ALG:HEX")]
    pub digests: Vec<Digest>,

    /// Digest of the same unpacked; repeatable
    #[arg(long = "raw-digest", value_name = "ALG:HEX")]
    pub raw_digests: Vec<Digest>,

    /// List of checksums (SHA256SUMS, or BSD's form) that has one of the file as it is published, by its name
    #[arg(long, value_name = "FILE_OR_URL")]
    pub sums: Option<Location>,

    /// Demand a signature of minisign by this key: over the list of `--sums`, else over the file as it is published
    #[arg(long, value_name = "KEY_OR_FILE")]
    pub minisign_key: Option<String>,

    /// Where the signature lies, instead of beside what it signs, with `.minisig`
    #[arg(long, value_name = "FILE_OR_URL", requires = "minisign_key")]
    pub signature: Option<Location>,

    /// Refuse what has neither a digest nor a signature
    #[arg(long)]
    pub require_digest: bool,
}

impl Proof {
    /// Adds to a job what the options say by themselves.
    pub fn apply(&self, job: &mut Job) {
        job.mirrors.clone_from(&self.mirrors);
        job.container_digests.clone_from(&self.digests);
        job.digests.clone_from(&self.raw_digests);
    }

    /// Adds to a job what must be read first: key, signature, and list of checksums.
    ///
    /// # Errors
    /// `Usage` for a key that is none; `Image` when list or signature cannot be had, are not good, contradict the options, or
    /// when there is no proof although there must be one.
    pub fn complete(&self, mut job: Job, http: &Client) -> Result<Job> {
        let key = self.minisign_key.as_deref().map(MinisignKey::read).transpose()?;
        let signed = |file: &Location| {
            let place = self.signature.clone().unwrap_or_else(|| file.with_suffix(".minisig"));
            key.clone().map(|key| Signed::new(key, place))
        };
        match &self.sums {
            Some(sums) => {
                let list = image::beside::read(sums, http, &job.cancel)?;
                if let Some(signed) = signed(sums) {
                    signed.check(&list, http, &job.cancel)?;
                }
                let found = listed(&list, &job.source)
                    .map_err(|reason| Error::new(Kind::Image, format!("list of checksums {sums}: {reason}")))?;
                job.container_digests.extend(found);
            }
            None => job.signed = signed(&job.source),
        }
        for digests in [&job.digests, &job.container_digests] {
            if let Some((one, other)) = image::contradiction(digests) {
                return Err(Error::new(
                    Kind::Image,
                    format!("{}: {one} and {other} contradict each other", job.source),
                ));
            }
        }
        if self.require_digest && !job.has_proof() {
            let words = format!("{}: neither a digest nor a signature is known, and require-digest is set", job.source);
            return Err(Error::new(Kind::Image, words).advise("give --digest, --raw-digest, --sums or --minisign-key"));
        }
        Ok(job)
    }
}

/// The digests that a list has of the image.
fn listed(list: &[u8], source: &Location) -> std::result::Result<Vec<Digest>, String> {
    let name = source.file_name().ok_or_else(|| format!("the address {source} has no file name to look for"))?;
    image::sums::digests(list, &name)
}
