//! What is made of partitions: physical volumes, groups, arrays, file systems, journals.

use bedplate::error::Kind;
use bedplate::layout;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::placed::{Placed, placed};
use super::support::generate::{cases, is_wanted, read, spaces};
use super::{config, plan};

/// Extents that LVM makes of a physical volume: data begin 1 MiB after the first copy of the metadata, the second copy
/// ends it.
fn extents(it: &Placed<'_>) -> u64 {
    let copy = (it.volume["lvm_meta_size"].as_u64().unwrap() - 8) / 2;
    (it.size - 1 - 2 * copy) / 4
}

/// Groups of a document and the volumes in them that are wanted.
fn groups(document: &Value) -> impl Iterator<Item = (&str, Vec<&Value>)> {
    let groups = spaces(document).as_array().unwrap().iter().filter(|it| it["type"] == "vg");
    groups.map(|it| {
        (it["id"].as_str().unwrap(), it["volumes"].as_array().unwrap().iter().filter(|it| is_wanted(it)).collect())
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn groups_lie_on_their_physical_volumes_and_hold_their_volumes(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let pairs = placed(&case.fresh, &layout);
        for (name, volumes) in groups(&case.fresh) {
            let physical: Vec<_> = pairs.iter().filter(|it| it.volume["vg"] == name).collect();
            let group = layout.vgs.iter().find(|it| it.name == name);
            let devices: Vec<_> = physical.iter().map(|it| it.partition.device.clone()).collect();
            prop_assert_eq!(group.map(|it| it.pvs.clone()).unwrap_or_default(), devices);
            let there: u64 = physical.iter().map(|it| extents(it)).sum();
            let made: Vec<_> = layout.lvs.iter().filter(|it| it.vg == name).collect();
            let sizes: Vec<_> = made.iter().map(|it| (it.name.as_str(), it.size_mib.get())).collect();
            let wanted: Vec<_> =
                volumes.iter().map(|it| (it["name"].as_str().unwrap(), it["size"].as_u64().unwrap())).collect();
            prop_assert_eq!(&sizes, &wanted);
            let needed: u64 = sizes.iter().map(|(_, size)| size.div_ceil(4)).sum();
            prop_assert!(needed <= there, "{} needs {needed} extents of {there}", name);
        }
    }

    #[test]
    fn group_that_lacks_one_extent_is_refused(case in cases(), which in any::<prop::sample::Index>()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let pairs = placed(&case.fresh, &layout);
        let filled: Vec<_> = groups(&case.fresh).filter(|(_, volumes)| !volumes.is_empty()).collect();
        prop_assume!(!filled.is_empty());
        let (name, volumes) = which.get(&filled);
        let there: u64 = pairs.iter().filter(|it| it.volume["vg"] == *name).map(extents).sum();
        let (last, others) = volumes.split_last().unwrap();
        let others: u64 = others.iter().map(|it| it["size"].as_u64().unwrap().div_ceil(4)).sum();
        // A root is not larger than 16 TiB.
        prop_assume!((there - others) * 4 < 16 << 20);
        let resize = |size: u64| {
            let mut document = case.fresh.clone();
            let spaces = document["ks_meta"]["pm_data"]["ks_spaces"].as_array_mut().unwrap();
            let group = spaces.iter_mut().find(|it| it["id"] == *name).unwrap();
            let volumes = group["volumes"].as_array_mut().unwrap();
            volumes.iter_mut().find(|it| it["name"] == last["name"]).unwrap()["size"] = json!(size);
            layout::resolve(&read(&document), &case.machine, None).map(|it| it.layout.lvs.len())
        };
        prop_assert_eq!(resize((there - others) * 4).unwrap(), layout.lvs.len());
        let error = resize((there - others) * 4 + 1).unwrap_err();
        prop_assert_eq!(error.kind(), Kind::Request);
        let told = error.to_string();
        let expected = format!("need {} extents of 4 MiB, its physical volumes have {there}", there + 1);
        prop_assert!(told.contains(&format!("volume group {name} is too small")), "{}", told);
        prop_assert!(told.contains(&expected), "{}", told);
    }

    #[test]
    fn arrays_have_one_member_for_each_volume_with_their_mount_point(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let pairs = placed(&case.fresh, &layout);
        let is_member = |it: &&Placed<'_>| {
            let mount = it.volume["mount"].as_str().unwrap_or("none");
            it.volume["type"] == "raid" && mount != "none" && mount != "/boot"
        };
        let mut expected: Vec<(&str, Vec<&str>)> = Vec::new();
        for it in pairs.iter().filter(is_member) {
            let mount = it.volume["mount"].as_str().unwrap();
            match expected.iter_mut().find(|(known, _)| *known == mount) {
                Some((_, members)) => members.push(&it.partition.device),
                None => expected.push((mount, vec![&it.partition.device])),
            }
        }
        let made: Vec<_> = layout.mds.iter()
            .map(|md| {
                let on = layout.filesystems.iter().find(|it| it.device == md.name).unwrap();
                (on.mount.as_deref().unwrap(), md.devices.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        prop_assert_eq!(made, expected);
    }

    #[test]
    fn each_osd_has_a_journal_where_journal_volumes_are_partitions(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let pairs = placed(&case.fresh, &layout);
        let is_journal = |it: &&Value| it["name"] == "cephjournal" && is_wanted(it);
        let disks = spaces(&case.fresh).as_array().unwrap().iter().filter(|it| it["type"] == "disk");
        let volumes: Vec<_> = disks.flat_map(|it| it["volumes"].as_array().unwrap()).filter(is_journal).collect();
        let osds = pairs.iter().filter(|it| it.volume["name"] == "ceph").count();
        let journals = layout.disks.iter().flat_map(|it| &it.partitions).filter(|it| it.role == "ceph journal").count();
        if !volumes.is_empty() && volumes.iter().all(|it| it["type"] == "partition") {
            prop_assert_eq!(journals, osds);
        }
        prop_assert!(journals <= osds);
    }
}
