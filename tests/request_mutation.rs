//! Real documents, broken in every way that a careless hand or a bad line breaks them: never a panic, never an error
//! without a JSON path, never more time than the size accounts for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by failing")]

mod support;

use std::time::{Duration, Instant};

use bedplate::error::Kind;
use bedplate::inventory::Inventory;
use bedplate::plan::{self, Plan};
use bedplate::request::{self, SideCar};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use support::planning::{self, NAMES};

/// Broken documents of each kind.
const CASES: u32 = 250;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) }
}

/// One change to a value somewhere in a document.
#[derive(Debug, Clone)]
enum Change {
    Delete,
    Replace(Value),
    /// By another value of its type, so that more than its type is judged.
    Nudge(Index),
    /// Once more in the list or object that holds it.
    Repeat,
    /// Inside so many lists.
    Wrap(usize),
    /// By what stands elsewhere.
    Move(Index),
    Rename(String),
}

const WORDS: [&str; 15] =
    ["", "none", "swap", "/", "/boot", "/proc/x", "..", "sda", "os", "-f", "ext4", "xfs", "lv", "pv", "\u{0}"];
const NUMBERS: [i64; 10] = [i64::MIN, -1, 0, 1, 2, 9, 25, 16_777_217, 1 << 44, i64::MAX];

/// Values of all types, at the edges of what a number, a size, a name or a path may be.
fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(&WORDS[..]).prop_map(Value::from),
        select(&NUMBERS[..]).prop_map(Value::from),
        Just(json!(u64::MAX)),
        Just(json!(1e308)),
        Just(json!(0.5)),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[["x"]], {"type": "disk"}])),
        "\\PC{0,50}".prop_map(Value::from),
        Just(Value::from("k".repeat(5000))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Delete),
        2 => odd_value().prop_map(Change::Replace),
        6 => any::<Index>().prop_map(Change::Nudge),
        1 => Just(Change::Repeat),
        1 => (1..80_usize).prop_map(Change::Wrap),
        1 => any::<Index>().prop_map(Change::Move),
        1 => "[a-z_/\"]{0,9}".prop_map(Change::Rename),
    ]
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    prop::collection::vec((any::<Index>(), change()), 1..4)
}

/// JSON pointers of everything below a value.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| {
        let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(value, &pointer, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| below(&at.to_string(), value)),
        _ => {}
    }
}

/// Makes the change somewhere below the place that the pointer names.
fn apply(document: &mut Value, below: &str, index: Index, change: &Change) {
    let mut found = Vec::new();
    pointers(document.pointer(below).unwrap_or(&Value::Null), below, &mut found);
    if found.is_empty() {
        return;
    }
    let pointer = &found[index.index(found.len())];
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let other = match change {
        Change::Move(from) => document.pointer(&found[from.index(found.len())]).unwrap().clone(),
        _ => Value::Null,
    };
    let value = document.pointer_mut(pointer).unwrap();
    match change {
        Change::Replace(other) => *value = other.clone(),
        Change::Nudge(by) => *value = nudged(value, *by),
        Change::Move(_) => *value = other,
        Change::Wrap(levels) => (0..*levels).for_each(|_| *value = json!([value.take()])),
        Change::Delete | Change::Repeat | Change::Rename(_) => match document.pointer_mut(parent).unwrap() {
            Value::Array(items) => change_item(items, name.parse().unwrap(), change),
            Value::Object(map) => change_member(map, &name, change),
            _ => {}
        },
    }
}

fn nudged(value: &Value, by: Index) -> Value {
    match value {
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            let near = [number.wrapping_mul(2), number / 2, number.wrapping_add(1), number.wrapping_sub(1)];
            json!(near.iter().chain(&NUMBERS).nth(by.index(near.len() + NUMBERS.len())))
        }
        Value::String(_) => json!(WORDS[by.index(WORDS.len())]),
        _ => value.clone(),
    }
}

fn change_item(items: &mut Vec<Value>, at: usize, change: &Change) {
    match change {
        Change::Delete => drop(items.remove(at)),
        _ => items.push(items[at].clone()),
    }
}

fn change_member(map: &mut Map<String, Value>, key: &str, change: &Change) {
    let value = map[key].clone();
    match change {
        Change::Repeat => drop(map.insert(format!("{key}2"), value)),
        Change::Rename(name) => {
            map.remove(key);
            map.insert(name.clone(), value);
        }
        _ => drop(map.remove(key)),
    }
}

fn document(name: &str) -> Value {
    serde_json::from_slice(&planning::read(&format!("provision/{name}.json"))).unwrap()
}

/// The machine that the document is for, and what its images say of themselves.
fn surroundings(name: &str) -> (Inventory, Option<SideCar>) {
    let side_car = (!name.starts_with("10")).then(|| planning::read(&format!("image-meta/{name}.yaml")));
    (planning::machine(name), side_car.map(|text| SideCar::parse(&text).unwrap()))
}

