//! Reads `image_data`: where images lie, how they are packed, and what proves them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::findings::shown;
use super::model::{Container, ImageSpec};
use super::names;
use super::reader::{Field, Object};

/// The images, when none has a fault.
pub fn read(field: &Field<'_>) -> Option<Vec<ImageSpec>> {
    let images: Vec<_> = field.entries()?.map(|(mount, field)| image(mount, &field)).collect();
    images.into_iter().collect()
}

fn image(mount: &str, field: &Field<'_>) -> Option<ImageSpec> {
    let object = field.object()?;
    let is_mount = names::is_mount_point(mount);
    if !is_mount {
        field.fault(format!("expected an absolute mount point, found {}", shown(mount)));
    }
    let uri = object.get("uri").and_then(|uri| uri_of_any(&uri));
    let format = object.get("format").and_then(|format| format.word());
    let container = object.get("container").and_then(|container| Container::of_word(container.text()?));
    let mirrors = object.optional("mirrors", |field| all(field, uri_of_server));
    let digests = digests(&object, "digests");
    let raw_digests = self::digests(&object, "raw_digests");
    let minisign_key = object.optional("minisign_key", minisign_key);
    let signature = object.optional("signature", uri_of_any);
    let bmap = object.optional("bmap", uri_of_any);
    if let (Some(signature), Some(None)) = (object.get("signature"), &minisign_key) {
        signature.fault("given without minisign_key, which would tell whose it must be");
        return None;
    }
    if let (Some(mirrors), Some(true)) = (object.get("mirrors"), uri.as_ref().map(|uri| uri.starts_with("file://"))) {
        mirrors.fault("an image in a file has no mirrors");
        return None;
    }
    Some(ImageSpec {
        path: field.path().to_owned(),
        mount: is_mount.then(|| mount.to_owned())?,
        uri: uri?,
        format: format?,
        container: container?,
        mirrors: mirrors?.unwrap_or_default(),
        digests: digests?,
        raw_digests: raw_digests?,
        minisign_key: minisign_key?,
        signature: signature?,
        bmap: bmap?,
    })
}

pub(super) fn digests(object: &Object<'_>, key: &str) -> Option<Vec<String>> {
    object.optional(key, |field| all(field, digest)).map(Option::unwrap_or_default)
}

/// Every element of a list; all of them are looked at, so that all faults are found.
fn all<T>(field: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<_> = field.list()?.map(|field| read(&field)).collect();
    read.into_iter().collect()
}

pub(super) fn uri_of_any(field: &Field<'_>) -> Option<String> {
    field.parsed("a URI with http://, https:// or file://", |text| uri(text, &["http://", "https://", "file://"]))
}

fn uri_of_server(field: &Field<'_>) -> Option<String> {
    field.parsed("a URI with http:// or https://", |text| uri(text, &["http://", "https://"]))
}

fn uri(text: &str, schemes: &[&str]) -> Option<String> {
    let has_scheme = schemes.iter().any(|scheme| text.starts_with(scheme));
    (has_scheme && text.chars().all(|c| c.is_ascii_graphic())).then(|| text.to_owned())
}

/// `ALGORITHM:HEX`, in lower case.
fn digest(field: &Field<'_>) -> Option<String> {
    field.parsed("md5, sha1, sha256 or sha512, a colon, and as many hexadecimal digits as it has", |text| {
        let text = text.to_ascii_lowercase();
        let (algorithm, hex) = text.split_once(':')?;
        let digits = match algorithm {
            "md5" => 32,
            "sha1" => 40,
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        (hex.len() == digits && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.clone())
    })
}

/// Two letters for the algorithm, eight bytes that name the key, and the key of Ed25519.
fn minisign_key(field: &Field<'_>) -> Option<String> {
    field.parsed("a public key of minisign, 56 letters that begin with RW", |text| {
        let bytes = BASE64.decode(text).ok()?;
        (bytes.len() == 42 && bytes.starts_with(b"Ed")).then(|| text.to_owned())
    })
}
