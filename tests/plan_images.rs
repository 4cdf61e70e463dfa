//! What a plan knows of images: where else they lie, and what proves them.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use bedplate::error::{Error, Kind};
use bedplate::plan::{self, Plan, Step};
use bedplate::request::{self, SideCar};
use serde_json::{Value, json};
use support::planning::{machine, read};

const NAME: &str = "01-single-disk-lvm";
const KEY: &str = "RWS08tODgJzXwbsLGKqVGlfRXAYBb9b9LiKZ3929Lx6uKjB5bjhRxyig";

fn document(adjust: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(&read(&format!("provision/{NAME}.json"))).unwrap();
    adjust(&mut document);
    document.to_string().into_bytes()
}

fn of_root(more: Value) -> Vec<u8> {
    document(|document| {
        let image = document["ks_meta"]["image_data"]["/"].as_object_mut().unwrap();
        image.extend(more.as_object().unwrap().clone());
    })
}

fn side_car() -> SideCar {
    SideCar::parse(&read(&format!("image-meta/{NAME}.yaml"))).unwrap()
}

fn made(document: &[u8], side_car: Option<&SideCar>) -> Result<Plan, Error> {
    plan::make(&request::parse(document).unwrap().request, &machine(NAME), side_car, None)
}

fn faults(more: Value) -> Vec<String> {
    let checked = request::check(&of_root(more)).unwrap();
    let front = "$.ks_meta.image_data[\"/\"].";
    checked.violations.iter().map(|it| it.to_string().strip_prefix(front).unwrap().to_owned()).collect()
}

/// The `WriteImage` step whose image the request says more of.
fn step_of_root(plan: &Plan) -> Value {
    let written = plan.steps.iter().filter(|step| matches!(step, Step::WriteImage { .. }));
    let steps: Vec<Value> = written.map(|step| serde_json::to_value(step).unwrap()).collect();
    steps.into_iter().find(|step| step.get("mirrors").is_some()).unwrap()
}

#[test]
fn extensions_of_an_image_arrive_in_its_step() {
    let (sha256, sha512) = (format!("sha256:{}", "A1".repeat(32)), format!("sha512:{}", "b2".repeat(64)));
    let document = of_root(json!({
        "mirrors": ["http://m2/i.img.gz", "https://m3/i.img.gz"],
        "digests": [sha256],
        "raw_digests": [sha512],
        "minisign_key": KEY,
        "signature": "file:///run/i.minisig",
        "bmap": "http://m2/i.bmap",
    }));
    let plan = made(&document, Some(&side_car())).unwrap();
    let step = step_of_root(&plan);
    assert_eq!(step["mirrors"], json!(["http://m2/i.img.gz", "https://m3/i.img.gz"]));
    assert_eq!(step["container_digests"].as_array().unwrap().last(), Some(&json!(sha256.to_lowercase())));
    assert_eq!(step["digests"].as_array().unwrap().last(), Some(&json!(sha512)));
    assert_eq!(
        (&step["minisign_key"], &step["signature"], &step["bmap"]),
        (&json!(KEY), &json!("file:///run/i.minisig"), &json!("http://m2/i.bmap"))
    );
    let text = plan.text(false);
    assert!(text.contains("\n  or from http://m2/i.img.gz\n  or from https://m3/i.img.gz\n"), "{text}");
    assert!(text.contains(" and sha512 and sha256 and minisign\n"), "{text}");
    assert_eq!(Plan::parse(serde_json::to_string(&plan).unwrap().as_bytes()).unwrap(), plan);
}

#[test]
fn an_image_without_any_proof_is_a_warning_or_where_it_is_demanded_an_error() {
    let none = "the images have no metadata beside them: their size and digest are not checked";
    let warned = |document: &[u8], side_car: Option<&SideCar>| made(document, side_car).unwrap().warnings;
    let plain = document(|_| ());
    assert_eq!(warned(&plain, None), [none]);
    assert_eq!(warned(&plain, Some(&side_car())), [""; 0]);
    let empty = SideCar { images: Vec::new(), ..side_car() };
    let uris: Vec<String> = {
        let request = request::parse(&plain).unwrap().request;
        request.images.iter().map(|image| image.uri.clone()).collect()
    };
    let each: Vec<_> = uris.iter().map(|uri| format!("no digest of {uri} is known: it is not checked")).collect();
    assert_eq!(warned(&plain, Some(&empty)), each);
    assert_eq!(warned(&of_root(json!({ "minisign_key": KEY })), Some(&empty)).len(), uris.len() - 1);

    let demanding = document(|document| document["bedplate"] = json!({ "require_digest": true }));
    assert!(made(&demanding, Some(&side_car())).is_ok());
    let error = made(&demanding, None).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            Kind::Image,
            format!("{}: neither a digest nor a signature is known, and require_digest is set", uris.join(", "))
        )
    );
}

#[test]
fn digests_of_request_and_metadata_that_contradict_are_an_error() {
    let request = request::parse(&document(|_| ())).unwrap().request;
    let root = request.images.iter().find(|image| image.mount == "/").unwrap();
    let known = side_car().image(&root.uri).and_then(|image| image.raw_md5.clone()).unwrap();
    let same = format!("MD5:{}", known.to_uppercase());
    assert_eq!(
        made(&of_root(json!({ "raw_digests": [same], "mirrors": [] })), Some(&side_car())).unwrap().warnings,
        [""; 0]
    );
    let wrong = format!("md5:{}", "0".repeat(32));
    let error = made(&of_root(json!({ "raw_digests": [wrong] })), Some(&side_car())).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (Kind::Image, format!("image {}: md5:{known} and {wrong} are both given, and only one can be right", root.uri))
    );
}

#[test]
fn extensions_of_an_image_that_make_no_sense_are_named() {
    assert_eq!(
        faults(json!({ "mirrors": ["http://m/i", "file:///i"], "digests": ["sha256:abc"] })),
        [
            "mirrors[1]: expected a URI with http:// or https://, found another string",
            "digests[0]: expected md5, sha1, sha256 or sha512, a colon, and as many hexadecimal digits as it has, found the string \"sha256:abc\"",
        ]
    );
    assert_eq!(
        faults(json!({ "minisign_key": "RWS0", "raw_digests": "md5:0" })),
        [
            "raw_digests: expected a list, found the string \"md5:0\"",
            "minisign_key: expected a public key of minisign, 56 letters that begin with RW, found the string \"RWS0\"",
        ]
    );
    assert_eq!(
        faults(json!({ "signature": "http://m/i.minisig" })),
        ["signature: given without minisign_key, which would tell whose it must be"]
    );
    assert_eq!(
        faults(json!({ "uri": "file:///i.gz", "mirrors": ["http://m/i"] })),
        ["mirrors: an image in a file has no mirrors"]
    );
}