/// Reads a document and, where it is one, plans with it. What is said must have a path and a culprit.
fn judge(bytes: &[u8], name: &str) -> Result<(), TestCaseError> {
    let checked = match request::check(bytes) {
        Ok(checked) => checked,
        Err(error) => {
            prop_assert_eq!(error.kind(), Kind::Request);
            prop_assert!(error.to_string().starts_with("reading the request: $"), "no path: {}", error);
            return Ok(());
        }
    };
    let violations: Vec<_> = checked.violations.iter().map(ToString::to_string).collect();
    for told in violations.iter().chain(&checked.warnings) {
        prop_assert!(told.starts_with('$') && told.contains(": "), "no path: {}", told);
        prop_assert!(!told.contains("what docs/request.md says"), "dropped without a fault");
        prop_assert!(told.len() < 10_000, "{} bytes: {:.200}", told.len(), told);
    }
    prop_assert_eq!(checked.request.is_some(), violations.is_empty(), "{:?}", violations);
    let parsed = match request::parse(bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            prop_assert_eq!(error.kind(), Kind::Request);
            prop_assert!(error.to_string().contains(": $"), "no path: {}", error);
            return Ok(());
        }
    };
    let (machine, side_car) = surroundings(name);
    for side_car in [None, side_car.as_ref()] {
        match plan::make(&parsed.request, &machine, side_car, None) {
            Ok(plan) => {
                prop_assert_eq!(&Plan::parse(serde_json::to_string(&plan).unwrap().as_bytes()).unwrap(), &plan);
                prop_assert!(plan.text(true).len() >= plan.text(false).len());
            }
            Err(error) => {
                let is_known = matches!(error.kind(), Kind::Request | Kind::Hardware | Kind::Image | Kind::Refused);
                prop_assert!(is_known, "{:?}: {}", error.kind(), error);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn changed_values_are_told_or_planned(name in select(&NAMES[..]), changes in changes()) {
        let mut changed = document(name);
        changes.iter().for_each(|(index, change)| apply(&mut changed, "", *index, change));
        judge(changed.to_string().as_bytes(), name)?;
    }

    #[test]
    fn changed_disks_and_volumes_are_told_or_planned(name in select(&NAMES[..]), changes in changes()) {
        let mut changed = document(name);
        changes.iter().for_each(|(index, change)| apply(&mut changed, "/ks_meta/pm_data/ks_spaces", *index, change));
        judge(changed.to_string().as_bytes(), name)?;
    }

    #[test]
    fn changed_bytes_are_told_or_planned(
        name in select(&NAMES[..]),
        flips in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        end in prop::option::of(any::<Index>()),
        is_yaml in any::<bool>(),
    ) {
        let mut bytes = planning::read(&format!("provision/{name}.json"));
        if is_yaml {
            bytes = serde_saphyr::to_string(&document(name)).unwrap().into_bytes();
        }
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.map_or(bytes.len(), |end| end.index(bytes.len())));
        judge(&bytes, name)?;
    }

    #[test]
    fn a_key_that_stands_twice_is_always_told(name in select(&NAMES[..]), at in any::<Index>()) {
        let text = document(name).to_string();
        // Every member that is a number is written once more behind itself.
        let members: Vec<_> = text.match_indices("\"size\":").collect();
        let (start, _) = members[at.index(members.len())];
        let end = start + text[start..].find([',', '}']).unwrap();
        let twice = format!("{},{}{}", &text[..end], &text[start..end], &text[end..]);
        let told: Vec<_> = request::check(twice.as_bytes()).unwrap().violations.iter().map(ToString::to_string).collect();
        prop_assert!(told.len() == 1 && told[0].ends_with("].size: given twice"), "{:?}", told);
        judge(twice.as_bytes(), name)?;
    }

    #[test]
    fn noise_is_told(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
        judge(&bytes, NAMES[0])?;
        judge(text.as_bytes(), NAMES[0])?;
    }
}

#[test]
fn document_of_100_mb_is_refused_unread() {
    let document = vec![b'['; 100 << 20];
    let error = request::check(&document).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("reading the request: $: expected at most {} bytes, found more", request::LIMIT)
    );
    // Not even a glance at each byte: as fast as a document that is one byte too long.
    let refused = |bytes: &[u8]| time(|| drop(request::check(bytes).unwrap_err()));
    let (short, long) = (refused(&document[..=request::LIMIT]), refused(&document));
    assert!(long < short * 3 + Duration::from_millis(20), "{short:?}, of six times as much {long:?}");
}

/// A document with `count` of something, that grows in one place.
type Grow = fn(&mut Value, usize);

fn list(count: usize, item: impl Fn(usize) -> Value) -> Value {
    (0..count).map(item).collect()
}

fn spaces(document: &mut Value) -> &mut Value {
    &mut document["ks_meta"]["pm_data"]["ks_spaces"]
}

fn disk(index: usize) -> Value {
    json!({"type": "disk", "name": format!("sd{index}"), "id": format!("disk/{index}"), "size": 1, "volumes": []})
}

