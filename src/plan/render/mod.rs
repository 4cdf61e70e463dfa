//! The plan as text, made to be read at three in the morning: what is lost comes first, then what stops a wrong plan.

mod disks;
mod page;
mod steps;
mod storage;

use crate::plan::Plan;
use page::{Ink, Page};

/// Renders the plan; `colour` for terminals.
pub fn text(plan: &Plan, colour: bool) -> String {
    let mut page = Page::new(colour);
    verdict(&mut page, plan);
    warnings(&mut page, &plan.warnings);
    disks::show(&mut page, plan);
    storage::show(&mut page, plan);
    steps::show(&mut page, &plan.steps);
    page.gap();
    page.line(Ink::Plain, &format!("plan digest {}", plan.digest));
    page.into_text()
}

/// How much is lost, and each thing that is.
fn verdict(page: &mut Page, plan: &Plan) {
    let mut disks: Vec<_> = plan.destroys.iter().map(|loss| loss.disk.as_str()).collect();
    disks.dedup();
    let on = if disks.len() == 1 { format!("on {}", disks[0]) } else { format!("on {} disks", disks.len()) };
    match plan.destroys.len() {
        0 => return page.line(Ink::Green, "NOTHING IS LOST"),
        1 => page.line(Ink::Red, &format!("1 THING IS LOST {on}")),
        count => page.line(Ink::Red, &format!("{count} THINGS ARE LOST {on}")),
    }
    let rows: Vec<_> = plan.destroys.iter().map(|loss| [loss.device.as_str(), loss.what.as_str()]).collect();
    page.pairs(Ink::Red, &rows);
}

fn warnings(page: &mut Page, warnings: &[String]) {
    if !warnings.is_empty() {
        page.gap();
    }
    for warning in warnings {
        page.filled(Ink::Yellow, "warning: ", warning);
    }
}
