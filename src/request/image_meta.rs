//! The side-car of an image: sizes and digests that its builder wrote next to it.

use serde_json::Value;

use super::text::{self, YamlFault};
use crate::error::{Error, Kind, Result};

/// What a side-car says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SideCar {
    /// The operating system in the image, if it is one of those that upstream knows by name.
    pub operating_system: Option<OperatingSystem>,
    /// The images it describes.
    pub images: Vec<ImageMeta>,
}

/// An operating system by upstream's name and version.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OperatingSystem {
    /// `Ubuntu`, `Centos` or `OperatingSystem`.
    pub name: String,
    /// Major version.
    pub major: u64,
    /// Minor version.
    pub minor: u64,
}

/// One image of a side-car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMeta {
    /// File name of the packed image.
    pub container_name: String,
    /// Its size in bytes.
    pub container_size: Option<u64>,
    /// Its MD5, 32 hexadecimal digits in lower case.
    pub container_md5: Option<String>,
    /// Size of the unpacked image in bytes.
    pub raw_size: Option<u64>,
    /// MD5 of the unpacked image.
    pub raw_md5: Option<String>,
    /// Further digests of the packed image, `algorithm:hex` (extension).
    pub container_digests: Vec<String>,
    /// Further digests of the unpacked image, `algorithm:hex` (extension).
    pub raw_digests: Vec<String>,
}

/// Digests beside upstream's MD5, and how many digits they have.
const FURTHER: [(&str, usize); 3] = [("sha1", 40), ("sha256", 64), ("sha512", 128)];

/// Names of operating systems that upstream takes from a side-car (they are its class names).
const KNOWN_SYSTEMS: [&str; 3] = ["Ubuntu", "Centos", "OperatingSystem"];

impl SideCar {
    /// Reads a side-car, YAML.
    ///
    /// # Errors
    /// `Image` when it is not YAML or not of a side-car's shape.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes)
            .map_err(|cause| Error::caused(Kind::Image, "reading the image metadata: $: it is not UTF-8", cause))?;
        let value = text::yaml(text).map_err(|fault| {
            let (path, what) = match fault {
                YamlFault::Twice(path) => (path, "given twice".to_owned()),
                YamlFault::Other(path, cause) => (path, format!("it is not YAML: {cause}")),
            };
            Error::new(Kind::Image, format!("reading the image metadata: {path}: {what}"))
        })?;
        let fault = |what: &str| Error::new(Kind::Image, format!("reading the image metadata: {what}"));
        if !value.is_object() {
            return Err(fault("$: expected a mapping with the key `images`"));
        }
        let images = value.get("images").and_then(Value::as_array).ok_or_else(|| fault("$.images: expected a list"))?;
        let images = images
            .iter()
            .enumerate()
            .map(|(index, image)| ImageMeta::read(image).map_err(|what| fault(&format!("$.images[{index}]{what}"))));
        Ok(Self { operating_system: operating_system(&value), images: images.collect::<Result<_>>()? })
    }

    /// What it says of the image with this URI.
    #[must_use]
    pub fn image(&self, uri: &str) -> Option<&ImageMeta> {
        let name = uri.rsplit('/').next()?;
        self.images.iter().find(|image| image.container_name == name)
    }
}

impl ImageMeta {
    fn read(value: &Value) -> Result<Self, String> {
        let number = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(size) => {
                size.as_u64().map(Some).ok_or_else(|| format!(".{key}: expected a number of bytes, found {size}"))
            }
        };
        let digest = |key: &str, digits: usize| match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() == digits && text.chars().all(|c| c.is_ascii_hexdigit()) => {
                Ok(Some(text.to_ascii_lowercase()))
            }
            // YAML takes digits alone, and digits with one `e`, for a number, and cuts it.
            Some(Value::Number(_)) => Err(format!(
                ".{key}: expected {digits} hexadecimal digits in quotes, found a number: it lacks the quotes"
            )),
            Some(_) => Err(format!(".{key}: expected {digits} hexadecimal digits")),
        };
        let further = |what: &str| {
            let found = FURTHER.iter().map(|(algorithm, digits)| {
                Ok(digest(&format!("{what}_{algorithm}"), *digits)?.map(|hex| format!("{algorithm}:{hex}")))
            });
            found.filter_map(Result::transpose).collect::<Result<Vec<_>, String>>()
        };
        let name = value.get("container_name").and_then(Value::as_str);
        Ok(Self {
            container_name: name.ok_or(".container_name: expected a string")?.to_owned(),
            container_size: number("container_size")?,
            container_md5: digest("container_md5", 32)?,
            raw_size: number("raw_size")?,
            raw_md5: digest("raw_md5", 32)?,
            container_digests: further("container")?,
            raw_digests: further("raw")?,
        })
    }
}

