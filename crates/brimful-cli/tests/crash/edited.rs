//! Inputs that change between runs: only what is new is sent, what is gone moves away.

use std::collections::BTreeMap;
use std::path::Path;

use brimful_sim::answer_tag;

use crate::files::{self, check_csv, count_lines, parsed, whole_lines};
use crate::input::{CSV_FLAGS, prompt, write_csv};
use crate::mock::Mock;
use crate::random::{Random, seed};
use crate::run::Run;
use crate::wait::until;

const ROWS: usize = 10_000;
/// 1 % of them: inserted, deleted, moved and edited each.
const CHANGED: usize = 100;

fn run_in(folder: &Path) -> Run {
    Run::new(&folder.join("in.csv"), &folder.join("out.csv"))
        .flags(&CSV_FLAGS)
        .flags(&["--progress", "none"])
}

/// Rows after the edit, and the topics that are gone.
fn edited(topics: &[String], random: &mut Random) -> (Vec<String>, Vec<String>) {
    let mut places: Vec<usize> = (0..topics.len()).collect();
    for at in 0..4 * CHANGED {
        let left = (places.len() - at) as u64;
        let other = at + usize::try_from(random.below(left)).unwrap();
        places.swap(at, other);
    }
    let part = |number: usize| &places[number * CHANGED..(number + 1) * CHANGED];
    let mut rows: Vec<Option<String>> = topics.iter().cloned().map(Some).collect();
    let mut gone = Vec::new();
    for (&one, &other) in part(0).iter().zip(part(1)) {
        rows.swap(one, other);
    }
    for (number, &at) in part(2).iter().enumerate() {
        gone.extend(rows[at].replace(format!("edited-{number}")));
    }
    for &at in part(3) {
        gone.extend(rows[at].take());
    }
    let mut rows: Vec<String> = rows.into_iter().flatten().collect();
    for number in 0..CHANGED {
        let at = usize::try_from(random.below(rows.len() as u64 + 1)).unwrap();
        rows.insert(at, format!("inserted-{number}"));
    }
    (rows, gone)
}

/// How often each tag occurs in the answers of a journal.
fn tags(path: &Path) -> BTreeMap<String, u64> {
    let mut tags = BTreeMap::new();
    for line in parsed(path) {
        let text = &line["response"]["body"]["choices"][0]["message"]["content"];
        let tag = text.as_str().unwrap().split_inclusive(']').next().unwrap();
        *tags.entry(tag.to_owned()).or_default() += 1;
    }
    tags
}

fn tags_of<'a>(topics: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, u64> {
    let mut tags = BTreeMap::new();
    for topic in topics {
        *tags.entry(answer_tag(&prompt(topic))).or_default() += 1;
    }
    tags
}

#[test]
fn of_an_edited_file_only_new_and_changed_rows_are_sent() {
    let seed = seed();
    println!("BRIMFUL_CRASH_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let (journal, stale) = (run.beside(".journal.jsonl"), run.beside(".stale.jsonl"));
    let topics: Vec<String> = (0..ROWS).map(|row| format!("topic-{row}")).collect();
    write_csv(&run.input, &topics);
    let mock = Mock::start(&[]);
    run.ends_with(&mock, 0);
    check_csv(&run.output, &topics);
    let first = mock.settled().requests_admitted;
    assert_eq!(first, ROWS as u64);

    let (rows, gone) = edited(&topics, &mut Random::new(seed));
    write_csv(&run.input, &rows);
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    let sent = stats.requests_admitted - first;
    assert_eq!(sent, 2 * CHANGED as u64);
    assert_eq!(stats.duplicate_answers, 0);
    check_csv(&run.output, &rows);
    assert_eq!(tags(&journal), tags_of(&rows));
    assert_eq!(tags(&stale), tags_of(&gone));
    assert_eq!(run.summary()["requests"]["stale"], 2 * CHANGED);

    // Once more, to see that nothing is left to do and nothing moves twice.
    run.ends_with(&mock, 0);
    assert_eq!(mock.settled().requests_admitted, first + sent);
    assert_eq!(tags(&stale), tags_of(&gone));
    println!(
        "edited input: {ROWS} rows, {CHANGED} inserted, {CHANGED} deleted, {} moved, {CHANGED} \
         edited: {sent} sent, {} answers moved to the stale file, 0 paid again",
        2 * CHANGED,
        gone.len()
    );
}

#[test]
fn an_edited_run_that_is_killed_moves_nothing_until_it_has_seen_all() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path()).flags(&["--concurrency", "10"]);
    let (journal, stale) = (run.beside(".journal.jsonl"), run.beside(".stale.jsonl"));
    let topics: Vec<String> = (0..100).map(|row| format!("topic-{row}")).collect();
    write_csv(&run.input, &topics);
    let mock = Mock::start(&["--latency", "40ms"]);
    run.ends_with(&mock, 0);
    let rows: Vec<String> = (50..250).map(|row| format!("topic-{row}")).collect();
    write_csv(&run.input, &rows);
    let running = run.start(&mock);
    until("new answers", || {
        (count_lines(&files::bytes(&journal)) >= 120).then_some(())
    });
    assert!(running.killed().is_none());
    let killed = mock.settled();
    let journaled = count_lines(&whole_lines(&journal));
    assert!(!stale.exists(), "stale before the input was seen");
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    assert_eq!(stats.prompts_answered, 250);
    assert_eq!(stats.duplicate_answers, killed.answered - journaled);
    assert_eq!(tags(&stale), tags_of(&topics[..50]));
    assert_eq!(tags(&journal), tags_of(&rows));
    check_csv(&run.output, &rows);
}

#[test]
fn equal_rows_are_as_many_requests_as_there_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let (journal, stale) = (run.beside(".journal.jsonl"), run.beside(".stale.jsonl"));
    let mock = Mock::start(&[]);
    let mut sent = 0;
    let mut run_with = |equal: usize, expected: u64| {
        let mut rows = vec!["equal".to_owned(); equal];
        rows.insert(equal / 2, "other".to_owned());
        write_csv(&run.input, &rows);
        run.ends_with(&mock, 0);
        let admitted = mock.settled().requests_admitted;
        assert_eq!(admitted - sent, expected, "of {equal} equal rows");
        sent = admitted;
        check_csv(&run.output, &rows);
        assert_eq!(tags(&journal), tags_of(&rows));
    };
    run_with(10, 11);
    run_with(10, 0);
    run_with(7, 0);
    assert_eq!(count_lines(&files::bytes(&stale)), 3);
    // Stale answers are taken back before anything is paid again.
    run_with(12, 2);
    assert!(!stale.exists());
    println!("equal rows: 10, then 7, then 12 of them: 10, 0 and 2 sent, none stale");
}
