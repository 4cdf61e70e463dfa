//! What lies on several disks or in a group: arrays, volume groups, file systems, and the images that come onto them.

use super::disks::told;
use super::page::{Ink, Page, width};
use crate::layout::{FileSystem, Layout, Md, Vg};
use crate::plan::{Plan, Step};
use crate::request::shown_uri;

/// Arrays, volume groups, images.
pub fn show(page: &mut Page, plan: &Plan) {
    let layout = &plan.layout;
    if !layout.mds.is_empty() || !layout.vgs.is_empty() {
        page.gap();
    }
    for array in &layout.mds {
        show_array(page, array, plan);
    }
    for group in &layout.vgs {
        show_group(page, group, plan);
    }
    images(page, plan);
}

fn show_array(page: &mut Page, array: &Md, plan: &Plan) {
    let is_kept =
        plan.steps.iter().any(|step| matches!(step, Step::AssembleArray { device, .. } if *device == array.name));
    let spares = match array.spares.as_slice() {
        [] => String::new(),
        spares => format!(", spares {}", spares.join(", ")),
    };
    let content =
        file_system(&plan.layout, &array.name).map_or_else(String::new, |it| format!("{}: ", purpose(it, is_kept)));
    let words = format!("{content}{} of {}{spares}", array.level, array.devices.join(", "));
    page.filled(Ink::Plain, &format!("{} array {}  ", state(is_kept), array.name), &words);
}

fn show_group(page: &mut Page, group: &Vg, plan: &Plan) {
    let is_kept =
        plan.steps.iter().any(|step| matches!(step, Step::ActivateVolumeGroup { name } if *name == group.name));
    let first = format!("{} VG {} on ", state(is_kept), group.name);
    page.filled(Ink::Plain, &first, &group.pvs.join(", "));
    let rows: Vec<_> = plan
        .layout
        .lvs
        .iter()
        .filter(|lv| lv.vg == group.name)
        .map(|lv| {
            let content = file_system(&plan.layout, &lv.device).map_or_else(String::new, |it| purpose(it, is_kept));
            (lv.name.as_str(), told(lv.size_mib), content)
        })
        .collect();
    let names = rows.iter().map(|row| width(row.0)).max().unwrap_or(0);
    let sizes = rows.iter().map(|row| width(&row.1)).max().unwrap_or(0);
    for (name, size, content) in &rows {
        page.line(Ink::Plain, &format!("  {name:<names$}  {size:<sizes$}  {content}"));
    }
}

fn state(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "new" }
}

fn file_system<'a>(layout: &'a Layout, device: &str) -> Option<&'a FileSystem> {
    layout.filesystems.iter().find(|it| it.device == device)
}

/// A file system, where it is mounted, and where it comes from; what is new on something new need not say so.
fn purpose(it: &FileSystem, is_on_kept: bool) -> String {
    let place = match it.mount.as_deref() {
        Some("swap") => String::new(),
        Some(path) => format!(" on {path}"),
        None => ", not mounted".to_owned(),
    };
    let origin = if it.keep_data {
        ", kept"
    } else if it.from_image {
        ", from image"
    } else if is_on_kept {
        ", made anew"
    } else {
        ""
    };
    format!("{}{place}{origin}", it.kind)
}

fn images(page: &mut Page, plan: &Plan) {
    let mut is_first = true;
    for step in &plan.steps {
        let Step::WriteImage { source, target, size, digests, container_digests, .. } = step else { continue };
        if std::mem::take(&mut is_first) {
            page.gap();
        }
        page.line(Ink::Plain, &format!("image {}", shown_uri(source)));
        let size = size.map_or_else(|| "size not known".to_owned(), |size| size.to_string());
        let first = format!("  to {target}, {size}, ");
        let mut algorithms: Vec<_> = digests.iter().chain(container_digests).map(|it| algorithm(it)).collect();
        algorithms.dedup();
        match algorithms.as_slice() {
            [] => page.line_of(&[(Ink::Plain, &first), (Ink::Yellow, "NOT PROVED: no digest is known")]),
            some => page.line(Ink::Plain, &format!("{first}proved by {}", some.join(" and "))),
        }
    }
}

/// `md5` of `md5:d41d..`.
fn algorithm(digest: &str) -> &str {
    digest.split(':').next().unwrap_or_default()
}
