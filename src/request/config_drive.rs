//! Reads how the first boot's data reach cloud-init (extension key `bedplate.config_drive`).

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::reader::{Field, Object};

/// How the data reach cloud-init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigDriveSpec {
    /// On the config drive's partition.
    Partition {
        /// The files' names and forms.
        form: DriveForm,
        /// The file system.
        file_system: DriveFileSystem,
    },
    /// A ready image of a file system, on the config drive's partition as it is.
    Prebuilt {
        /// http, https or file.
        uri: String,
        /// Digests of it, `algorithm:hex`.
        digests: Vec<String>,
    },
    /// In the seed folder of the root file system; there is no partition.
    Seed,
}

impl Default for ConfigDriveSpec {
    fn default() -> Self {
        Self::Partition { form: DriveForm::NoCloud, file_system: DriveFileSystem::Vfat }
    }
}

impl ConfigDriveSpec {
    /// The form of the files that are rendered.
    #[must_use]
    pub const fn form(&self) -> DriveForm {
        match self {
            Self::Partition { form, .. } => *form,
            Self::Prebuilt { .. } | Self::Seed => DriveForm::NoCloud,
        }
    }
}

/// Which of cloud-init's sources reads the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DriveForm {
    /// `meta-data`, `user-data`, `vendor-data`, `network-config`.
    NoCloud,
    /// `openstack/latest/meta_data.json` and what is beside it: config drive version 2.
    OpenStack,
}

impl DriveForm {
    /// The label by which cloud-init finds the file system.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCloud => "cidata",
            Self::OpenStack => "config-2",
        }
    }
}

/// The file system of the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DriveFileSystem {
    Vfat,
    Iso9660,
}

impl DriveFileSystem {
    /// Its name, as libblkid has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Iso9660 => "iso9660",
        }
    }

    /// The UUID that libblkid makes of a file system's identity.
    #[must_use]
    pub fn uuid(self, volume_id: u32) -> String {
        match self {
            Self::Vfat => format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff),
            Self::Iso9660 => {
                let digits = iso_date(volume_id);
                let part = |from: usize, to: usize| &digits[from..to];
                [part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14), part(14, 16)].join("-")
            }
        }
    }
}

/// The date that stands for the identity of a volume of ISO 9660, which has no other: `YYYYMMDDHHMMSScc`.
#[must_use]
pub fn iso_date(volume_id: u32) -> String {
    let at = OffsetDateTime::from_unix_timestamp(i64::from(volume_id)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month = u8::from(at.month());
    format!("{:04}{month:02}{:02}{:02}{:02}{:02}00", at.year(), at.day(), at.hour(), at.minute(), at.second())
}

/// The section; its words were checked with the grammar.
pub fn read(field: &Field<'_>) -> Option<ConfigDriveSpec> {
    let object = field.object()?;
    let word = |key: &str| object.get(key).and_then(|field| field.text().map(str::to_owned));
    let (place, form, file_system) = (word("place"), word("form"), word("file_system"));
    let image = object.optional("image", super::images::uri_of_any);
    let digests = super::images::digests(&object, "digests");
    let (image, digests) = (image?, digests?);
    let is_seed = place.as_deref() == Some("seed");
    if let Some(uri) = image {
        let others = [is_seed.then_some("place"), form.and(Some("form")), file_system.and(Some("file_system"))];
        return (!contradicts(&object, others, "an image is taken as it is, to the partition"))
            .then_some(ConfigDriveSpec::Prebuilt { uri, digests });
    }
    let others = [(!digests.is_empty()).then_some("digests")];
    if contradicts(&object, others, "given without image") {
        return None;
    }
    if is_seed {
        let is_other = form.as_deref() == Some("openstack");
        let others = [is_other.then_some("form"), file_system.and(Some("file_system"))];
        return (!contradicts(&object, others, "the seed folder holds plain files of the form nocloud"))
            .then_some(ConfigDriveSpec::Seed);
    }
    let form = if form.as_deref() == Some("openstack") { DriveForm::OpenStack } else { DriveForm::NoCloud };
    let file_system = match (form, file_system.as_deref()) {
        (DriveForm::OpenStack, Some("vfat")) => {
            contradicts(&object, [Some("file_system")], "the form openstack is made on iso9660 alone");
            return None;
        }
        (DriveForm::OpenStack, _) | (DriveForm::NoCloud, Some("iso9660")) => DriveFileSystem::Iso9660,
        (DriveForm::NoCloud, _) => DriveFileSystem::Vfat,
    };
    Some(ConfigDriveSpec::Partition { form, file_system })
}

/// Records a fault for each key that makes no sense here.
fn contradicts<const N: usize>(object: &Object<'_>, keys: [Option<&str>; N], why: &str) -> bool {
    let fields = keys.into_iter().flatten().filter_map(|key| object.get(key));
    fields.map(|field| field.fault(why)).count() > 0
}
