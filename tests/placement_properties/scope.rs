//! What a plan mentions.

use std::collections::BTreeSet;

use bedplate::error::Kind;
use bedplate::layout;
use bedplate::plan::Plan;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::generate::{Case, cases, is_touched, read};
use super::{config, placed, plan};

/// Device nodes in any text of a value.
fn devices(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let words = text.split(|letter: char| letter.is_whitespace() || ",()".contains(letter));
            found.extend(words.filter(|word| word.starts_with("/dev/")).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| devices(item, found)),
        Value::Object(object) => object.values().for_each(|item| devices(item, found)),
        _ => {}
    }
}

/// What the plan may name: the disks that it prepares, what is on them, and what it makes there.
fn allowed(case: &Case, plan: &Plan) -> BTreeSet<String> {
    let laid = plan.layout.disks.iter();
    let mut allowed: BTreeSet<String> = laid
        .flat_map(|disk| std::iter::once(disk.device.clone()).chain(disk.partitions.iter().map(|it| it.device.clone())))
        .collect();
    let before = case.machine.disks.iter().filter(|disk| plan.layout.disks.iter().any(|it| it.device == disk.device));
    allowed.extend(before.flat_map(|disk| disk.partitions.iter().map(|it| it.device.clone())));
    let arrays = case.machine.arrays.iter().filter(|it| it.members.iter().all(|member| allowed.contains(member)));
    let arrays: Vec<_> = arrays.map(|it| it.device.clone()).collect();
    allowed.extend(arrays);
    allowed.extend(plan.layout.mds.iter().map(|it| it.name.clone()));
    allowed.extend(plan.layout.lvs.iter().map(|it| it.device.clone()));
    allowed
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_outside_the_prepared_disks_is_mentioned(case in cases()) {
        let plan = plan(&case.fresh, &case.machine);
        let mut mentioned = BTreeSet::new();
        let parts = json!([plan.disks, plan.layout, plan.steps, plan.destroys, plan.expectations]);
        devices(&parts, &mut mentioned);
        let allowed = allowed(&case, &plan);
        let beyond: Vec<_> = mentioned.iter().filter(|device| !allowed.contains(*device)).collect();
        // fstab of the layout has `UUID=<uuid of /dev/sda3>`.
        prop_assert!(beyond.iter().all(|device| allowed.contains(device.trim_end_matches('>'))), "{:?}", beyond);
        let text = parts.to_string();
        prop_assert!(!text.contains("foreign") && !text.contains("FOREIGN") && !text.contains("apart"), "{}", text);
        let untouched: Vec<_> = placed::disks(&case.fresh).into_iter().filter(|disk| !is_touched(disk)).collect();
        prop_assert_eq!(untouched.len(), plan.layout.untouched_disks.len());
    }

    #[test]
    fn two_entries_never_mean_one_disk(case in cases()) {
        let layout = plan(&case.fresh, &case.machine).layout;
        let devices: BTreeSet<_> = layout.disks.iter().map(|disk| &disk.device).collect();
        prop_assert_eq!(devices.len(), layout.disks.len());
        let disks = placed::disks(&case.fresh);
        let has_link = |it: &Value| it["extra"][0].as_str().is_some_and(|link| link.contains("NAMED"));
        let Some(known) = disks.iter().find(|it| is_touched(it) && has_link(it)) else { return Ok(()) };
        let mut document = case.fresh.clone();
        let mut other = (*known).clone();
        other["name"] = json!("sdother");
        // With the same place as well the document contradicts itself without any machine.
        other["id"] = json!("disk/by-path/other");
        other["bootable"] = json!(false);
        other["volumes"] = json!([{ "type": "partition", "size": 1, "mount": "/other", "file_system": "ext2" }]);
        document["ks_meta"]["pm_data"]["ks_spaces"].as_array_mut().unwrap().push(other);
        let error = layout::resolve(&read(&document), &case.machine, None).unwrap_err();
        prop_assert_eq!(error.kind(), Kind::Hardware);
        let told = error.to_string();
        prop_assert!(told.contains("sdother") && told.contains(" are the same /dev/"), "{}", told);
    }
}
