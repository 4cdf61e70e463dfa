//! What the first boot is told: a file system made in memory and written like an image, or a folder of the root.

use std::fs;
use std::path::Path;

use time::OffsetDateTime;

use super::{Inputs, require_device, target};
use crate::configdrive::{ConfigDrive, Medium, SEED_FOLDER};
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::{self, TargetKind};
use crate::plan::{Plan, Step};

/// Makes the file system that the plan asks for, and throws it away: what does not fit shows before anything is written.
///
/// # Errors
/// Those of [`ConfigDrive::image`].
pub fn check(plan: &Plan, drive: &ConfigDrive) -> Result<()> {
    for step in &plan.steps {
        if let Some((_, medium)) = medium(step) {
            drive.image(&medium, OffsetDateTime::UNIX_EPOCH)?;
        }
    }
    Ok(())
}

fn medium(step: &Step) -> Option<(&str, Medium)> {
    let Step::WriteConfigDrive { device, size, sector_size, file_system, form, volume_id, .. } = step else {
        return None;
    };
    let (size, sector_size, file_system) = (*size, *sector_size, *file_system);
    Some((device, Medium { size, sector_size, file_system, form: *form, volume_id: *volume_id }))
}

/// Writes the file system to its partition and reads it back. Returns the bytes written.
pub fn write(id: &str, step: &Step, inputs: &Inputs<'_>) -> Result<Option<u64>> {
    let (device, medium) = medium(step).ok_or_else(|| Error::bug(format!("{id} writes no config drive")))?;
    let path = require_device(device)?;
    let bytes = inputs.config_drive.image(&medium, OffsetDateTime::now_utc())?;
    image::write_bytes(&bytes, &path, TargetKind::Device)?;
    let written = crate::units::widen(bytes.len());
    inputs.reporter.progress(id, written, Some(written));
    Ok(Some(written))
}

/// Writes the files into the installed system. What the image has there goes: it would be of another node.
pub fn write_seed(root: &Path, drive: &ConfigDrive) -> Result<()> {
    let folder = target::inside(root, SEED_FOLDER)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .context(Kind::Medium, || format!("removing /{SEED_FOLDER} of the installed system"))?;
    }
    for (name, content) in &drive.files {
        let text = std::str::from_utf8(content).map_err(|_| Error::bug(format!("{name} is no text")))?;
        target::write(root, &format!("{SEED_FOLDER}/{name}"), text, 0o600)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn seed_takes_the_place_of_what_the_image_has_and_is_for_root_alone() {
        let scratch = Scratch::new();
        let folder = scratch.folder().join(SEED_FOLDER);
        fs::create_dir_all(folder.join("old")).unwrap();
        let files = [("meta-data".to_owned(), b"instance-id: i\n".to_vec())].into();
        write_seed(scratch.folder(), &ConfigDrive { files, prebuilt: None }).unwrap();
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["meta-data"]);
        let file = folder.join("meta-data");
        assert_eq!(fs::read_to_string(&file).unwrap(), "instance-id: i\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
