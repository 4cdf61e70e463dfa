//! What is there, as sfdisk, blkid, lvm and mdadm see it, in the words of [`super::required`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::required::State;
use super::rig::Rig;

/// Starts what lies on the disks, and tells everything about it. `$@` are the slots and links of the disks.
const LOOK: &str = r#"
mdadm --assemble --scan >/dev/null 2>&1; lvm vgchange --activate y >/dev/null 2>&1; udevadm settle
while [ $# -gt 0 ]; do echo "== disk $1 $(readlink -f $2)"; sfdisk --json $(readlink -f $2) 2>/dev/null; shift 2; done
echo; echo '== lvs'; lvm lvs --reportformat json --units m --options vg_name,lv_name,lv_size 2>/dev/null
echo; echo '== pvs'; lvm pvs --reportformat json --options pv_name,vg_name 2>/dev/null; echo
for array in $(sed -n 's/^\(md[^ ]*\) .*/\1/p' /proc/mdstat 2>/dev/null); do echo "== array $array"; mdadm --detail --export /dev/$array; done
for node in $(lsblk --noheadings --list --paths --output NAME | sort -u); do echo "== node $(readlink -f $node) $node"; blkid --probe --output export $node; done
:"#;

/// Ends the use of everything.
pub const CLOSE: &str =
    "lvm vgchange --activate n >/dev/null 2>&1; mdadm --stop --scan >/dev/null 2>&1; udevadm settle";

/// The state of these slots.
#[track_caller]
pub fn seen(rig: &Rig<'_>, slots: &BTreeSet<String>) -> State {
    let links = slots.iter().map(|slot| format!(" {slot} /dev/{}", rig.slots()[slot.as_str()].by_id()));
    let words = rig.root().run(&format!("set --{}\n{LOOK}", links.collect::<String>()), 60).ok();
    let mut reader = Reader::default();
    let mut sections: Vec<(&str, String)> = Vec::new();
    for line in words.lines() {
        match (line.strip_prefix("== "), sections.last_mut()) {
            (Some(head), _) => sections.push((head, String::new())),
            (None, Some((_, body))) => body.extend([line, "\n"]),
            (None, None) => panic!("{line:?} comes before the first section"),
        }
    }
    for (head, body) in &sections {
        reader.section(head, body);
    }
    reader.state(slots)
}

#[derive(Default)]
struct Reader {
    /// Kernel's node to our name.
    names: BTreeMap<String, String>,
    arrays: Vec<(String, String, Vec<String>)>,
    tables: Vec<String>,
    volumes: Vec<Value>,
    physical: Vec<Value>,
    contents: Vec<(String, String, BTreeMap<String, String>)>,
}

/// `NAME=VALUE` lines.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn rows(report: &Value, key: &str) -> Vec<Value> {
    report["report"][0][key].as_array().cloned().unwrap_or_default()
}

impl Reader {
    fn section(&mut self, head: &str, body: &str) {
        let words: Vec<_> = head.split_whitespace().collect();
        match words[..] {
            ["disk", slot, device] => self.table(slot, device, &json(body)),
            ["lvs"] => self.volumes = rows(&json(body), "lv"),
            ["pvs"] => self.physical = rows(&json(body), "pv"),
            ["array", name] => {
                let facts = pairs(body);
                let members = facts.iter().filter(|(key, _)| key.starts_with("MD_DEVICE_") && key.ends_with("_DEV"));
                let members = members.map(|(_, device)| device.clone()).collect();
                let level = facts.get("MD_LEVEL").cloned().unwrap_or_default();
                self.arrays.push((format!("/dev/{name}"), level, members));
            }
            ["node", real, shown] => self.contents.push((real.to_owned(), shown.to_owned(), pairs(body))),
            _ => panic!("{head:?} is no section"),
        }
    }

