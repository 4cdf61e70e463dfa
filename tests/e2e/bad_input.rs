//! What must not be provisioned: each case has its exit code, names the culprit, and leaves a disk that is as it was or
//! that firmware passes by.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::disk::{Disk, hex, noise};
use crate::harness::document::{self, Document};
use crate::harness::http::{Fault, Gate, Reply, Server};
use crate::harness::process::Output;
use crate::harness::scenario::Scenario;
use crate::harness::ssh::Ssh;
use crate::harness::vm::Vm;
use crate::harness::wait::{self, Deadline};

/// Root partition of the small disk, in MiB.
const ROOT_MIB: u64 = 48;

/// Decoded size of the image that fits.
const IMAGE_BYTES: usize = 16 << 20;

/// Exit codes of the published interface.
const REQUEST: i32 = 10;
const HARDWARE: i32 = 11;
const REFUSED: i32 = 12;
const IMAGE: i32 = 13;
const MASTER: i32 = 16;

/// The way that Astute goes: its lock around our command.
const PROVISION: &str = "flock -n /var/lock/provision.lock provision";

/// The node in its bootstrap, and the disk that nothing good comes to.
pub struct Bench<'a> {
    pub scenario: &'a Scenario,
    pub server: &'a Server,
    pub node: &'a mut Vm,
    pub ssh: &'a Ssh,
    pub victim: &'a Disk,
    pub good: &'a Document,
    /// What was not as it should be: told at the end, so that one run tells all.
    pub faults: Vec<String>,
}

/// What a failed run may leave on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Untouched,
    NotBootable,
}

/// Runs all cases, the harmless ones first.
pub fn all(bench: &mut Bench) {
    serve_images(bench.server);
    documents(bench);
    disks_in_use(bench);
    nobody_to_switch_netboot(bench);
    images(bench);
    assert!(bench.faults.is_empty(), "bad input:\n{}", bench.faults.join("\n"));
}

fn documents(bench: &mut Bench) {
    use Leaves::Untouched;
    let good = bench.document("good", ROOT_MIB);
    bench.case("not JSON", b"{\"ks_meta\": [", REQUEST, &["not JSON", "line 1 column 13"], Untouched);

    let mut document = good.clone();
    document.as_object_mut().expect("a document is an object").remove("ks_meta");
    bench.case("missing ks_meta", &bytes(&document), REQUEST, &["ks_meta"], Untouched);

    let mut document = good.clone();
    let disk = &mut document["ks_meta"]["pm_data"]["ks_spaces"][0];
    (disk["name"], disk["id"]) = (json!("sdq"), json!("disk/by-path/pci-0000:99:00.0"));
    disk["extra"] = json!(["disk/by-id/virtio-NOWHERE"]);
    bench.case("unknown disk", &bytes(&document), HARDWARE, &["NOWHERE"], Untouched);

    let document = bench.document("good", bench.victim.mib() + 1);
    bench.case("disk too small", &bytes(&document), HARDWARE, &["vd"], Untouched);

    let document = bench.document("absent", ROOT_MIB);
    bench.case("image 404", &bytes(&document), IMAGE, &["absent.img.gz", "404"], Untouched);

    let document = bench.document("large", ROOT_MIB);
    bench.case("image larger than its target", &bytes(&document), IMAGE, &["large.img.gz"], Untouched);
}

fn disks_in_use(bench: &mut Bench) {
    let good = bytes(&bench.document("good", ROOT_MIB));
    let link = format!("/dev/{}", bench.victim.by_id());
    bench.ssh.ask(&format!("mkfs.ext2 -q -F {link} 64M && mkdir -p /run/used && mount -o ro {link} /run/used && sync"));
    bench.case("target mounted", &good, REFUSED, &["/run/used"], Leaves::Untouched);
    bench.ssh.ask("umount /run/used");

    let before = bench.content();
    let script = "cat > /tmp/provision.json; grep -q ^nobody: /etc/passwd || \
                  echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd; \
                  start-stop-daemon -S -c nobody -x \"$(command -v provision)\"";
    let output = bench.ssh.feed(script, &good, 40);
    bench.judge("not root", &output, REFUSED, &["root"]);
    bench.is_untouched("not root", &before);
}

/// Whoever is to switch network boot off at the end of the run is asked before anything is written.
fn nobody_to_switch_netboot(bench: &mut Bench) {
    let good = bytes(&bench.document("good", ROOT_MIB));
    let provision = "umask 077; echo pass >/tmp/password; bedplate provision --netboot-off --netboot-timeout 1 \
                     --cobbler-url http://10.0.2.2:1/cobbler_api --cobbler-user u --cobbler-password-file /tmp/password";
    let culprits = ["looking for this node in Cobbler: 3 attempts", "http://10.0.2.2:1/cobbler_api"];
    bench.case_of(provision, "Cobbler down", &good, MASTER, &culprits, Leaves::Untouched);
}

fn images(bench: &mut Bench) {
    use Leaves::NotBootable;
    let document = bytes(&bench.document("short", ROOT_MIB));
    bench.case("image shorter than announced", &document, IMAGE, &["short.img.gz"], NotBootable);

    let document = bytes(&bench.document("cut", ROOT_MIB));
    bench.case("gzip cut in the middle", &document, IMAGE, &["cut.img.gz"], NotBootable);

    let document = bytes(&bench.document("hidden", ROOT_MIB));
    bench.case("image that turns out larger than its target", &document, IMAGE, &["hidden.img.gz"], NotBootable);

    a_second_run_while_one_waits(bench);
}

