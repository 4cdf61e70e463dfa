//! What is known of the images beforehand, and what proves them.

use crate::error::{Error, Kind, Result};
use crate::layout::Layout;
use crate::request::{ImageMeta, ImageSpec, Request, SideCar, shown_uri};
use crate::units::Bytes;

/// What is known of an image before it is fetched.
#[derive(Debug)]
pub struct Known<'a> {
    /// What the request says of it.
    pub spec: &'a ImageSpec,
    /// Digests of the unpacked image, `algorithm:hex`.
    pub digests: Vec<String>,
    /// Its size as published.
    pub container_size: Option<Bytes>,
    /// Digests of it as published.
    pub container_digests: Vec<String>,
}

impl Known<'_> {
    /// Whether its content can be told from any other.
    fn is_proved(&self) -> bool {
        !self.digests.is_empty() || !self.container_digests.is_empty() || self.spec.minisign_key.is_some()
    }
}

/// What request and side-car know of the layout's images, in their order.
///
/// # Errors
/// `Image` when both give digests that cannot both be right.
pub fn known<'a>(layout: &Layout, request: &'a Request, side_car: Option<&SideCar>) -> Result<Vec<Known<'a>>> {
    let of = |target: &str, uri: &str| {
        let mount = layout.filesystems.iter().find(|it| it.device == target).and_then(|it| it.mount.as_deref());
        let spec = request.images.iter().find(|spec| Some(spec.mount.as_str()) == mount);
        let spec = spec.ok_or_else(|| Error::bug(format!("image {} has no file system", shown_uri(uri))))?;
        let meta = side_car.and_then(|side_car| side_car.image(&spec.uri));
        let from = |md5: fn(&ImageMeta) -> &Option<String>, further: fn(&ImageMeta) -> &Vec<String>| {
            let md5 = meta.and_then(|meta| md5(meta).as_ref()).map(|hex| format!("md5:{hex}"));
            md5.into_iter().chain(meta.into_iter().flat_map(further).cloned()).collect::<Vec<_>>()
        };
        let told = |error: String| Error::new(Kind::Image, format!("image {}: {error}", shown_uri(&spec.uri)));
        Ok(Known {
            spec,
            digests: joined(from(|it| &it.raw_md5, |it| &it.raw_digests), &spec.raw_digests).map_err(told)?,
            container_size: meta.and_then(|meta| meta.container_size).map(Bytes::new),
            container_digests: joined(from(|it| &it.container_md5, |it| &it.container_digests), &spec.digests)
                .map_err(told)?,
        })
    };
    layout.images.iter().map(|image| of(&image.target, &image.uri)).collect()
}

/// The digests of the metadata and those of the request, each once.
fn joined(mut digests: Vec<String>, requested: &[String]) -> std::result::Result<Vec<String>, String> {
    let algorithm = |digest: &str| digest.split(':').next().unwrap_or_default().to_owned();
    for digest in requested {
        match digests.iter().find(|known| algorithm(known) == algorithm(digest)) {
            Some(known) if known == digest => {}
            Some(known) => return Err(format!("{known} and {digest} are both given, and only one can be right")),
            None => digests.push(digest.clone()),
        }
    }
    Ok(digests)
}

/// Tells of the images that nothing proves.
///
/// # Errors
/// `Image` when the request does not allow any.
pub fn require_proof(images: &[Known<'_>], request: &Request, side_car: Option<&SideCar>) -> Result<Vec<String>> {
    let unproved: Vec<_> =
        images.iter().filter(|image| !image.is_proved()).map(|image| shown_uri(&image.spec.uri)).collect();
    if request.requires_digest && !unproved.is_empty() {
        let words =
            format!("{}: neither a digest nor a signature is known, and require_digest is set", unproved.join(", "));
        return Err(Error::new(Kind::Image, words).advise(
            "give digests, raw_digests or minisign_key in image_data, or digests in the metadata beside the image",
        ));
    }
    if side_car.is_none() && unproved.len() == images.len() {
        return Ok(vec!["the images have no metadata beside them: their size and digest are not checked".to_owned()]);
    }
    Ok(unproved.iter().map(|uri| format!("no digest of {uri} is known: it is not checked")).collect())
}
