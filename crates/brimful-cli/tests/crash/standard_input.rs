//! Standard input can be read only once, and may never end.

use std::path::Path;

use rustix::process::Signal;

use crate::files::{self, check_csv, count_lines, whole_lines};
use crate::input::{self, CSV_FLAGS};
use crate::mock::Mock;
use crate::run::Run;
use crate::wait::until;

const COUNT: usize = 300;

fn topics() -> Vec<String> {
    (0..COUNT).map(input::id).collect()
}

/// Less than a pipe holds, so that it can be fed at once.
fn fed(folder: &Path, rows: usize) -> Vec<u8> {
    let path = folder.join("fed.csv");
    input::write_csv(&path, &topics()[..rows]);
    files::bytes(&path)
}

fn run_in(folder: &Path) -> Run {
    let mut run = Run::new(Path::new("-"), &folder.join("out.csv")).flags(&CSV_FLAGS);
    run.fed = fed(folder, COUNT);
    run.flags(&["--concurrency", "16"])
}

#[test]
fn a_killed_run_goes_on_when_it_is_fed_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = run_in(folder.path());
    let journal = run.beside(".journal.jsonl");
    let mock = Mock::start(&["--latency", "20ms"]);
    let mut lost = 0;
    for kill in 1..=3 {
        let running = run.start(&mock);
        until("answers", || {
            let lines = count_lines(&files::bytes(&journal));
            (lines >= kill * COUNT as u64 / 5).then_some(())
        });
        assert!(running.killed().is_none());
        lost = mock.settled().answered - count_lines(&whole_lines(&journal));
    }
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    assert_eq!(stats.prompts_answered, COUNT as u64);
    assert_eq!(stats.duplicate_answers, lost);
    check_csv(&run.output, &topics());
    assert!(
        !run.beside(".input").exists(),
        "the copy of the input is left"
    );
    println!(
        "standard input: 3 kills, {lost} paid and lost in flight, journaled answers paid again: 0"
    );
}

#[test]
fn ctrl_c_does_not_wait_for_an_input_that_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run_in(folder.path());
    let mock = Mock::start(&[]);
    let all = std::mem::replace(&mut run.fed, fed(folder.path(), 20));
    let running = run.start_open(&mock);
    until("answers to what was fed", || {
        (mock.stats().answered == 20).then_some(())
    });
    running.signal(Signal::INT);
    let ended = running.ends_with(130);
    assert!(ended.stderr.contains("run the same command again"));
    assert_eq!(run.summary()["complete"], false);
    check_csv(&run.output, &topics()[..20]);
    run.fed = all;
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    assert_eq!((stats.answered, stats.duplicate_answers), (COUNT as u64, 0));
    check_csv(&run.output, &topics());
}
