//! Ctrl-C once and twice, SIGTERM, SIGHUP: how a run stops, what it says, and how it goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::files::{self, ids};
use crate::input;
use crate::mock::Mock;
use crate::run::{Ended, Run, Running};
use crate::wait::until;

const COUNT: usize = 60;
const IN_FLIGHT: u64 = 20;

/// Answers that come, but late enough to stop the run before.
const SLOW: [&str; 2] = ["--latency", "2500ms"];
/// Requests that never get an answer.
const SILENT: [&str; 2] = ["--hang-share", "1"];

fn run_in(folder: &Path) -> Run {
    let (from, to) = (folder.join("in.jsonl"), folder.join("out.jsonl"));
    input::write_batch(&from, COUNT);
    Run::new(&from, &to).flags(&["--concurrency", "20", "--progress-every", "20ms"])
}

fn all_ids() -> Vec<String> {
    (0..COUNT).map(input::id).collect()
}

/// A run with all its places taken and nothing answered yet.
fn full(run: &Run, mock: &Mock) -> Running {
    let running = run.start(mock);
    mock.holds(IN_FLIGHT);
    running
}

/// The stopped run says that it is not complete and how to go on; the same command then does the
/// rest and pays nothing again.
fn check_resumed(run: &Run, stopped: &Ended, answered: u64) {
    assert!(
        stopped.stderr.contains("run the same command again"),
        "{}",
        stopped.stderr
    );
    let summary = run.summary();
    assert_eq!(summary["complete"], false);
    assert_eq!(summary["stopped_by"], "asked");
    assert_eq!(summary["requests"]["answered"], answered);
    assert_eq!(ids(&run.output).len() as u64, answered);
    let mock = Mock::start(&[]);
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    assert_eq!(stats.requests_admitted, COUNT as u64 - answered);
    assert_eq!(stats.duplicate_answers, 0);
    assert_eq!(run.summary()["complete"], true);
    files::check_batch(&run.output, &all_ids());
}

/// One signal: nothing new starts, everything in flight is awaited.
fn drains(signal: Signal, flags: &[&str], code: i32) {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path()).flags(flags);
    let mock = Mock::start(&SLOW);
    let running = full(&run, &mock);
    running.signal(signal);
    let stopped = running.ends_with(code);
    let stats = mock.settled();
    assert_eq!(stats.requests_admitted, IN_FLIGHT, "something new started");
    assert_eq!((stats.answered, stats.abandoned), (IN_FLIGHT, 0));
    assert_eq!(run.summary()["abandoned_ids"], Value::Array(Vec::new()));
    check_resumed(&run, &stopped, IN_FLIGHT);
    println!(
        "{signal:?} {flags:?}: exit {code}; in flight {IN_FLIGHT}, awaited {}, abandoned 0, sent \
         again 0",
        stats.answered
    );
}

/// What is in flight never comes: it is given up, and named.
fn check_abandoned(run: &Run, mock: &Mock, stopped: &Ended) {
    let stats = mock.settled();
    assert_eq!(stats.requests_admitted, IN_FLIGHT);
    assert_eq!((stats.answered, stats.abandoned), (0, IN_FLIGHT));
    let mut named: Vec<String> =
        serde_json::from_value(run.summary()["abandoned_ids"].clone()).unwrap();
    let mut expected = all_ids();
    expected.truncate(named.len());
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named.len() as u64, IN_FLIGHT);
    assert_eq!(named, expected, "the first rows were in flight");
    let said = format!("{IN_FLIGHT} given up in flight, perhaps billed: request-");
    assert!(stopped.stderr.contains(&said), "{}", stopped.stderr);
    check_resumed(run, stopped, 0);
}

#[test]
fn ctrl_c_awaits_what_is_in_flight_and_starts_nothing_new() {
    drains(Signal::INT, &[], 130);
}

#[test]
fn sigterm_within_its_grace_awaits_what_is_in_flight() {
    drains(Signal::TERM, &["--grace", "60s"], 143);
}

#[test]
fn sighup_within_its_grace_awaits_what_is_in_flight() {
    drains(Signal::HUP, &["--grace", "60s"], 129);
}

#[test]
fn a_second_ctrl_c_abandons_what_is_in_flight_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let mock = Mock::start(&SILENT);
    let mut running = full(&run, &mock);
    running.signal(Signal::INT);
    running.says("\"stopping\":true");
    assert_eq!(mock.stats().in_flight, IN_FLIGHT, "one Ctrl-C abandoned");
    assert!(!running.has_ended());
    running.signal(Signal::INT);
    let stopped = running.ends_with(130);
    check_abandoned(&run, &mock, &stopped);
    println!(
        "second Ctrl-C: exit 130; {IN_FLIGHT} abandoned and named, none sent twice when resumed"
    );
}

#[test]
fn the_end_of_the_grace_abandons_what_is_in_flight_and_names_it() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(folder.path()).flags(&["--grace", "300ms"]);
        let mock = Mock::start(&SILENT);
        let running = full(&run, &mock);
        let start = Instant::now();
        running.signal(signal);
        let stopped = running.ends_with(code);
        assert!(start.elapsed() >= Duration::from_millis(300));
        check_abandoned(&run, &mock, &stopped);
        println!("{signal:?} --grace 300ms: exit {code}; {IN_FLIGHT} abandoned and named");
    }
}

/// A run whose last requests are all in flight. What happens to it then stops nothing.
fn completes(flags: &[&str], happens: impl FnOnce(&Running)) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let count = IN_FLIGHT as usize;
    input::write_batch(&from, count);
    let run = Run::new(&from, &to)
        .flags(&["--concurrency", "20"])
        .flags(flags);
    let mock = Mock::start(&SLOW);
    let running = full(&run, &mock);
    happens(&running);
    let ended = running.ends_with(0);
    assert!(!ended.stderr.contains("stopped"), "{}", ended.stderr);
    assert_eq!(run.summary()["complete"], true);
    files::check_batch(&to, &all_ids()[..count]);
}

#[test]
fn a_signal_that_costs_no_request_is_no_stop() {
    completes(&[], |running| running.signal(Signal::INT));
}

#[test]
fn a_deadline_or_a_cap_that_costs_no_request_is_no_stop() {
    completes(&["--deadline", "1500ms"], |_| {});
    completes(&["--price", "1,1", "--max-cost", "0.0001"], |_| {});
}

#[test]
fn ctrl_c_while_requests_are_retried_ends_in_time_and_loses_nothing() {
    // Every attempt fails and waits for its next one: nothing is in flight most of the time.
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path()).flags(&[
        "--base-backoff",
        "1h",
        "--max-backoff",
        "1h",
        "--max-attempts",
        "1000",
    ]);
    let mock = Mock::start(&["--error-share", "1"]);
    let running = run.start(&mock);
    until("failures", || {
        (mock.stats().faults >= IN_FLIGHT).then_some(())
    });
    running.signal(Signal::INT);
    let stopped = running.ends_with(130);
    assert!(files::bytes(&run.beside(".errors.jsonl")).is_empty());
    check_resumed(&run, &stopped, 0);
}
