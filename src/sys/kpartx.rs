//! Partitions of multipath maps, which kpartx maps where the kernel does not look for them.

use std::path::Path;

use super::command::{Call, Tool};
use crate::error::Result;

/// Makes the partitions of a map those of its table; takes all of them away where it has none.
///
/// # Errors
/// `Tool` when kpartx fails, as it does while one of them is in use.
pub fn update(map: &Path, is_empty: bool) -> Result<()> {
    Call::new(Tool::Kpartx, arguments(map, is_empty)).run().map(drop)
}

fn arguments(map: &Path, is_empty: bool) -> Vec<String> {
    let action = if is_empty { "-d" } else { "-u" };
    // -s: it ends when the device nodes are there.
    [action, "-s", "-p", "-part", &map.to_string_lossy()].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_the_layout_names_them() {
        let map = Path::new("/dev/mapper/mpatha");
        assert_eq!(arguments(map, false).join(" "), "-u -s -p -part /dev/mapper/mpatha");
        assert_eq!(arguments(map, true).join(" "), "-d -s -p -part /dev/mapper/mpatha");
    }
}
