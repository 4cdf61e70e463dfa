//! md arrays as sysfs shows them.

use super::Array;
use super::block::{Device, Devices};
use super::disks::is_firmware_array;
use super::tree::Tree;

/// Arrays, active or inactive, in natural order.
pub(super) fn arrays(tree: &Tree, devices: &Devices) -> Vec<Array> {
    let is_array = |device: &&Device| device.partition.is_none() && tree.exists(&format!("{}/md", device.base));
    let mut arrays: Vec<_> = devices.all().filter(is_array).map(|device| array(tree, devices, device)).collect();
    arrays.sort_by_cached_key(|array| super::natural_key(&array.device));
    arrays
}

fn array(tree: &Tree, devices: &Devices, device: &Device) -> Array {
    let attribute = |name: &str| tree.attribute(&format!("{}/md/{name}", device.base));
    let members: Vec<_> = tree
        .names(&format!("{}/slaves", device.base))
        .into_iter()
        .map(|name| devices.get(&name).map_or_else(|| format!("/dev/{}", name.replace('!', "/")), Device::node))
        .collect();
    let member_uuid = || {
        let member = devices.at(members.first()?)?;
        (member.record.property("ID_FS_TYPE") == Some("linux_raid_member"))
            .then(|| member.record.property("ID_FS_UUID").and_then(mdadm_form))?
    };
    let is_firmware = is_firmware_array(tree, device);
    Array {
        device: device.node(),
        level: attribute("level").or_else(|| is_firmware.then(|| "container".to_owned())),
        uuid: device.record.property("MD_UUID").map(str::to_owned).or_else(member_uuid),
        is_active: attribute("array_state").is_some_and(|state| state != "clear" && state != "inactive"),
        members,
        is_firmware,
    }
}

/// Four groups of eight digits with colons, as mdadm writes what libblkid writes with hyphens.
fn mdadm_form(uuid: &str) -> Option<String> {
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    (digits.len() == 32).then(|| [&digits[..8], &digits[8..16], &digits[16..24], &digits[24..]].join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_given_in_the_form_of_mdadm() {
        let expected = Some("0bf1a2c3:d4e5f607:18293a4b:5c6d7e8f");
        assert_eq!(mdadm_form("0bf1a2c3-d4e5-f607-1829-3a4b5c6d7e8f").as_deref(), expected);
        assert_eq!(mdadm_form("0bf1"), None);
    }
}
