use std::sync::mpsc;

use super::*;
use crate::http::Settings;
use crate::report::testing::{Reply, Server, event};

const SOON: Duration = Duration::from_secs(20);

fn pace() -> Pace {
    let pause = Duration::from_millis(5);
    Pace { linger: pause, first_pause: pause, longest_pause: pause, answer_within: SOON, ..Pace::default() }
}

fn sink(url: &str) -> HttpSink {
    let client = Client::new(&Settings::default()).unwrap();
    HttpSink::with_pace(&client, url, Some(Secret::new("t0ken")), pace()).unwrap()
}

fn numbered(kind: EventKind, seq: u64) -> Event {
    Event { seq, ..event(kind, seq) }
}

/// A run of 40 events, as `accept` gets them.
fn run() -> Vec<Event> {
    let mut events: Vec<_> = (1..=40).map(|seq| numbered(EventKind::Progress, seq)).collect();
    events[0].kind = EventKind::RunStarted;
    events[39].kind = EventKind::RunFinished;
    events
}

fn numbers(body: &str) -> Vec<u64> {
    body.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().seq).collect()
}

fn acknowledge(body: &str) -> Reply {
    Reply::Answer(200, format!("{{\"last_seq\": {}}}", numbers(body).last().unwrap()))
}

#[test]
fn events_arrive_in_order_with_the_token_and_flush_waits_for_the_last() {
    let server = Server::start(|_, request| acknowledge(&request.body));
    let mut sink = sink(&server.url("/api/nodes/7/events"));
    for event in run() {
        sink.accept(&event);
    }
    sink.flush(SOON).unwrap();
    let requests = server.requests();
    let seen: Vec<_> = requests.iter().flat_map(|request| numbers(&request.body)).collect();
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
    for request in requests {
        assert!(request.head.starts_with("POST /api/nodes/7/events HTTP/1.1\r\n"), "{}", request.head);
        let head = request.head.to_lowercase();
        assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/x-ndjson\r\n"), "{head}");
    }
}

#[test]
fn dead_master_costs_the_run_nothing_and_flush_says_what_is_missing() {
    let url = Server::start(|_, _| Reply::Close).url("/api/nodes/7/events");
    let mut sink = sink(&url);
    let began = Instant::now();
    for event in run() {
        sink.accept(&event);
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let error = sink.flush(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), Kind::Master);
    let expected = format!("sending events to {url}: 40 did not arrive within 100ms: ");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(!error.to_string().contains("t0ken"), "{error}");
}

#[test]
fn slow_master_does_not_hold_up_events_and_gets_them_in_the_end() {
    let (answer, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Server::start(move |number, request| {
        if number == 0 {
            released.lock().unwrap().recv().unwrap();
        }
        acknowledge(&request.body)
    });
    let mut sink = sink(&server.url("/events"));
    for event in run() {
        sink.accept(&event);
    }
    assert_eq!(sink.flush(Duration::from_millis(50)).unwrap_err().kind(), Kind::Master);
    answer.send(()).unwrap();
    sink.flush(SOON).unwrap();
    let seen: Vec<_> = server.requests().iter().flat_map(|request| numbers(&request.body)).collect();
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
}

#[test]
fn failing_master_gets_the_same_events_again() {
    let server = Server::start(|number, request| match number {
        0 => Reply::Answer(500, "busy".into()),
        1 => Reply::Answer(401, "who are you".into()),
        _ => acknowledge(&request.body),
    });
    let mut sink = sink(&server.url("/events"));
    sink.accept(&numbered(EventKind::RunStarted, 1));
    sink.flush(SOON).unwrap();
    let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[test]
fn lost_answer_repeats_events_under_the_same_run_and_number() {
    let server = Server::start(|number, request| match number {
        0 => Reply::Close,
        _ => acknowledge(&request.body),
    });
    let mut sink = sink(&server.url("/events"));
    sink.accept(&numbered(EventKind::RunStarted, 1));
    sink.accept(&numbered(EventKind::RunFinished, 2));
    sink.flush(SOON).unwrap();
    let mut kept = std::collections::BTreeSet::new();
    for request in server.requests() {
        for line in request.body.lines() {
            let event: Event = serde_json::from_str(line).unwrap();
            kept.insert((event.run, event.seq));
        }
    }
    assert_eq!(kept, [("r1".to_owned(), 1), ("r1".to_owned(), 2)].into());
}

#[test]
fn events_that_were_not_acknowledged_are_sent_again() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Server::start(move |number, request| match number {
        // While the first is answered the others queue up, so that they come as one batch.
        0 => {
            gate.lock().unwrap().recv().unwrap();
            acknowledge(&request.body)
        }
        1 => Reply::Answer(200, "{\"last_seq\": 3}".into()),
        _ => acknowledge(&request.body),
    });
    let mut sink = sink(&server.url("/events"));
    sink.accept(&numbered(EventKind::RunStarted, 1));
    server.wait_for(1);
    for seq in 2..=5 {
        sink.accept(&numbered(EventKind::StepStarted, seq));
    }
    go.send(()).unwrap();
    sink.flush(SOON).unwrap();
    let seen: Vec<_> = server.requests().iter().map(|request| numbers(&request.body)).collect();
    assert_eq!(seen, [vec![1], vec![2, 3, 4, 5], vec![4, 5]]);
}

#[test]
fn one_refused_event_does_not_keep_the_others_back() {
    let server = Server::start(|_, request| {
        if numbers(&request.body).contains(&2) {
            return Reply::Answer(422, String::new());
        }
        acknowledge(&request.body)
    });
    let mut sink = sink(&server.url("/events"));
    for seq in 1..=3 {
        sink.accept(&numbered(EventKind::StepStarted, seq));
    }
    let error = sink.flush(SOON).unwrap_err().to_string();
    assert!(error.ends_with("/events: 1 were refused: it answers 422 Unprocessable Entity"), "{error}");
    let last = server.requests().pop().unwrap();
    assert!(numbers(&last.body).ends_with(&[3]));
}

#[test]
fn full_spool_gives_up_progress_then_log_lines_and_nothing_else() {
    let mut spool = Spool::default();
    let kinds = [
        EventKind::RunStarted,
        EventKind::Log,
        EventKind::Progress,
        EventKind::StepFailed,
        EventKind::Progress,
        EventKind::RunFinished,
    ];
    for (seq, kind) in (1..).zip(kinds) {
        spool.waiting.push_back(Queued { run: "r1".into(), seq, kind, line: Vec::new() });
    }
    let mut left = |most| {
        spool.trim(most);
        spool.waiting.iter().map(|queued| queued.seq).collect::<Vec<_>>()
    };
    assert_eq!(left(5), [1, 2, 4, 5, 6]);
    assert_eq!(left(4), [1, 2, 4, 6]);
    assert_eq!(left(3), [1, 4, 6]);
    assert_eq!(left(1), [1, 4, 6]);
}
