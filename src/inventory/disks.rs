//! Which block devices are disks, and what is known of each.

use super::block::{Device, Devices};
use super::tree::Tree;
use super::uses::Usage;
use super::{Disk, MultipathPath, Partition, Signature, natural_key};
use crate::units::{Bytes, SectorSize};

/// Majors of disks: IDE, SCSI, md, HP arrays, Xen, virtio and NVMe (the list of Nailgun's agent).
const MAJORS: [u32; 23] =
    [3, 8, 9, 65, 66, 67, 68, 69, 70, 71, 104, 105, 106, 107, 108, 109, 110, 111, 202, 251, 252, 253, 259];

/// virtio disks take the first major that is free, 254 on many machines, so they are told by their name.
const VIRTIO: &str = "vd";

/// Names of devices that are no disks although dynamic majors may put them where a disk's could be.
const NO_DISKS: [&str; 8] = ["loop", "ram", "sr", "fd", "nbd", "zram", "zd", "mmcblk"];

/// RAID controllers whose firmware marks fixed arrays removable, by PCI vendor and by the vendor of the SCSI device.
const ARRAY_PCI_VENDORS: [&str; 3] = ["0x1044", "0x9004", "0x9005"];
const ARRAY_VENDORS: [&str; 3] = ["Adaptec", "IBM", "ServeRA"];

/// Why a block device is no disk to install to; for the developer.
type Reason = &'static str;

/// Disks in natural order.
pub(super) fn disks(tree: &Tree, devices: &Devices, usage: &Usage) -> Vec<Disk> {
    let mut disks = Vec::new();
    for device in devices.all().filter(|device| device.partition.is_none()) {
        match exclusion(tree, devices, device) {
            Some(reason) => log::debug!("{} is left out: {reason}", device.name()),
            None => disks.extend(disk(tree, devices, usage, device)),
        }
    }
    disks.sort_by_cached_key(|disk| natural_key(&disk.name));
    disks
}

fn exclusion(tree: &Tree, devices: &Devices, device: &Device) -> Option<Reason> {
    let name = device.kernel_name.as_str();
    let attribute = |attribute: &str| tree.attribute(&format!("{}/{attribute}", device.base));
    let flag = |property: &str| device.record.property(property) == Some("1");
    let holders = devices.holders_of(device);
    if device.dm.is_some() || name.starts_with("dm-") {
        return (!device.is_multipath()).then_some("a device-mapper device that is no multipath map");
    }
    if name.starts_with("md") {
        return (!is_firmware_volume(tree, device)).then_some("an md array that is no volume of a firmware RAID");
    }
    let is_of_disks = MAJORS.contains(&device.major) || name.starts_with(VIRTIO);
    if NO_DISKS.iter().any(|kind| name.starts_with(kind)) || flag("ID_CDROM") || !is_of_disks {
        return Some("not a kind of disk");
    }
    if attribute("hidden").as_deref() == Some("1") {
        return Some("a hidden path of an NVMe disk");
    }
    if flag("DM_MULTIPATH_DEVICE_PATH") || holders.iter().any(|holder| holder.is_multipath()) {
        return Some("a path of a multipath map");
    }
    if holders.iter().any(|holder| is_firmware_array(tree, holder)) {
        return Some("a member of a firmware RAID");
    }
    if device.size == Bytes::ZERO {
        return Some("no medium in it");
    }
    if attribute("removable").as_deref() == Some("1") && !is_array_marked_removable(tree, device) {
        return Some("removable");
    }
    None
}

/// Whether mdadm calls it external: its metadata is the firmware's.
pub(super) fn is_firmware_array(tree: &Tree, device: &Device) -> bool {
    metadata_version(tree, device).is_some_and(|version| version.starts_with("external:"))
}

/// A volume names its container (`external:/md127/0`), a container its format (`external:imsm`).
fn is_firmware_volume(tree: &Tree, device: &Device) -> bool {
    metadata_version(tree, device).is_some_and(|version| {
        version.strip_prefix("external:").is_some_and(|rest| rest.starts_with('/') || rest.starts_with('-'))
    })
}

