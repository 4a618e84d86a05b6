//! SIGKILL at random moments, many times a run, while requests are in flight and answers unsynced.

use std::path::PathBuf;
use std::time::Duration;

use crate::files::{self, count_lines, whole_lines};
use crate::input::{self, CSV_FLAGS};
use crate::mock::Mock;
use crate::random::{Random, seed};
use crate::run::{Run, Running};
use crate::wait::until;

/// Requests of a batch.
const COUNT: usize = 600;
/// Most requests in flight, and so the most that a kill may cost.
const CONCURRENCY: u64 = 48;

/// Latency, every kind of fault that an answer can meet, and a limit.
const MOCK: [&str; 18] = [
    "--latency",
    "25ms",
    "--latency-sigma",
    "0.6",
    "--rps",
    "600",
    "--error-share",
    "0.02",
    "--overload-share",
    "0.01",
    "--reset-share",
    "0.02",
    "--truncate-share",
    "0.02",
    "--garbage-share",
    "0.01",
    "--seed",
    "11",
];
const RUN: [&str; 12] = [
    "--rps",
    "600",
    "--concurrency",
    "48",
    "--base-backoff",
    "5ms",
    "--max-backoff",
    "50ms",
    "--max-attempts",
    "100",
    "--progress",
    "none",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The journal itself.
    Batch,
    /// Made from the journal at the end.
    Csv,
    /// Made from the journal of streamed answers, in Anthropic's form.
    Messages,
}

/// What all kills came to.
#[derive(Debug, Default)]
struct Tally {
    batches: u64,
    kills: u64,
    kills_in_flight: u64,
    kills_unsynced: u64,
    kills_after_last_answer: u64,
    in_flight: u64,
    paid_and_lost: u64,
    paid_again: u64,
    requests: u64,
}

#[test]
fn nothing_is_lost_and_no_journaled_answer_is_paid_again_by_kills_at_random_moments() {
    let seed = seed();
    println!("BRIMFUL_CRASH_SEED={seed}");
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for (output, durability, kills) in [
        (Output::Batch, "power", 12),
        (Output::Batch, "process", 10),
        (Output::Csv, "power", 8),
        (Output::Csv, "process", 8),
        (Output::Messages, "process", 8),
    ] {
        let wanted = tally.kills + kills;
        while tally.kills < wanted {
            batch(output, durability, wanted, &mut random, &mut tally);
        }
    }
    assert!(tally.kills >= 30, "{tally:?}");
    assert!(tally.kills_in_flight >= 20, "{tally:?}");
    assert!(tally.kills_unsynced >= 5, "{tally:?}");
    println!(
        "sigkill: {} kills in {} batches of {COUNT}: {} while requests were in flight ({} of them), \
         {} while answers were written but not fsynced, {} after the last answer; requests lost: 0; \
         answered twice in the output: 0; journaled answers paid again: {}; paid, lost in flight \
         and paid again: {}",
        tally.kills,
        tally.batches,
        tally.kills_in_flight,
        tally.in_flight,
        tally.kills_unsynced,
        tally.kills_after_last_answer,
        tally.paid_again,
        tally.paid_and_lost,
    );
    assert_eq!(tally.requests, tally.batches * COUNT as u64);
}

/// One batch from its start to its end, killed on the way until `wanted` kills are reached.
fn batch(output: Output, durability: &str, wanted: u64, random: &mut Random, tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let (run, journal) = prepared(output, folder.path().to_owned());
    let run = run.flags(&["--durability", durability]);
    let mock = Mock::start(&MOCK);
    let mut kept = Vec::new();
    let (mut abandoned, mut lost) = (0, 0);
    while tally.kills < wanted {
        let before = count_lines(&kept);
        let mut running = run.start(&mock);
        aim(&mut running, &journal, before, random);
        if let Some(status) = running.killed() {
            assert!(status.success(), "{status}");
            break;
        }
        let stats = mock.settled();
        let now = whole_lines(&journal);
        assert!(
            now.starts_with(&kept),
            "lines of the journal vanished or changed"
        );
        kept = now;
        let journaled = count_lines(&kept);
        let cost = (stats.answered - journaled).checked_sub(lost);
        let cost = cost.expect("an answer was journaled that the mock did not give");
        assert!(cost <= CONCURRENCY, "a kill lost {cost} answers");
        lost += cost;
        let in_flight = stats.abandoned - abandoned + cost;
        abandoned = stats.abandoned;
        tally.kills += 1;
        tally.in_flight += in_flight;
        tally.kills_in_flight += u64::from(in_flight > 0);
        tally.kills_unsynced += u64::from(durability == "process" && journaled > before);
        tally.kills_after_last_answer += u64::from(journaled == COUNT as u64);
    }
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    let count = COUNT as u64;
    assert!(whole_lines(&journal).starts_with(&kept));
    assert!(stats.faults > 0, "no faults were met");
    assert_eq!(stats.prompts_answered, count);
    assert_eq!(stats.answered - count, lost, "answers lost without a kill");
    tally.paid_again += stats.duplicate_answers.abs_diff(lost);
    assert_eq!(
        stats.duplicate_answers, lost,
        "the rest are journaled answers that were paid again"
    );
    check(output, &run, &journal);
    tally.batches += 1;
    tally.paid_and_lost += lost;
    tally.requests += stats.prompts_answered;
}

