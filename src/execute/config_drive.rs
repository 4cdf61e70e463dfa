//! The config drive: a FAT file system made in memory and written like an image.

use time::OffsetDateTime;

use super::{Inputs, require_device};
use crate::configdrive;
use crate::error::Result;
use crate::image::{self, TargetKind};
use crate::units::{Bytes, SectorSize};

/// Writes the rendered files to their partition and reads them back. Returns the bytes written.
pub fn write(
    id: &str,
    device: &str,
    size: Bytes,
    sector_size: SectorSize,
    volume_id: u32,
    inputs: &Inputs<'_>,
) -> Result<u64> {
    let path = require_device(device)?;
    let bytes = configdrive::fat_image(inputs.config_drive, size, sector_size, volume_id, OffsetDateTime::now_utc())?;
    image::write_bytes(&bytes, &path, TargetKind::Device)?;
    inputs.reporter.progress(id, size.get(), Some(size.get()));
    Ok(size.get())
}