    fn table(&mut self, slot: &str, device: &str, seen: &Value) {
        self.names.insert(device.to_owned(), slot.to_owned());
        let table = &seen["partitiontable"];
        if table.is_object() && table["label"] != "gpt" {
            self.tables.push(format!("table {slot} is {}", text(&table["label"])));
        }
        let sector = table["sectorsize"].as_u64().unwrap_or(512);
        for partition in table["partitions"].as_array().map_or(&[][..], Vec::as_slice) {
            let node = text(&partition["node"]);
            let digits = node.len() - node.trim_end_matches(|digit: char| digit.is_ascii_digit()).len();
            let number = &node[node.len() - digits..];
            self.names.insert(node.to_owned(), format!("{slot}.{number}"));
            let mib = |key: &str| {
                let bytes = partition[key].as_u64().unwrap_or(0) * sector;
                if bytes.is_multiple_of(1 << 20) { (bytes >> 20).to_string() } else { format!("{bytes}B") }
            };
            let kind = text(&partition["type"]).to_lowercase();
            self.tables.push(format!("table {slot} {number} {}+{} {kind}", mib("start"), mib("size")));
        }
    }

    /// Everything that lies on these slots.
    fn state(mut self, slots: &BTreeSet<String>) -> State {
        let mut state: State = std::mem::take(&mut self.tables).into_iter().collect();
        for (node, level, members) in std::mem::take(&mut self.arrays) {
            let mut members: Vec<_> = members.iter().map(|it| self.name(it)).collect();
            members.sort_by_key(|name| place(name));
            if members.iter().any(|name| slots.contains(slot_of(name))) {
                state.insert(format!("md {level} {}", members.join(" ")));
            }
            self.names.insert(node, format!("md({})", members.join(",")));
        }
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &self.physical {
            groups.entry(text(&row["vg_name"]).to_owned()).or_default().push(self.name(text(&row["pv_name"])));
        }
        groups.retain(|_, members| members.iter().any(|name| slots.contains(slot_of(name))));
        for (group, mut members) in groups.clone() {
            members.sort_by_key(|name| place(name));
            state.insert(format!("vg {group} on {}", members.join(" ")));
        }
        for row in self.volumes.iter().filter(|row| groups.contains_key(text(&row["vg_name"]))) {
            let (group, volume, size) = (text(&row["vg_name"]), text(&row["lv_name"]), text(&row["lv_size"]));
            let size = size.trim_end_matches('m').trim_end_matches("00").trim_end_matches('.');
            state.insert(format!("lv {group}/{volume} {size}"));
        }
        state.extend(
            self.contents.iter().filter_map(|(real, shown, facts)| self.content(real, shown, facts, slots, &groups)),
        );
        state
    }

    fn name(&self, node: &str) -> String {
        self.names.get(node).cloned().unwrap_or_else(|| node.to_owned())
    }

    /// The line of a file system; nothing for members of arrays and groups, and for what lies elsewhere.
    fn content(
        &self,
        real: &str,
        shown: &str,
        facts: &BTreeMap<String, String>,
        slots: &BTreeSet<String>,
        groups: &BTreeMap<String, Vec<String>>,
    ) -> Option<String> {
        let kind = facts.get("TYPE").filter(|kind| !matches!(kind.as_str(), "LVM2_member" | "linux_raid_member"))?;
        let volume = shown.strip_prefix("/dev/mapper/").and_then(|name| name.split_once('-'));
        let name = match volume {
            Some((group, volume)) => groups.contains_key(group).then(|| format!("{group}/{volume}"))?,
            None => self.names.get(real).cloned()?,
        };
        let is_ours = name.contains('/') || name.starts_with("md(") || slots.contains(slot_of(&name));
        let label = facts.get("LABEL").or(facts.get("LABEL_FATBOOT")).map_or("", String::as_str);
        is_ours.then(|| format!("fs {name} {kind} {label}").trim_end().to_owned())
    }
}

fn slot_of(name: &str) -> &str {
    let first = name.trim_start_matches("md(").split([',', ')']).next().unwrap_or(name);
    first.split('.').next().unwrap_or(first)
}

/// The order in which a request lists the slots cannot be read off a disk; names are sorted on both sides.
pub fn place(name: &str) -> (String, u32) {
    let (slot, number) = name.split_once('.').unwrap_or((name, "0"));
    (slot.to_owned(), number.parse().unwrap_or(0))
}
