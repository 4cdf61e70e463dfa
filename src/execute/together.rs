//! Steps at the same time, each on its own disk, partition or volume.

use std::collections::BTreeSet;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::caused_by_signal;
use crate::error::{Error, Result};
use crate::plan::Step;
use crate::report::{Reporter, StepReport};
use crate::sys::signal;

/// Disks that are worked on at once. They mostly wait for their medium; more would only fight for one bus.
const THREADS: usize = 16;

/// How many of the first steps have nothing to do with each other: steps of one kind, on different devices each.
pub fn count(steps: &[Step]) -> usize {
    let Some(first) = steps.first() else { return 0 };
    let is_alone = !matches!(
        first,
        Step::EraseDisk { .. } | Step::ErasePartition { .. } | Step::WriteTable { .. } | Step::MakeFileSystem { .. }
    );
    if is_alone {
        return 1;
    }
    let mut devices = BTreeSet::new();
    let is_same = |step: &&Step| mem::discriminant(*step) == mem::discriminant(first);
    steps.iter().take_while(is_same).take_while(|step| devices.insert(step.id())).count()
}

/// What became of steps that were carried out together.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that were begun.
    pub begun: Vec<String>,
    /// Those that ended well, in the plan's order.
    pub done: Vec<StepReport>,
    /// The first that failed.
    pub failed: Option<(String, Error)>,
}

/// Carries out all steps, on a bounded number of threads. Once one has failed no other is begun.
pub fn carry_out(steps: &[Step], reporter: &Reporter, act: impl Fn(&Step) -> Result<()> + Sync) -> Outcome {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let outcome = Mutex::new((Outcome::default(), Vec::new()));
    let lock = || outcome.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while !has_failed.load(Ordering::SeqCst) {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(step) = steps.get(index) else { return };
            let (id, begun) = (step.id(), Instant::now());
            lock().0.begun.push(id.clone());
            reporter.step_started(&id, &step.to_string());
            match signal::check().and_then(|()| act(step)) {
                Ok(()) => {
                    reporter.step_finished(&id, None);
                    let report = StepReport { step: id, seconds: begun.elapsed().as_secs_f64(), bytes: None };
                    lock().1.push((index, report));
                }
                Err(error) => {
                    has_failed.store(true, Ordering::SeqCst);
                    let error = caused_by_signal(error);
                    reporter.step_failed(&id, &error);
                    // The first stands.
                    lock().0.failed.get_or_insert((id, error));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS.min(steps.len()) {
            scope.spawn(work);
        }
    });
    let (mut outcome, mut done) = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    outcome.done = done.into_iter().map(|(_, report)| report).collect();
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::error::Kind;

    fn steps(count: usize) -> Vec<Step> {
        let make = |index| Step::MakeFileSystem {
            device: format!("/dev/x{index}"),
            kind: "ext4".to_owned(),
            label: None,
            uuid: String::new(),
        };
        (0..count).map(make).collect()
    }

    #[test]
    fn steps_run_at_once_and_are_reported_in_the_plans_order() {
        let barrier = Barrier::new(THREADS);
        let outcome = carry_out(&steps(THREADS), &Reporter::silent(), |step| {
            // Nobody passes before all have begun.
            barrier.wait();
            thread::sleep(std::time::Duration::from_millis(if step.id().ends_with("x0") { 50 } else { 0 }));
            Ok(())
        });
        let done: Vec<_> = outcome.done.iter().map(|it| it.step.clone()).collect();
        assert_eq!(done, steps(THREADS).iter().map(Step::id).collect::<Vec<_>>());
        assert!(outcome.failed.is_none());
    }

    #[test]
    fn nothing_is_begun_after_a_failure_and_the_first_error_stands() {
        let barrier = Barrier::new(THREADS);
        let outcome = carry_out(&steps(3 * THREADS), &Reporter::silent(), |step| {
            barrier.wait();
            if step.id().ends_with("x3") {
                return Err(Error::new(Kind::Medium, "the first"));
            }
            thread::sleep(std::time::Duration::from_millis(200));
            Err(Error::new(Kind::Medium, "a later one"))
        });
        let (id, error) = outcome.failed.unwrap();
        assert_eq!((id.as_str(), error.to_string().as_str()), ("mkfs /dev/x3", "the first"));
        assert_eq!((outcome.begun.len(), outcome.done.len()), (THREADS, 0));
    }

    #[test]
    fn steps_of_one_kind_on_different_devices_belong_together() {
        let mut steps = steps(3);
        assert_eq!(count(&steps), 3);
        steps.insert(2, steps[1].clone());
        assert_eq!(count(&steps), 2, "two steps on one device stand in order");
        steps.insert(1, Step::UnmountTarget);
        assert_eq!((count(&steps), count(&steps[1..])), (1, 1));
        assert_eq!(count(&[]), 0);
    }
}
