//! What a layout does not depend on.

use bedplate::layout;
use proptest::prelude::*;

use super::config;
use super::support::generate::{cases, read};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn order_of_the_machines_disks_changes_nothing(case in cases(), keys in prop::collection::vec(any::<u32>(), 60)) {
        let request = read(&case.fresh);
        let expected = layout::resolve(&request, &case.machine, None).unwrap().layout;
        let mut machine = case.machine.clone();
        let mut order: Vec<_> = machine.disks.drain(..).enumerate().collect();
        order.sort_by_key(|(at, _)| keys[at % keys.len()]);
        machine.disks = order.into_iter().map(|(_, disk)| disk).collect();
        machine.arrays.reverse();
        machine.volume_groups.reverse();
        prop_assert_eq!(layout::resolve(&request, &machine, None).unwrap().layout, expected);
    }

    #[test]
    fn foreign_disk_changes_nothing(case in cases(), place in any::<prop::sample::Index>()) {
        let request = read(&case.fresh);
        let expected = layout::resolve(&request, &case.machine, None).unwrap().layout;
        let mut machine = case.machine.clone();
        let mut foreign = machine.disks[0].clone();
        foreign.name = "sdforeign".to_owned();
        foreign.device = "/dev/sdforeign".to_owned();
        let links = ["/dev/disk/by-id/ata-NAMED", "/dev/disk/by-path/pci-0000:00:1f.2-ata-"];
        foreign.links = links.map(str::to_owned).to_vec();
        foreign.uses.clear();
        machine.disks.insert(place.index(machine.disks.len() + 1), foreign);
        prop_assert_eq!(layout::resolve(&request, &machine, None).unwrap().layout, expected);
    }
}
