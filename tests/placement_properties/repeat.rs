//! Planning again.

use std::collections::BTreeMap;

use bedplate::plan::{self as planning, Plan, Step};
use proptest::prelude::*;

use super::support::generate::{after, cases, read};
use super::{config, plan};

/// Every identifier that a plan gives, and to what.
fn identifiers(plan: &Plan) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for step in &plan.steps {
        match step {
            Step::WriteTable { disk, guid, partitions } => {
                found.push((guid.clone(), disk.device.clone()));
                found.extend(partitions.iter().map(|it| (it.guid.clone(), format!("partition {}", it.device))));
            }
            Step::CreateArray { uuid, .. } | Step::MakeFileSystem { uuid, .. } | Step::WriteImage { uuid, .. } => {
                found.push((uuid.clone(), step.id()));
            }
            Step::WriteConfigDrive { volume_id, .. } => {
                found.push((format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff), step.id()));
            }
            _ => {}
        }
    }
    found
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn same_seed_gives_the_same_bytes_and_another_the_same_layout(case in cases(), seed in "[a-z]{1,8}") {
        let request = read(&case.fresh);
        let of = |seed: Option<&str>| planning::make(&request, &case.machine, None, seed).unwrap();
        let bytes = |plan: &Plan| serde_json::to_vec(plan).unwrap();
        prop_assert_eq!(bytes(&of(Some(&seed))), bytes(&of(Some(&seed))));
        let derived = of(None);
        prop_assert_eq!(bytes(&derived), bytes(&of(None)));
        prop_assert_eq!(bytes(&derived), bytes(&of(Some(&derived.seed))));
        let other = of(Some(&seed));
        prop_assert_eq!(&other.layout, &derived.layout);
        prop_assert_eq!(other.steps.len(), derived.steps.len());
        let of_other: BTreeMap<_, _> = identifiers(&other).into_iter().collect();
        let shared: Vec<_> = identifiers(&derived).into_iter().filter(|(id, _)| of_other.contains_key(id)).collect();
        prop_assert_eq!(shared, []);
        prop_assert_eq!(Plan::parse(&bytes(&other)).unwrap(), other);
    }

    #[test]
    fn all_identifiers_of_a_plan_differ(case in cases()) {
        let mut users: BTreeMap<String, String> = BTreeMap::new();
        for (id, user) in identifiers(&plan(&case.fresh, &case.machine)) {
            if let Some(first) = users.insert(id.clone(), user.clone()) {
                prop_assert!(false, "{first} and {user} both get {id}");
            }
        }
    }

    #[test]
    fn planning_a_planned_machine_changes_nothing(case in cases()) {
        let first = plan(&case.fresh, &case.machine);
        let machine = after(&first, &case.machine);
        let second = plan(&case.fresh, &machine);
        prop_assert_eq!(&second.layout, &first.layout);
        prop_assert_eq!(&second.seed, &first.seed);
        prop_assert_eq!(&second.expectations, &first.expectations);
        prop_assert_eq!(made(&second), made(&first));
    }
}

/// The steps but those that end what was there before.
fn made(plan: &Plan) -> Vec<Step> {
    plan.steps.iter().filter(|it| !is_closing(it)).map(without_partitions).collect()
}

/// Ends the use of what was there before.
fn is_closing(step: &Step) -> bool {
    matches!(step, Step::DeactivateVolumeGroup { .. } | Step::StopArray { .. })
}

/// A step without what it finds on the machine.
fn without_partitions(step: &Step) -> Step {
    match step {
        Step::EraseDisk { disk, mode, .. } => Step::EraseDisk { disk: disk.clone(), mode: *mode, partitions: vec![] },
        step => step.clone(),
    }
}