/// The first run waits for its image, whose digest will turn out wrong; meanwhile others are sent away.
fn a_second_run_while_one_waits(bench: &mut Bench) {
    let document = bytes(&bench.document("wrong", ROOT_MIB));
    let gate = Gate::default();
    bench.server.fault("/bad/wrong.img.gz", Fault::HoldAt(1 << 20, gate.clone()));
    bench.ssh.upload("/tmp/provision.json", &document);
    let first = bench.ssh.start("flock -n /var/lock/provision.lock provision", 240);
    // A run that ended before is judged below.
    let is_there = || gate.is_reached() || first.is_finished();
    wait::until("the first run at its image", Deadline::cpu(60), || is_there().then_some(()));
    let second = bench.ssh.run("flock -n /var/lock/provision.lock provision", 40);
    bench.expect(second.code == 1, || format!("flock's answer to a second run: {}: {}", second.code, second.words()));
    let second = bench.ssh.run("provision", 40);
    bench.judge("second run without flock", &second, REFUSED, &["/run/bedplate.lock"]);
    gate.open();
    let first = first.join().expect("the first run's ssh does not panic");
    bench.judge("wrong md5", &first, IMAGE, &["wrong.img.gz", "md5"]);
    bench.server.heal("/bad/wrong.img.gz");
    bench.is_passed_by_firmware("wrong md5");
}

impl Bench<'_> {
    fn document(&self, image: &str, root_mib: u64) -> Value {
        let spaces = document::single_partition("vdb", self.victim, root_mib);
        let uri = format!("{}/bad/{image}.img.gz", self.server.url());
        let images = json!({"/": {"uri": uri, "format": "ext4", "container": "gzip"}});
        Document { spaces, images, ..self.good.clone() }.json()
    }

    /// The victim's bytes, everything written by the guest included.
    fn content(&mut self) -> String {
        let victim = self.victim;
        self.node.while_stopped(|| victim.content())
    }

    fn case(&mut self, name: &str, document: &[u8], code: i32, culprits: &[&str], leaves: Leaves) {
        self.case_of(PROVISION, name, document, code, culprits, leaves);
    }

    fn case_of(&mut self, run: &str, name: &str, document: &[u8], code: i32, culprits: &[&str], leaves: Leaves) {
        let before = self.content();
        let script = format!("cat > /tmp/provision.json && {{ {run}; }}; code=$?; sync; exit $code");
        let output = self.ssh.feed(&script, document, 120);
        self.judge(name, &output, code, culprits);
        match leaves {
            Leaves::Untouched => self.is_untouched(name, &before),
            Leaves::NotBootable => self.is_passed_by_firmware(name),
        }
    }

    fn judge(&mut self, name: &str, output: &Output, code: i32, culprits: &[&str]) {
        let words = output.words();
        let file = self.scenario.logs().join(format!("bad-input-{}.log", name.replace(' ', "-")));
        crate::harness::disk::write(&file, words.as_bytes());
        self.scenario.tell(&format!("bad input: {name}: exit code {}", output.code));
        self.expect(output.code == code, || format!("{name}: exit code {}, not {code}; it said {words}", output.code));
        for culprit in culprits {
            let is_named = output.stderr.contains(culprit);
            self.expect(is_named, || format!("{name}: {culprit} is not named in {words}"));
        }
    }

    fn is_untouched(&mut self, name: &str, before: &str) {
        let is_same = self.content() == before;
        self.expect(is_same, || format!("{name}: the disk is not as it was"));
    }

    /// Without the signature firmware takes the next boot device; with it, the code hands back to the firmware.
    fn is_passed_by_firmware(&mut self, name: &str) {
        let victim = self.victim;
        let sector = self.node.while_stopped(|| victim.first_sector());
        let is_signed = sector[510..] == [0x55, 0xaa];
        let is_passed_by = !is_signed || sector[..440] == bedplate::boot::handover_stub();
        self.expect(is_passed_by, || format!("{name}: the disk starts something"));
    }

    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

/// Images below `/bad/`, each with one thing wrong.
fn serve_images(server: &Server) {
    let raw = noise(7, IMAGE_BYTES);
    let packed = gzip(&raw);
    let md5 = md5(&raw);
    let size = raw.len();
    let serve = |name: &'static str, packed: &[u8], size: usize, md5: &str| {
        let side_car = format!(
            "os: {{name: Ubuntu, major: 16, minor: 4}}\nimages:\n- raw_md5: {md5}\n  raw_size: {size}\n  raw_name: null\n  \
             container_name: {name}.img.gz\n  container_size: {}\n  container: gzip\n  format: ext4\n",
            packed.len()
        );
        server.route(&format!("/bad/{name}.yaml"), move |_| Reply::text(side_car.clone()));
        let packed = packed.to_vec();
        server.route(&format!("/bad/{name}.img.gz"), move |_| Reply::bytes(packed.clone()));
    };
    serve("good", &packed, size, &md5);
    serve("large", &packed, 64 << 20, &md5);
    serve("short", &packed, size + 4096, &md5);
    serve("cut", &packed[..packed.len() / 2], size, &md5);
    serve("wrong", &packed, size, "ffffffffffffffffffffffffffffffff");
    // Nobody announces its size, and it decodes to more than its target holds.
    let hidden = gzip(&vec![b'x'; usize::try_from((ROOT_MIB + 8) << 20).expect("56 MiB fit")]);
    server.route("/bad/hidden.img.gz", move |_| Reply::bytes(hidden.clone()));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn md5(bytes: &[u8]) -> String {
    use md5::Digest as _;
    hex(&md5::Md5::digest(bytes))
}