fn metadata_version(tree: &Tree, device: &Device) -> Option<String> {
    tree.attribute(&format!("{}/md/metadata_version", device.base))
}

fn is_array_marked_removable(tree: &Tree, device: &Device) -> bool {
    let vendor = tree.attribute(&format!("{}/device/vendor", device.base));
    if vendor.is_some_and(|vendor| ARRAY_VENDORS.contains(&vendor.as_str())) {
        return true;
    }
    let Some(path) = tree.resolve(&device.base) else { return false };
    let adapter = path.rsplit('/').find(|part| tree.exists(&format!("/sys/bus/pci/devices/{part}")));
    let vendor = adapter.and_then(|adapter| tree.attribute(&format!("/sys/bus/pci/devices/{adapter}/vendor")));
    vendor.is_some_and(|vendor| ARRAY_PCI_VENDORS.contains(&vendor.as_str()))
}

fn disk(tree: &Tree, devices: &Devices, usage: &Usage, device: &Device) -> Option<Disk> {
    let attribute = |attribute: &str| tree.attribute(&format!("{}/{attribute}", device.base));
    let number = |attribute: &str| tree.number::<u64>(&format!("{}/{attribute}", device.base));
    let property = |key: &str| device.record.property(key).map(str::to_owned);
    let sector_size = match tree.number::<u32>(&format!("{}/queue/logical_block_size", device.base)) {
        Some(size) => match SectorSize::try_from(size) {
            Ok(size) => size,
            Err(reason) => {
                tree.warn(device.node(), format!("left out: {reason}"));
                return None;
            }
        },
        None => {
            tree.warn(device.node(), "left out: its sector size could not be read");
            return None;
        }
    };
    if device.record.links.is_empty() {
        tree.warn(device.node(), "udev has no links for it: it can be named by its kernel name only");
    }
    let parts = devices.partitions_of(device);
    Some(Disk {
        name: device.name(),
        device: device.node(),
        size: device.size,
        sector_size,
        major: device.major,
        minor: device.minor,
        links: device.record.links.clone(),
        model: attribute("device/model").or_else(|| property("ID_MODEL")),
        serial: serial(tree, device),
        wwn: wwn(tree, device),
        transport: transport(tree, device),
        is_rotational: attribute("queue/rotational").map(|value| value == "1"),
        is_removable: attribute("removable").as_deref() == Some("1"),
        is_read_only: attribute("ro").as_deref() == Some("1"),
        optimal_io: ["queue/optimal_io_size", "queue/minimum_io_size"]
            .into_iter()
            .find_map(|name| number(name).filter(|&size| size > 0)),
        dm_uuid: device.dm.as_ref().map(|(_, uuid)| uuid.clone()),
        paths: if device.is_multipath() { paths(tree, devices, device) } else { Vec::new() },
        table: property("ID_PART_TABLE_TYPE"),
        lacks_protective_mbr: false,
        partitions: parts.iter().filter_map(|part| partition(tree, devices, device, part)).collect(),
        signatures: std::iter::once(device).chain(parts.iter().copied()).filter_map(signature).collect(),
        traces: Vec::new(),
        has_data: None,
        uses: usage.of(devices, device, &parts),
    })
}

fn partition(tree: &Tree, devices: &Devices, disk: &Device, part: &Device) -> Option<Partition> {
    let (number, start) = if let Some((number, start, _)) = &part.partition {
        (*number, *start)
    } else {
        let (number, _) = part.mapped_partition()?;
        // sysfs does not tell where a mapped partition starts; the kernel reads the table of each path as well.
        let path_names = tree.names(&format!("{}/slaves", disk.base));
        let of_path = |device: &Device| match &device.partition {
            Some((found, start, name)) if *found == number && path_names.contains(name) => Some(*start),
            _ => None,
        };
        let Some(start) = devices.all().find_map(of_path) else {
            tree.warn(part.node(), "left out of the partitions: where it starts is not told");
            return None;
        };
        (number, start)
    };
    Some(Partition { number, device: part.node(), start, size: part.size })
}

