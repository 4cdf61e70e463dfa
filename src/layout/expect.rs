//! What a request says of a disk beside its links (`expect`), compared with the disk that was found.

use crate::error::{Error, Kind};
use crate::inventory::Disk;
use crate::layout::findings::Findings;
use crate::layout::matching::Match;
use crate::units::Mib;

/// Start and size of the two partitions that every table of Fuel and of this program begins with.
const OURS: [(u32, Mib, Mib); 2] = [(1, Mib::new(1), Mib::new(24)), (2, Mib::new(26), Mib::new(200))];

/// Compares one disk with its `expect` clause. What the machine does not tell counts as another value.
///
/// Faults are of kind `Hardware`, for what is on the disk `Refused`.
pub fn check(found: Match<'_, '_>, findings: &mut Findings) {
    let Match { spec, disk, .. } = found;
    let Some(expect) = &spec.expect else { return };
    let mut differs = |kind: Kind, key: &str, expected: String, present: String| {
        let place = format!("{}.expect.{key}", spec.path);
        let message = format!("{place}: expected {expected}, found {present} on {}", disk.device);
        findings.fault(Error::new(kind, message).advise("nothing was written: see which disk this is"));
    };
    let shown = |value: Option<&str>| value.unwrap_or("none").to_owned();
    if let Some(serial) = expect.serial.as_deref().filter(|serial| disk.serial.as_deref() != Some(serial)) {
        differs(
            Kind::Hardware,
            "serial",
            format!("serial number {serial:?}"),
            disk.serial.as_ref().map_or_else(|| "none".to_owned(), |it| format!("{it:?}")),
        );
    }
    let plain = |wwn: &str| wwn.trim_start_matches("0x").to_ascii_lowercase();
    if let Some(wwn) = expect.wwn.as_deref().filter(|wwn| disk.wwn.as_deref().map(plain) != Some(plain(wwn))) {
        differs(Kind::Hardware, "wwn", format!("WWN {wwn}"), shown(disk.wwn.as_deref()));
    }
    let size = disk.size.floor_mib();
    if let Some(least) = expect.min_size.filter(|least| size < *least) {
        differs(Kind::Hardware, "min_size", format!("at least {least}"), size.to_string());
    }
    if let Some(most) = expect.max_size.filter(|most| size > *most) {
        differs(Kind::Hardware, "max_size", format!("at most {most}"), size.to_string());
    }
    let turns = |is: bool| if is { "a rotating disk" } else { "a disk without moving parts" };
    if let Some(is_rotational) = expect.is_rotational.filter(|is| disk.is_rotational != Some(*is)) {
        let present = disk.is_rotational.map_or("one that does not tell", turns);
        differs(Kind::Hardware, "rotational", turns(is_rotational).to_owned(), present.to_owned());
    }
    if expect.is_empty_or_ours && !disk.is_empty() && !is_ours(disk) {
        differs(Kind::Refused, "content", "an empty disk or one of our own".to_owned(), foreign_content(disk));
    }
}

/// Whether its table begins as every table of Fuel and of this program does; what lies behind is what was done with it.
fn is_ours(disk: &Disk) -> bool {
    disk.table.as_deref() == Some("gpt")
        && OURS.iter().all(|&(number, start, size)| {
            disk.partitions
                .iter()
                .any(|it| it.number == number && Some(it.start) == start.bytes() && Some(it.size) == size.bytes())
        })
}

fn foreign_content(disk: &Disk) -> String {
    let table = disk.table.as_ref().map(|table| format!("a table {table} with {} partitions", disk.partitions.len()));
    let kinds = disk.signatures.iter().map(|it| format!("{} on {}", it.kind, it.device));
    let words: Vec<_> = table.into_iter().chain(kinds).collect();
    match disk.has_data {
        _ if !words.is_empty() => words.join(", "),
        Some(_) => "data without a known signature".to_owned(),
        None => "nobody knows what".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Partition;
    use crate::request::{DiskExpect, DiskSpec};
    use crate::units::Bytes;

    fn disk() -> Disk {
        Disk {
            serial: Some("S1".to_owned()),
            wwn: Some("0x5000C500AA".to_owned()),
            is_rotational: Some(true),
            has_data: Some(false),
            ..crate::inventory::testing::disk("/dev/sda", Bytes::mib(1024))
        }
    }

    fn faults(disk: &Disk, expect: DiskExpect) -> Vec<String> {
        let spec = DiskSpec {
            path: "$.d".to_owned(),
            name: "sda".to_owned(),
            id: "sda".to_owned(),
            extra: Vec::new(),
            size: Mib::new(1024),
            is_bootable: false,
            expect: Some(expect),
            erase: None,
            volumes: Vec::new(),
        };
        let mut findings = Findings::default();
        check(Match { spec: &spec, disk, is_by_name: false }, &mut findings);
        findings.stop().err().map(|error| error.to_string()).into_iter().collect()
    }

    #[test]
    fn a_disk_as_expected_has_no_fault() {
        let expect = DiskExpect {
            serial: Some("S1".to_owned()),
            wwn: Some("5000c500aa".to_owned()),
            min_size: Some(Mib::new(1024)),
            max_size: Some(Mib::new(1024)),
            is_rotational: Some(true),
            is_empty_or_ours: true,
        };
        assert_eq!(faults(&disk(), expect), [""; 0]);
    }

    #[test]
    fn every_difference_is_told_with_its_place() {
        let expect = DiskExpect {
            serial: Some("S2".to_owned()),
            wwn: Some("0x5".to_owned()),
            min_size: Some(Mib::new(2048)),
            max_size: Some(Mib::new(512)),
            is_rotational: Some(false),
            is_empty_or_ours: false,
        };
        assert_eq!(
            faults(&disk(), expect),
            ["5 faults: $.d.expect.serial: expected serial number \"S2\", found \"S1\" on /dev/sda; \
              $.d.expect.wwn: expected WWN 0x5, found 0x5000C500AA on /dev/sda; \
              $.d.expect.min_size: expected at least 2048 MiB, found 1024 MiB on /dev/sda; \
              $.d.expect.max_size: expected at most 512 MiB, found 1024 MiB on /dev/sda; \
              $.d.expect.rotational: expected a disk without moving parts, found a rotating disk on /dev/sda"]
        );
    }

    #[test]
    fn only_empty_disks_and_our_own_pass_as_such() {
        let expect = || DiskExpect { is_empty_or_ours: true, ..DiskExpect::default() };
        let mut used = disk();
        used.has_data = Some(true);
        let told = "$.d.expect.content: expected an empty disk or one of our own, found ";
        assert_eq!(faults(&used, expect()), [format!("{told}data without a known signature on /dev/sda")]);
        used.has_data = None;
        assert_eq!(faults(&used, expect()), [format!("{told}nobody knows what on /dev/sda")]);
        used.table = Some("gpt".to_owned());
        let partition = |number, start, size| Partition {
            number,
            device: format!("/dev/sda{number}"),
            start: Bytes::mib(start),
            size: Bytes::mib(size),
        };
        used.partitions = vec![partition(1, 1, 512)];
        assert_eq!(faults(&used, expect()), [format!("{told}a table gpt with 1 partitions on /dev/sda")]);
        used.partitions = vec![partition(1, 1, 24), partition(2, 26, 200), partition(3, 227, 100)];
        assert_eq!(faults(&used, expect()), [""; 0]);
    }
}