fn mount(index: usize) -> Value {
    json!({"type": "partition", "mount": format!("/srv/{}", index / 2), "size": 1, "file_system": "nofs", "name": "x",
           "keep_data": index.is_multiple_of(2)})
}

const GROWING: [(&str, Grow); 13] = [
    ("numbers for disks", |it, count| *spaces(it) = list(count * 10, Value::from)),
    ("disks", |it, count| *spaces(it) = list(count, disk)),
    ("disks that are one", |it, count| *spaces(it) = list(count, |_| disk(0))),
    ("volumes", |it, count| spaces(it)[0]["volumes"] = list(count, mount)),
    ("groups", |it, count| {
        let lv = json!([{"type": "lv", "name": "a", "size": 1, "mount": "/x"}]);
        *spaces(it) = list(count, |index| json!({"type": "vg", "id": format!("g{}", index / 2), "volumes": lv}));
        spaces(it).as_array_mut().unwrap().push(disk(0));
    }),
    ("logical volumes", |it, count| {
        spaces(it)[1]["volumes"] = list(count, |_| json!({"type": "lv", "name": "a", "size": 1, "mount": "/x"}));
    }),
    ("images", |it, count| {
        let image = it["ks_meta"]["image_data"]["/"].clone();
        let images = (0..count).map(|index| (format!("/{index}"), image.clone()));
        it["ks_meta"]["image_data"].as_object_mut().unwrap().extend(images);
    }),
    ("interfaces", |it, count| {
        let interface =
            |index| (format!("e{index}"), json!({"mac_address": format!("52:54:00:00:00:{:02x}", index % 256)}));
        it["interfaces"] = Value::Object((0..count).map(interface).collect());
    }),
    ("unknown keys", |it, count| {
        it.as_object_mut().unwrap().extend((0..count).map(|index| (format!("k{index}"), Value::Null)));
    }),
    ("children of a long key", |it, count| {
        let children: Map<_, _> = (0..count).map(|index| (format!("k{index}"), json!([]))).collect();
        it["interfaces_extra"] = Value::Object(Map::from_iter([("k".repeat(count * 10), Value::Object(children))]));
    }),
    ("accounts", |it, count| it["ks_meta"]["user_accounts"] = list(count, |_| json!({"name": "x", "y": 1}))),
    ("names of interfaces", |it, count| {
        it["kernel_options"]["udevrules"] = "52:54:00:00:00:01_eth0,".repeat(count).into();
    }),
    ("a long string", |it, count| it["hostname"] = "x".repeat(count * 50).into()),
];

/// The shortest of several times, so that a machine that does something else does not count.
fn time(work: impl Fn()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..5).map(once).min().unwrap_or_default()
}

fn judge_reading(bytes: &[u8]) {
    match request::check(bytes) {
        Ok(checked) => {
            let told = checked.violations.iter().map(|it| it.path.clone()).chain(checked.warnings);
            told.for_each(|told| assert!(told.starts_with('$'), "{told:.99}"));
        }
        Err(error) => assert!(error.to_string().starts_with("reading the request: $"), "{error}"),
    }
}

/// What is four times as long may take ten times as long and not sixteen times. A machine with other work gets three
/// chances.
fn assert_linear(what: &str, of: impl Fn(usize) -> Vec<u8>) {
    const COUNT: usize = 2000;
    let (small, large) = (of(COUNT), of(COUNT * 4));
    let is_linear = |_| {
        let (short, long) = (time(|| judge_reading(&small)), time(|| judge_reading(&large)));
        println!("{what}: {} bytes in {short:?}, {} bytes in {long:?}", small.len(), large.len());
        long < short * 10 + Duration::from_millis(20)
    };
    assert!((0..3).any(is_linear), "{what}: the time grows faster than the document, see above");
}

#[test]
fn time_grows_with_the_document_and_not_with_its_square() {
    for (what, grow) in GROWING {
        assert_linear(what, |count| {
            let mut document = document(NAMES[0]);
            grow(&mut document, count);
            document.to_string().into_bytes()
        });
    }
    assert_linear("keys given twice", |count| format!("{{{}\"a\":1}}", "\"a\":1,".repeat(count * 10)).into_bytes());
    assert_linear("YAML", |count| "- a: [1, 2]\n  b: {c: d}\n".repeat(count).into_bytes());
    assert_linear("YAML with keys", |count| {
        (0..count).map(|at| format!("k{at}: 1\n")).collect::<String>().into_bytes()
    });
    assert_linear("one line that is neither", |count| "a: b ".repeat(count).into_bytes());
}

#[test]
fn aliases_of_yaml_do_not_multiply() {
    let bomb = |levels: usize| {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..levels {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{inner}]\n");
        }
        bomb.into_bytes()
    };
    // Were they to multiply, two further levels would take a hundred times as long.
    let times = [4, 6, 12].map(|levels| time(|| judge_reading(&bomb(levels))));
    let is_bounded = times.windows(2).all(|pair| pair[1] < pair[0] * 30 + Duration::from_millis(100));
    assert!(is_bounded, "{times:?}");
}