fn paths(tree: &Tree, devices: &Devices, map: &Device) -> Vec<MultipathPath> {
    let path = |name: String| {
        let links = devices.get(&name).map(|device| device.record.links.clone()).unwrap_or_default();
        MultipathPath { name: name.replace('!', "/"), links }
    };
    tree.names(&format!("{}/slaves", map.base)).into_iter().map(path).collect()
}

fn signature(device: &Device) -> Option<Signature> {
    let property = |key: &str| device.record.property(key).map(str::to_owned);
    Some(Signature {
        device: device.node(),
        kind: property("ID_FS_TYPE")?,
        label: property("ID_FS_LABEL"),
        uuid: property("ID_FS_UUID"),
    })
}

fn serial(tree: &Tree, device: &Device) -> Option<String> {
    let property = |key: &str| device.record.property(key).map(str::to_owned);
    let attribute = |name: &str| tree.attribute(&format!("{}/{name}", device.base));
    // For SCSI disks udev's short serial number is the world wide name; the one on the label is the other, as lsblk shows it.
    property("ID_SCSI_SERIAL")
        .or_else(|| property("ID_SERIAL_SHORT"))
        .or_else(|| attribute("serial"))
        .or_else(|| attribute("device/serial"))
        .or_else(|| vpd_serial(&tree.bytes(&format!("{}/device/vpd_pg80", device.base), 4096)?))
        .or_else(|| property("DM_SERIAL"))
}

/// SPC-4, section 7.8.15: four bytes of header, then the unit serial number.
fn vpd_serial(page: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let serial = page.get(4..4usize.checked_add(length)?)?;
    let serial = std::str::from_utf8(serial).ok()?.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!serial.is_empty()).then(|| serial.to_owned())
}

fn wwn(tree: &Tree, device: &Device) -> Option<String> {
    let property = |key: &str| device.record.property(key).map(str::to_owned);
    property("ID_WWN_WITH_EXTENSION").or_else(|| property("ID_WWN")).or_else(|| {
        let id = tree
            .attribute(&format!("{}/wwid", device.base))
            .or_else(|| tree.attribute_if_shown(&format!("{}/device/wwid", device.base)))?;
        // Without a name of its own a device gets one made of vendor and model (`t10.`, `nvme.`): no world wide name.
        match id.strip_prefix("naa.") {
            Some(hex) => Some(format!("0x{hex}")),
            None => id.starts_with("eui.").then_some(id),
        }
    })
}

fn transport(tree: &Tree, device: &Device) -> Option<String> {
    if let Some(bus) = device.record.property("ID_BUS") {
        return Some(bus.to_owned());
    }
    let name = device.kernel_name.as_str();
    if let Some((_, transport)) =
        [("vd", "virtio"), ("nvme", "nvme"), ("xvd", "xen")].into_iter().find(|(family, _)| name.starts_with(family))
    {
        return Some(transport.to_owned());
    }
    if !name.starts_with("sd") {
        return None;
    }
    let path = tree.resolve(&device.base)?;
    let goes_through = |bus: &str| {
        path.split('/').any(|part| {
            part.strip_prefix(bus).is_some_and(|number| number.bytes().next().is_some_and(|byte| byte.is_ascii_digit()))
        })
    };
    Some(
        if goes_through("usb") {
            "usb"
        } else if goes_through("ata") {
            "ata"
        } else {
            "scsi"
        }
        .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_of_a_scsi_disk_is_read_within_its_page() {
        assert_eq!(vpd_serial(b"\0\x80\0\x08  AB12  tail").as_deref(), Some("AB12"));
        assert_eq!(vpd_serial(b"\0\x80\xff\xffAB"), None);
        assert_eq!(vpd_serial(b"\0"), None);
        assert_eq!(vpd_serial(b"\0\x80\0\x02\xff\xfe"), None);
    }
}
