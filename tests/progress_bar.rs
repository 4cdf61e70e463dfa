//! What a person sees of a run: a bar on a terminal, plain lines elsewhere. The terminal is a real one, made by script(1).

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use support::http_server::{Cut, Reply, Server};
use support::scratch::Scratch;

const MIB: usize = 1 << 20;

/// A server that pauses, so that progress is told, and breaks off once, so that a warning comes between.
fn halting() -> Server {
    let body: Arc<[u8]> = (0..8 * MIB).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into();
    Server::start(move |seen, nth| {
        let reply = Reply::file(seen, &body, "\"v1\"").stall(3 * MIB, Duration::from_millis(500));
        if nth == 0 { reply.cut(Cut::Close(5 * MIB)) } else { reply }
    })
}

/// Standard output and standard error of `write-image`, in the order in which they came.
fn seen(is_terminal: bool, term: &str) -> String {
    let (server, scratch) = (halting(), Scratch::new());
    let target = scratch.path("disk.img");
    let line = format!(
        "{} write-image {} {} --size {}",
        env!("CARGO_BIN_EXE_bedplate"),
        server.url("/disk.img"),
        target.display(),
        8 * MIB
    );
    let mut command = if is_terminal {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &format!("stty cols 100; {line}"), "/dev/null"]);
        script
    } else {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{line} 2>&1")]);
        shell
    };
    let output = command.env("TERM", term).env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

/// What stands on the screen in the end: each line as it was drawn last.
fn screen(text: &str) -> Vec<String> {
    let last = |line: &str| {
        let shown = line.rsplit(['\r']).find(|part| !part.replace("\x1b[2K", "").trim().is_empty()).unwrap_or_default();
        shown.rsplit("\x1b[2K").next().unwrap_or_default().trim_end().to_owned()
    };
    text.lines().map(last).filter(|line| !line.is_empty()).collect()
}

/// The beginnings of lines without times and numbers.
fn kinds(lines: &[String]) -> Vec<&'static str> {
    let kind = |line: &String| {
        let words = line.split_once("] ").map_or(line.as_str(), |(_, words)| words);
        let known = ["run ", "bedplate: warn: ", "write-image "];
        known.into_iter().find(|known| words.starts_with(known)).unwrap_or("torn")
    };
    lines.iter().map(kind).collect()
}

#[test]
fn terminal_shows_a_bar_and_whole_lines_when_it_is_gone() {
    let text = seen(true, "xterm");
    assert!(text.contains("#") && text.contains(" % ") && text.contains(" MiB/s "), "no bar in {text:?}");
    let lines = screen(&text);
    let expected = ["run ", "write-image ", "bedplate: warn: ", "write-image ", "run "];
    assert_eq!(kinds(&lines), expected, "{lines:#?}\n{text:?}");
    assert!(lines[2].contains("trying again"), "{lines:#?}");
    // There are no colours for NO_COLOR to switch off.
    let is_colour =
        |steering: &str| steering.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    assert!(!text.split("\x1b[").skip(1).any(is_colour), "{text:?}");
}

#[test]
fn what_is_no_terminal_or_a_dumb_one_gets_plain_lines() {
    for (is_terminal, term) in [(true, "dumb"), (false, "xterm")] {
        let text = seen(is_terminal, term);
        assert!(!text.contains('\x1b') && !text.contains('\r') && !text.contains('#'), "{text:?}");
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let expected = ["run ", "write-image ", "bedplate: warn: ", "write-image ", "run "];
        assert_eq!(kinds(&lines), expected, "{lines:#?}");
    }
}