fn operating_system(value: &Value) -> Option<OperatingSystem> {
    let os = value.get("os")?;
    let name = os.get("name")?.as_str()?;
    let version = |key: &str| os.get(key).and_then(Value::as_u64);
    KNOWN_SYSTEMS.contains(&name).then_some(())?;
    Some(OperatingSystem { name: name.to_owned(), major: version("major")?, minor: version("minor")? })
}

/// Where the side-car of a root image lies: the image's base name up to its first dot, with `.yaml`.
#[must_use]
pub fn side_car_uri(root_image_uri: &str) -> Option<String> {
    let (folder, name) = root_image_uri.rsplit_once('/')?;
    let stem = name.split('.').next().filter(|stem| !stem.is_empty())?;
    Some(format!("{folder}/{stem}.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_car_is_named_by_the_first_dot() {
        assert_eq!(
            side_car_uri("http://m:8080/t/env_1_ubuntu_1604_amd64.img.gz").as_deref(),
            Some("http://m:8080/t/env_1_ubuntu_1604_amd64.yaml")
        );
    }

    #[test]
    fn image_is_found_by_its_base_name() {
        let text = "os: {name: Ubuntu, major: 16, minor: 4}\nimages:\n- {container_name: a.img.gz, raw_size: 5, raw_md5: null}\n";
        let side_car = SideCar::parse(text.as_bytes()).unwrap();
        assert_eq!(side_car.image("http://m/a.img.gz").and_then(|image| image.raw_size), Some(5));
        assert_eq!(side_car.image("http://m/b.img.gz"), None);
        assert_eq!(side_car.operating_system.map(|os| os.major), Some(16));
    }

    #[test]
    fn digests_of_packed_and_unpacked_image_are_read() {
        let (sha1, sha256, sha512) = ("1".repeat(40), "A".repeat(64), "b".repeat(128));
        let text = format!(
            "images: [{{container_name: a, container_sha1: '{sha1}', container_sha256: {sha256}, container_sha512: {sha512}, \
             raw_sha1: '{sha1}', raw_sha512: null, raw_sha256: {sha256}}}]"
        );
        let image = SideCar::parse(text.as_bytes()).unwrap().images.remove(0);
        let sha256 = sha256.to_lowercase();
        let of = |parts: &[(&str, &str)]| parts.iter().map(|(name, hex)| format!("{name}:{hex}")).collect::<Vec<_>>();
        assert_eq!(image.container_digests, of(&[("sha1", &sha1), ("sha256", &sha256), ("sha512", &sha512)]));
        assert_eq!(image.raw_digests, of(&[("sha1", &sha1), ("sha256", &sha256)]));
        assert_eq!(
            SideCar::parse(b"images: [{container_name: a, container_sha256: abc}]").unwrap_err().to_string(),
            "reading the image metadata: $.images[0].container_sha256: expected 64 hexadecimal digits"
        );
    }

    #[test]
    fn nonsense_is_named() {
        let error = SideCar::parse(b"images: [{container_name: a, raw_size: -1}]").unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading the image metadata: $.images[0].raw_size: expected a number of bytes, found -1"
        );
        assert!(SideCar::parse(b"<html>nginx</html>").is_err());
        assert!(SideCar::parse(b"\xff").is_err());
    }

    #[test]
    fn digests_without_quotes_are_named_whatever_number_they_make() {
        let digits = "12345678901234567890123456789012";
        let fault = |digest: &str| {
            let text = format!("images:\n- container_name: a\n  raw_md5: {digest}\n");
            SideCar::parse(text.as_bytes()).map_err(|error| (error.kind(), error.to_string())).map(|it| it.images)
        };
        let path = "reading the image metadata: $.images[0].raw_md5:";
        let found = "expected 32 hexadecimal digits in quotes, found a number: it lacks the quotes";
        assert_eq!(fault(digits), Err((Kind::Image, format!("{path} {found}"))));
        assert_eq!(fault("1234567890123456789012345678e100"), Err((Kind::Image, format!("{path} {found}"))));
        let large = "12e45678901234567890123456789012";
        assert_eq!(
            fault(large),
            Err((
                Kind::Image,
                format!("{path} it is not YAML: {large} is a number that is too large; text needs quotes")
            ))
        );
        assert_eq!(fault(&format!("'{digits}'")).unwrap()[0].raw_md5.as_deref(), Some(digits));
    }

    #[test]
    fn a_digest_that_is_given_twice_is_named() {
        let error = SideCar::parse(b"images: [{container_name: a, raw_md5: null, raw_md5: null}]").unwrap_err();
        assert_eq!(error.to_string(), "reading the image metadata: $.images[0].raw_md5: given twice");
        assert_eq!(error.kind(), Kind::Image);
    }
}