fn prepared(output: Output, folder: PathBuf) -> (Run, PathBuf) {
    match output {
        Output::Batch => {
            let (from, to) = (folder.join("in.jsonl"), folder.join("out.jsonl"));
            input::write_batch(&from, COUNT);
            (Run::new(&from, &to).flags(&RUN), to)
        }
        Output::Csv => {
            let (from, to) = (folder.join("in.csv"), folder.join("out.csv"));
            input::write_csv(&from, &topics());
            let run = Run::new(&from, &to).flags(&RUN).flags(&CSV_FLAGS);
            let journal = run.beside(".journal.jsonl");
            (run, journal)
        }
        Output::Messages => {
            let (from, to) = (folder.join("in.json"), folder.join("out.jsonl"));
            input::write_messages(&from, COUNT);
            let run = Run::new(&from, &to).flags(&RUN);
            let journal = run.beside(".journal.jsonl");
            (run, journal)
        }
    }
}

fn topics() -> Vec<String> {
    (0..COUNT).map(input::id).collect()
}

/// Waits for the moment to kill.
fn aim(running: &mut Running, journal: &std::path::Path, before: u64, random: &mut Random) {
    let lines = match random.below(8) {
        // Even before the first answer: while the journal is read, the spare room made.
        0 => before,
        1 => COUNT as u64,
        _ => before + 1 + random.below(COUNT as u64 / 12),
    };
    until("answers in the journal", || {
        let reached = count_lines(&files::bytes(journal)) >= lines;
        (reached || running.has_ended()).then_some(())
    });
    // Chance decides what the process is doing then; the length is of no importance.
    std::thread::park_timeout(Duration::from_micros(random.below(20_000)));
}

/// Every request is answered once, by its own answer, and nothing is left lying about.
fn check(output: Output, run: &Run, journal: &std::path::Path) {
    assert_eq!(count_lines(&files::bytes(journal)), COUNT as u64);
    match output {
        Output::Batch => files::check_batch(&run.output, &topics()),
        Output::Csv => {
            files::check_csv(&run.output, &topics());
            check_undisturbed(run, ".undisturbed.csv");
        }
        Output::Messages => {
            files::check_messages(&run.output, &topics());
            check_undisturbed(run, ".undisturbed.jsonl");
        }
    }
    let left = std::fs::read_dir(run.output.parent().unwrap()).unwrap();
    for name in left.map(|entry| entry.unwrap().file_name()) {
        let name = name.to_string_lossy().into_owned();
        for suffix in [".lock", ".spare", ".rewrite", ".tmp", ".partial"] {
            assert!(!name.ends_with(suffix), "{name} is left");
        }
        assert!(!name.contains(".errors."), "{name}: a request was given up");
    }
    assert_eq!(run.summary()["complete"], true);
}

/// The output is byte for byte what a run without a kill and a fault makes.
fn check_undisturbed(run: &Run, suffix: &str) {
    let calm = Mock::start(&["--seed", "11"]);
    let mut undisturbed = run.clone();
    undisturbed.output = run.beside(suffix);
    undisturbed.ends_with(&calm, 0);
    let (made, expected) = (&run.output, &undisturbed.output);
    assert_eq!(files::bytes(made), files::bytes(expected));
}
