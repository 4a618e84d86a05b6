//! A disk that fills up: what was paid is kept, what cannot be kept is not bought.

use std::collections::BTreeSet;
use std::path::Path;

use crate::files::{self, count_lines, ids};
use crate::input::{self, CSV_FLAGS};
use crate::mock::Mock;
use crate::run::Run;
use crate::small_disk::{Ballast, free_bytes, on_small_disk};

fn topics(count: usize) -> Vec<String> {
    (0..count).map(input::id).collect()
}

fn run_on(disk: &Path, elsewhere: &Path, count: usize, is_csv: bool) -> Run {
    if is_csv {
        let from = elsewhere.join("in.csv");
        input::write_csv(&from, &topics(count));
        Run::new(&from, &disk.join("out.csv")).flags(&CSV_FLAGS)
    } else {
        let from = elsewhere.join("in.jsonl");
        input::write_batch(&from, count);
        Run::new(&from, &disk.join("out.jsonl"))
    }
}

/// The disk is filled by answers; the room kept free takes those under way.
fn fills_up(disk: &Path, is_csv: bool) {
    const COUNT: usize = 400;
    let elsewhere = tempfile::tempdir().unwrap();
    let run = run_on(disk, elsewhere.path(), COUNT, is_csv).flags(&["--concurrency", "32"]);
    let journal = match is_csv {
        true => run.beside(".journal.jsonl"),
        false => run.output.clone(),
    };
    let ballast = Ballast::leaving(disk, 2 << 20);
    // An answer of some 12 kB.
    let mock = Mock::start(&["--output-tokens", "2000", "--latency", "20ms"]);
    let ended = run.ends_with(&mock, 1);
    let stats = mock.settled();
    let kept = count_lines(&files::bytes(&journal));
    assert!(
        ended.stderr.contains("the disk is full"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("make room"), "{}", ended.stderr);
    assert_eq!(stats.answered, kept, "an answer that came was not kept");
    assert_eq!((stats.requests_admitted, stats.abandoned), (kept, 0));
    assert!(kept > 32 && kept < COUNT as u64, "{kept} answers");
    let summary = run.summary();
    assert_eq!(summary["stopped_by"], "output");
    assert_eq!(summary["complete"], false);
    assert_eq!(summary["unwritten_ids"], serde_json::json!([]));

    // Without room nothing is sent, and nothing is lost.
    let before = files::bytes(&journal);
    let refused = run.ends_with(&mock, 1);
    assert!(
        refused.stderr.contains("free some disk space"),
        "{}",
        refused.stderr
    );
    assert_eq!(mock.settled().requests_admitted, kept);
    assert!(files::bytes(&journal) == before, "the journal has changed");

    ballast.delete();
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    assert_eq!(stats.answered, COUNT as u64);
    assert_eq!(stats.duplicate_answers, 0);
    match is_csv {
        true => files::check_csv(&run.output, &topics(COUNT)),
        false => files::check_batch(&run.output, &topics(COUNT)),
    }
    println!(
        "full disk{}: stopped after {kept} of {COUNT} answers, all of them kept; after making room \
         {} sent, journaled answers paid again: {}",
        if is_csv { " (rows)" } else { "" },
        COUNT as u64 - kept,
        stats.duplicate_answers
    );
}

#[test]
fn answers_under_way_when_the_disk_fills_up_are_kept_and_nothing_more_is_sent() {
    let test =
        "full_disk::answers_under_way_when_the_disk_fills_up_are_kept_and_nothing_more_is_sent";
    on_small_disk(test, |disk| {
        fills_up(disk, false);
    });
}

#[test]
fn rows_of_which_the_disk_is_full_are_kept_in_the_journal() {
    let test = "full_disk::rows_of_which_the_disk_is_full_are_kept_in_the_journal";
    on_small_disk(test, |disk| fills_up(disk, true));
}

#[test]
fn answers_that_fit_nowhere_are_named_and_sent_again() {
    const COUNT: usize = 120;
    let test = "full_disk::answers_that_fit_nowhere_are_named_and_sent_again";
    on_small_disk(test, |disk| {
        let elsewhere = tempfile::tempdir().unwrap();
        let run = run_on(disk, elsewhere.path(), COUNT, false).flags(&["--concurrency", "80"]);
        let ballast = Ballast::leaving(disk, 1 << 20);
        // Answers of some 300 kB: what is in flight is more than the room kept free.
        let mock = Mock::start(&["--output-tokens", "60000", "--latency", "1s"]);
        let ended = run.ends_with(&mock, 1);
        let stats = mock.settled();
        let unwritten = run.summary()["unwritten_ids"].clone();
        let unwritten: BTreeSet<String> = serde_json::from_value(unwritten).unwrap();
        let kept: BTreeSet<String> = ids(&run.output).into_iter().collect();
        assert!(!unwritten.is_empty(), "everything fitted");
        assert!(unwritten.is_disjoint(&kept));
        assert_eq!(stats.answered, (kept.len() + unwritten.len()) as u64);
        let named = "answered but not written: request-";
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
        assert!(ended.stderr.contains("make room"), "{}", ended.stderr);

        ballast.delete();
        let second = Mock::start(&[]);
        run.ends_with(&second, 0);
        let sent = second.settled().requests_admitted;
        assert_eq!(sent, (COUNT - kept.len()) as u64);
        files::check_batch(&run.output, &topics(COUNT));
        println!(
            "full disk, answers larger than the room kept free: {} of {} kept, {} named as not \
             written; after making room {sent} sent; {} MB left",
            kept.len(),
            stats.answered,
            unwritten.len(),
            free_bytes(disk) >> 20
        );
    });
}

/// What keeps a file from being made: a folder where the unfinished one would be.
fn obstructed(run: &Run, mock: &Mock, name: &str, said: &[&str]) {
    let obstacle = run.output.parent().unwrap().join(name);
    std::fs::create_dir(&obstacle).unwrap();
    let ended = run.ends_with(mock, 1);
    for text in said.iter().chain(&["20 answered"]) {
        assert!(ended.stderr.contains(text), "{text:?}: {}", ended.stderr);
    }
    std::fs::remove_dir(&obstacle).unwrap();
    let sent = mock.settled().requests_admitted;
    run.ends_with(mock, 0);
    assert_eq!(mock.settled().requests_admitted, sent, "paid twice");
    assert_eq!(run.summary()["complete"], true);
}

#[test]
fn a_final_file_that_cannot_be_made_does_not_hide_what_the_run_came_to() {
    let mock = Mock::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let run = run_on(folder.path(), folder.path(), 20, true);
    let said = ["safe in the journal", "out.csv"];
    obstructed(&run, &mock, ".out.csv.partial", &said);
    files::check_csv(&run.output, &topics(20));
}

#[test]
fn a_summary_that_cannot_be_written_refuses_the_run_before_anything_is_sent() {
    let mock = Mock::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let run = run_on(folder.path(), folder.path(), 20, false);
    let obstacle = folder.path().join("out.jsonl.summary.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    let ended = run.ends_with(&mock, 1);
    assert!(
        ended.stderr.contains("out.jsonl.summary.json"),
        "{}",
        ended.stderr
    );
    assert_eq!(mock.settled().requests_admitted, 0);
    std::fs::remove_dir(&obstacle).unwrap();
    run.ends_with(&mock, 0);
    files::check_batch(&run.output, &topics(20));
}
