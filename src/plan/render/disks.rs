//! Each disk as it is now beside what it becomes.

use super::page::{Ink, Page, WIDTH, cut, width};
use crate::layout::{self, LaidDisk};
use crate::plan::{DiskBefore, DiskIdentity, Fate, Plan};
use crate::units::Mib;

/// What is there now is cut at this column at the earliest: where it is lost, it stands in full among the losses.
const OLD: usize = 40;

/// Columns of the table beside its two halves.
const FRAME: usize = 8;

/// Every disk of the plan, then those that stay as they are.
pub fn show(page: &mut Page, plan: &Plan) {
    for laid in &plan.layout.disks {
        page.gap();
        match plan.disks.iter().find(|it| it.disk.device == laid.device) {
            Some(before) => {
                heading(page, before, plan);
                table(page, &old(before, plan), &new(laid, before.fate, plan));
            }
            None => {
                page.line(Ink::Bold, &laid.device);
                table(page, &["not known".to_owned()], &new(laid, Fate::Prepared, plan));
            }
        }
    }
    if !plan.layout.untouched_disks.is_empty() {
        page.gap();
        page.filled(
            Ink::Plain,
            "by the request's names, nothing is wanted on: ",
            &plan.layout.untouched_disks.join(", "),
        );
    }
}

/// By what a person recognises the disk, and what becomes of it.
fn heading(page: &mut Page, before: &DiskBefore, plan: &Plan) {
    let is_lost = plan.destroys.iter().any(|loss| loss.disk == before.disk.device);
    let (ink, fate) = match before.fate {
        Fate::Prepared if is_lost => (Ink::Red, "erased"),
        Fate::Prepared => (Ink::Bold, "erased"),
        Fate::Kept => (Ink::Green, "kept"),
    };
    page.line_of(&[(Ink::Bold, &identity(&before.disk)), (Ink::Plain, "  "), (ink, fate)]);
}

fn identity(disk: &DiskIdentity) -> String {
    let model = disk.model.as_deref().unwrap_or("model unknown");
    let number = match (&disk.serial, &disk.wwn) {
        (Some(serial), _) => format!("serial {serial}"),
        (None, Some(wwn)) => format!("WWN {wwn}"),
        (None, None) => "serial unknown".to_owned(),
    };
    format!("{}  {model}  {number}  {}", disk.device, disk.size)
}

/// What is on the disk now, by lines.
fn old(before: &DiskBefore, plan: &Plan) -> Vec<String> {
    let device = &before.disk.device;
    let kind = before.table.as_ref().map(|kind| format!("now: {} table", kind.to_uppercase()));
    let on_all = before.content.iter().cloned();
    let on_each = before.partitions.iter().map(|it| {
        let content = if it.content.is_empty() { "nothing known".to_owned() } else { it.content.join(", ") };
        row(it.number, &it.size.to_string(), &content)
    });
    let rows: Vec<_> = on_all.chain(on_each).collect();
    if kind.is_some() || !rows.is_empty() {
        return std::iter::once(kind.unwrap_or_else(|| "now: no table".to_owned())).chain(rows).collect();
    }
    // Nothing was recognised: whether anything is there nevertheless, the losses tell.
    let told = plan.destroys.iter().find(|loss| loss.device == *device && before.fate == Fate::Prepared);
    match (told, before.fate) {
        (Some(loss), _) => vec!["now:".to_owned(), loss.what.clone()],
        (None, Fate::Prepared) => vec!["now: empty".to_owned()],
        (None, Fate::Kept) => vec!["now: not known".to_owned()],
    }
}

/// What the disk becomes, by lines. On a kept disk each partition says whether what is in it stays.
fn new(laid: &LaidDisk, fate: Fate, plan: &Plan) -> Vec<String> {
    let rows = laid.partitions.iter().map(|it| {
        let is_lost = plan.destroys.iter().any(|loss| loss.device == it.device);
        let mark = match fate {
            _ if is_kept(&it.device, plan) => "kept: ",
            Fate::Kept if is_lost => "anew: ",
            _ => "",
        };
        row(it.number, &rounded(it.size_mib), &format!("{mark}{}", it.role))
    });
    std::iter::once(format!("then: {} table", laid.label.to_uppercase())).chain(rows).collect()
}

/// Whether the data on a partition stay: its own, or those of the file system, the group or the array that it carries.
fn is_kept(device: &str, plan: &Plan) -> bool {
    let layout = &plan.layout;
    let holds = |places: &[String]| places.iter().any(|place| place == device);
    // A member of a kept array may be new, and has no flag then.
    layout::is_kept_partition(layout, device)
        || layout.filesystems.iter().any(|it| it.keep_data && it.device == device)
        || layout.vgs.iter().any(|group| holds(&group.pvs) && layout::keeps_group(layout, group))
}

fn row(number: u32, size: &str, what: &str) -> String {
    format!("{number:>3}  {size:>9}  {what}")
}

fn table(page: &mut Page, old: &[String], new: &[String]) {
    let widest = |lines: &[String]| lines.iter().map(|line| width(line)).max().unwrap_or(0);
    let column = widest(old).min(WIDTH.saturating_sub(FRAME + widest(new)).max(OLD));
    for index in 0..old.len().max(new.len()) {
        let (old, new) = (old.get(index), new.get(index));
        let (old, new) = (old.map_or_else(String::new, |line| cut(line, column)), new.map_or("", String::as_str));
        let between = if index == 0 { "->" } else { " |" };
        page.line(Ink::Plain, &format!("  {old:<column$}  {between}  {new}"));
    }
}

/// Rounded for people.
pub fn rounded(size: Mib) -> String {
    size.bytes().map_or_else(|| size.to_string(), |bytes| bytes.to_string())
}

/// Rounded for people, and the exact number where the rounding hides something.
pub fn told(size: Mib) -> String {
    const TENTHS: u64 = 10;
    let unit: u64 = match size.get() {
        0..1024 => 1,
        1024..1_048_576 => 1024,
        1_048_576.. => 1_048_576,
    };
    let is_exact = size.get().checked_mul(TENTHS).is_some_and(|tenths| tenths.is_multiple_of(unit));
    if is_exact { rounded(size) } else { format!("{} ({size})", rounded(size)) }
}
