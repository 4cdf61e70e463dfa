use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;
use crate::commands::testing::{Answer, Folder, Seen, Server};
use crate::error::Error;
use crate::inventory::Inventory;
use crate::report::{ErrorReport, Outcome};
use crate::request::Secret;

const TOKEN: &str = "7c0ffee7";

/// What happened to the machine, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// A machine whose runs end as they are told to.
struct Played {
    log: Log,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Machine for Played {
    fn inventory(&self) -> Inventory {
        let saved = r#"{"disks": [], "interfaces": [{"name": "eth0", "mac": "52:54:00:00:00:01", "is_pxe": true}]}"#;
        inventory::from_json(saved.as_bytes()).unwrap()
    }

    fn provision(&self, order: &Order, _master: &Master) -> Run {
        let document = String::from_utf8(order.released.document.clone()).unwrap();
        self.log.lock().unwrap().push(format!("provision {document} {:?}", order.released.plan_digest));
        let outcome = self.outcomes.lock().unwrap().remove(0);
        Run { report: report(outcome), reporter: Reporter::silent() }
    }

    fn restart(&self) -> Result<Ended> {
        self.log.lock().unwrap().push("restart".to_owned());
        Ok(Ended::Restarts)
    }
}

fn report(outcome: Outcome) -> Report {
    let error = Error::new(Kind::Image, "the image is short");
    Report {
        run: "r1".to_owned(),
        version: "0".to_owned(),
        outcome,
        error: (outcome == Outcome::Failed).then(|| ErrorReport::of(&error, None)),
        plan_digest: None,
        disks: std::collections::BTreeMap::new(),
        steps: Vec::new(),
        images: Vec::new(),
        warnings: Vec::new(),
        seconds: 1.0,
        peak_memory: None,
    }
}

fn pace() -> Pace {
    Pace {
        ask: Duration::from_millis(5),
        discover: Duration::from_secs(60),
        longest: Duration::from_millis(20),
        last_event: Duration::from_secs(1),
    }
}

/// Lets an agent run against a master until it is done; returns what happened to its machine.
fn run_agent(url: &str, outcomes: &[Outcome]) -> Vec<String> {
    let log = Log::default();
    let machine = Played { log: Arc::clone(&log), outcomes: Mutex::new(outcomes.to_vec()) };
    let limits = http::Settings {
        response_timeout: Duration::from_millis(300),
        read_timeout: Duration::from_millis(300),
        ..http::Settings::default()
    };
    let master = Master::new(Client::new(&limits).unwrap(), url, Some(Secret::new(TOKEN)));
    let root = Folder::new();
    let mut agent = Agent::new(master, machine, root.path(), pace());
    agent.run().unwrap();
    drop(agent);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

/// A well-behaved master of node 7, whose request is released once.
#[derive(Default)]
struct Good {
    asked: AtomicUsize,
}

impl Good {
    fn answer(&self, seen: &Seen) -> Answer {
        assert_eq!(seen.header("authorization"), Some("Bearer 7c0ffee7"), "{}", seen.line());
        match seen.line().as_str() {
            "POST /api/nodes/" => Answer::json(201, r#"{"id": 7}"#),
            "PUT /api/nodes/agent/" => Answer::json(200, r#"{"id": 7}"#),
            "PUT /api/nodes/7/inventory" | "POST /api/nodes/7/report" => Answer::json(200, r#"{"id": 7}"#),
            "GET /api/nodes/7/request" => match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::With(204, Vec::new(), Vec::new()),
                1 => {
                    let digest = ("X-Bedplate-Plan-Digest", "sha256:ab".to_owned());
                    Answer::With(200, vec![digest], br#"{"uid":"7"}"#.to_vec())
                }
                _ => Answer::With(204, Vec::new(), Vec::new()),
            },
            "PUT /api/nodes/7/netboot" | "GET /api/nodes/7/netboot" => Answer::json(200, r#"{"enabled": false}"#),
            other => panic!("{other}"),
        }
    }
}

const CARRIED_OUT: &str = r#"provision {"uid":"7"} Some("sha256:ab")"#;

#[test]
fn a_released_request_is_carried_out_and_the_machine_restarts_after_netboot_is_off() {
    let good = Good::default();
    let server = Server::start(move |seen| good.answer(seen));
    assert_eq!(run_agent(&server.url(), &[Outcome::Done]), [CARRIED_OUT, "restart"]);
    let expected = [
        "POST /api/nodes/",
        "PUT /api/nodes/7/inventory",
        "GET /api/nodes/7/request",
        "GET /api/nodes/7/request",
        "PUT /api/nodes/7/netboot",
        "GET /api/nodes/7/netboot",
        "POST /api/nodes/7/report",
    ];
    assert_eq!(server.lines(), expected);
}

#[test]
fn nonsense_of_a_master_is_survived() {
    let (good, count) = (Good::default(), AtomicUsize::new(0));
    let html = || b"<html><body>Welcome to the captive portal</body></html>".to_vec();
    let server = Server::start(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        1 => Answer::With(500, Vec::new(), html()),
        2 => Answer::With(200, Vec::new(), html()),
        3 => Answer::Close,
        4 => Answer::With(201, Vec::new(), vec![b'x'; 5 << 20]),
        5 => Answer::Raw(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"id\"".to_vec()),
        6 => Answer::json(201, r#"{"id": 7}"#),
        7 => Answer::json(200, "{}"),
        8 => Answer::With(200, Vec::new(), html()),
        9 => Answer::json(200, r#"["no", "object"]"#),
        10 => Answer::With(302, vec![("Location", "/login".to_owned())], Vec::new()),
        11 => Answer::With(500, Vec::new(), html()),
        12 => Answer::With(403, Vec::new(), html()),
        13 => Answer::Raw(vec![0; 1000]),
        _ => good.answer(seen),
    });
    assert_eq!(run_agent(&server.url(), &[Outcome::Done]), [CARRIED_OUT, "restart"]);
}

#[test]
fn a_master_that_is_silent_or_restarts_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The listener accepts connections and answers none: the master hangs.
    let agent = thread::spawn(move || run_agent(&format!("http://{address}"), &[Outcome::Done]));
    thread::sleep(Duration::from_millis(400));
    drop(listener);
    // Now it is absent, and comes back at the same address.
    thread::sleep(Duration::from_millis(100));
    let good = Good::default();
    let _server = Server::on(TcpListener::bind(address).unwrap(), move |seen| good.answer(seen));
    assert_eq!(agent.join().unwrap(), [CARRIED_OUT, "restart"]);
}

#[test]
fn a_failed_run_is_reported_and_not_repeated_by_itself() {
    let (asked, reported) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let good = Good::default();
    let reports = Arc::clone(&reported);
    let server = Server::start(move |seen| match seen.line().as_str() {
        // The first report is lost.
        "POST /api/nodes/7/report" if reports.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Close,
        "GET /api/nodes/7/request" => match asked.fetch_add(1, Ordering::SeqCst) {
            // A master that forgot the run hands the same request out again, and then a person releases another.
            0..=3 => Answer::json(200, r#"{"uid":"first"}"#),
            _ => Answer::json(200, r#"{"uid":"second"}"#),
        },
        _ => good.answer(seen),
    });
    let happened = run_agent(&server.url(), &[Outcome::Failed, Outcome::Done]);
    assert_eq!(happened, [r#"provision {"uid":"first"} None"#, r#"provision {"uid":"second"} None"#, "restart"]);
    let reports: Vec<_> = server.seen().into_iter().filter(|seen| seen.path.ends_with("/report")).collect();
    let outcome = |seen: &Seen| serde_json::from_slice::<Report>(&seen.body).unwrap().outcome;
    assert_eq!(reports.iter().map(outcome).collect::<Vec<_>>(), [Outcome::Failed, Outcome::Failed, Outcome::Done]);
    assert!(server.lines().iter().filter(|line| *line == "PUT /api/nodes/agent/").count() >= 1, "discovered again");
}

#[test]
fn the_machine_does_not_restart_before_netboot_is_off() {
    let (good, switched) = (Good::default(), AtomicUsize::new(0));
    let server = Server::start(move |seen| match seen.line().as_str() {
        "PUT /api/nodes/7/netboot" => match switched.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::Close,
            1 => Answer::With(500, Vec::new(), Vec::new()),
            _ => good.answer(seen),
        },
        // It says that it did, and did not.
        "GET /api/nodes/7/netboot" if switched.load(Ordering::SeqCst) == 3 => Answer::json(200, r#"{"enabled": true}"#),
        _ => good.answer(seen),
    });
    assert_eq!(run_agent(&server.url(), &[Outcome::Done]), [CARRIED_OUT, "restart"]);
    let switched = server.lines().iter().filter(|line| line.ends_with("/netboot")).count();
    assert_eq!(switched, 2 + 2 + 2, "two failures, one lie with its read-back, one success with its own");
}

#[test]
fn a_plain_nailgun_without_our_extensions_is_asked_again_and_again() {
    let (good, asked) = (Good::default(), AtomicUsize::new(0));
    let server = Server::start(move |seen| match seen.line().as_str() {
        "PUT /api/nodes/7/inventory" => Answer::With(405, Vec::new(), Vec::new()),
        "GET /api/nodes/7/request" if asked.fetch_add(1, Ordering::SeqCst) < 3 => {
            Answer::With(404, Vec::new(), Vec::new())
        }
        _ => good.answer(seen),
    });
    assert_eq!(run_agent(&server.url(), &[Outcome::Done]), [CARRIED_OUT, "restart"]);
    assert_eq!(server.lines().iter().filter(|line| line.ends_with("/inventory")).count(), 1);
}
