//! What lies on several disks or in a group: arrays, volume groups, file systems, and the images that come onto them.

use std::collections::BTreeSet;

use super::disks::told;
use super::page::{Ink, Page, width};
use crate::layout::{self, FileSystem, Layout, Lv, Md, Vg};
use crate::plan::{Plan, Step};
use crate::request::file_systems::ARCHIVE;
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

/// What becomes of an array or a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    New,
    /// It is not made anew, but nothing in it is kept.
    Stays,
    Kept,
}

impl Fate {
    fn of(stays: bool, is_kept: bool) -> Self {
        match (stays, is_kept) {
            (false, _) => Self::New,
            (true, false) => Self::Stays,
            (true, true) => Self::Kept,
        }
    }

    /// `kept VG os`, `VG os stays`.
    fn of_what(self, what: &str) -> String {
        match self {
            Self::New => format!("new {what}"),
            Self::Stays => format!("{what} stays"),
            Self::Kept => format!("kept {what}"),
        }
    }
}

fn show_array(page: &mut Page, array: &Md, plan: &Plan) {
    let stays =
        plan.steps.iter().any(|step| matches!(step, Step::AssembleArray { device, .. } if *device == array.name));
    let fate = Fate::of(stays, layout::keeps_array(&plan.layout, array));
    let spares = match array.spares.as_slice() {
        [] => String::new(),
        spares => format!(", spares {}", spares.join(", ")),
    };
    let content =
        file_system(&plan.layout, &array.name).map_or_else(String::new, |it| format!("{}: ", purpose(it, stays)));
    let words = format!("{content}{} of {}{spares}", array.level, array.devices.join(", "));
    page.filled(Ink::Plain, &format!("{}  ", fate.of_what(&format!("array {}", array.name))), &words);
}

fn show_group(page: &mut Page, group: &Vg, plan: &Plan) {
    let layout = &plan.layout;
    let stays = plan.steps.iter().any(|step| matches!(step, Step::ActivateVolumeGroup { name } if *name == group.name));
    let fate = Fate::of(stays, layout::keeps_group(layout, group));
    let volumes = || layout.lvs.iter().filter(|lv| lv.vg == group.name);
    let first = format!("{} on ", fate.of_what(&format!("VG {}", group.name)));
    let is_renewed = |lv: &&Lv| file_system(layout, &lv.device).is_some_and(|it| !it.keep_data);
    let renewed: Vec<_> = volumes().filter(is_renewed).map(|lv| lv.name.as_str()).collect();
    let places = group.pvs.join(", ");
    match fate {
        Fate::Stays if !renewed.is_empty() => {
            page.filled(Ink::Plain, &first, &format!("{places}; made anew in it: {}", renewed.join(", ")));
        }
        _ => page.filled(Ink::Plain, &first, &places),
    }
    let rows: Vec<_> = volumes()
        .map(|lv| {
            let content = file_system(layout, &lv.device).map_or_else(String::new, |it| purpose(it, stays));
            (lv.name.as_str(), told(lv.size_mib), content)
        })
        .collect();
    let names = rows.iter().map(|row| width(row.0)).max().unwrap_or(0);
    let sizes = rows.iter().map(|row| width(&row.1)).max().unwrap_or(0);
    for (name, size, content) in &rows {
        page.line(Ink::Plain, &format!("  {name:<names$}  {size:<sizes$}  {content}"));
    }
}

fn file_system<'a>(layout: &'a Layout, device: &str) -> Option<&'a FileSystem> {
    layout.filesystems.iter().find(|it| it.device == device)
}

/// A file system, where it is mounted, and where it comes from; what is new on something new need not say so.
fn purpose(it: &FileSystem, is_on_old: bool) -> String {
    let place = match it.mount.as_deref() {
        Some("swap") => String::new(),
        Some(path) => format!(" on {path}"),
        None => ", not mounted".to_owned(),
    };
    let origin = if it.keep_data {
        ", kept"
    } else if it.from_image {
        ", from image"
    } else if is_on_old {
        ", made anew"
    } else {
        ""
    };
    format!("{}{place}{origin}", it.kind)
}

fn images(page: &mut Page, plan: &Plan) {
    let mut is_first = true;
    for step in &plan.steps {
        let Step::WriteImage {
            source, target, format, size, digests, container_digests, mirrors, minisign_key, ..
        } = step
        else {
            continue;
        };
        if std::mem::take(&mut is_first) {
            page.gap();
        }
        let word = if format == ARCHIVE { "archive" } else { "image" };
        page.line(Ink::Plain, &format!("{word} {}", shown_uri(source)));
        for mirror in mirrors {
            page.line(Ink::Plain, &format!("  or from {}", shown_uri(mirror)));
        }
        let size = size.map_or_else(|| "size not known".to_owned(), |size| size.to_string());
        let first = format!("  to {target}, {size}, ");
        let mut algorithms: Vec<_> = digests.iter().chain(container_digests).map(|it| algorithm(it)).collect();
        algorithms.extend(minisign_key.as_ref().map(|_| "minisign"));
        let mut seen = BTreeSet::new();
        algorithms.retain(|it| seen.insert(*it));
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
