//! The scene that other programs are measured by: killed in the middle, then run again.

use crate::files::{self, count_lines, whole_lines};
use crate::input;
use crate::mock::Mock;
use crate::run::Run;
use crate::wait::until;

const COUNT: usize = 1500;

#[test]
fn what_was_journaled_before_a_kill_in_the_middle_is_never_paid_again() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    input::write_batch(&from, COUNT);
    let mock = Mock::start(&["--latency", "100ms"]);
    let run = Run::new(&from, &to).flags(&["--concurrency", "64", "--progress", "none"]);
    let running = run.start(&mock);
    until("half of the answers", || {
        (count_lines(&files::bytes(&to)) >= COUNT as u64 / 2).then_some(())
    });
    assert!(running.killed().is_none(), "it ended before the kill");
    let killed = mock.settled();
    let journaled = count_lines(&whole_lines(&to));
    run.ends_with(&mock, 0);
    let stats = mock.settled();
    let all: Vec<String> = (0..COUNT).map(input::id).collect();
    files::check_batch(&to, &all);
    let lost = killed.answered - journaled;
    let paid_again = stats.duplicate_answers - lost;
    println!(
        "kill and resume: {COUNT} requests, 64 in flight, {journaled} journaled at the kill, {} in \
         flight then; answered {}; journaled answers paid again: {paid_again}",
        killed.abandoned + lost,
        stats.answered,
    );
    assert_eq!(paid_again, 0);
    assert!(killed.abandoned + lost > 0, "nothing was in flight");
    assert!(stats.answered <= COUNT as u64 + 64);
    assert_eq!(stats.by_status.keys().collect::<Vec<_>>(), ["200"]);
}
