//! Journals as a power loss or a bad disk leaves them: exactly the damaged requests run again.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use crate::files::{self, ids};
use crate::input::{self, CSV_FLAGS};
use crate::mock::Mock;
use crate::run::Run;

const COUNT: usize = 40;

/// A finished run whose journal is about to be damaged.
struct Scene {
    _folder: tempfile::TempDir,
    mock: Mock,
    run: Run,
    journal: std::path::PathBuf,
    is_csv: bool,
    bytes: Vec<u8>,
    /// Where each line is, its newline included.
    lines: Vec<Range<usize>>,
    ids: Vec<String>,
}

impl Scene {
    fn finished(is_csv: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mock = Mock::start(&[]);
        let at = |name: &str| folder.path().join(name);
        let (run, journal) = if is_csv {
            input::write_csv(&at("in.csv"), &topics());
            let run = Run::new(&at("in.csv"), &at("out.csv")).flags(&CSV_FLAGS);
            let journal = run.beside(".journal.jsonl");
            (run, journal)
        } else {
            input::write_batch(&at("in.jsonl"), COUNT);
            (Run::new(&at("in.jsonl"), &at("out.jsonl")), at("out.jsonl"))
        };
        run.ends_with(&mock, 0);
        let bytes = files::bytes(&journal);
        let mut lines = Vec::new();
        let mut start = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            lines.push(start..start + line.len());
            start += line.len();
        }
        assert_eq!(lines.len(), COUNT);
        Self {
            ids: ids(&journal),
            mock,
            run,
            journal,
            is_csv,
            bytes,
            lines,
            _folder: folder,
        }
    }

    /// Runs again after the damage. The requests of the lines `lost` are sent again, nothing else
    /// is, and `corrupt` is kept aside.
    fn check(self, name: &str, lost: Range<usize>, corrupt: &[u8]) {
        std::fs::write(&self.journal, &self.bytes).unwrap();
        let ended = self.run.ends_with(&self.mock, 0);
        let stats = self.mock.settled();
        assert_eq!(
            stats.requests_admitted,
            (COUNT + lost.len()) as u64,
            "{name}: {}",
            ended.stderr
        );
        assert_eq!(stats.duplicate_answers, lost.len() as u64, "{name}");
        let now = ids(&self.journal);
        let (kept, again) = now.split_at(COUNT - lost.len());
        let mut expected = self.ids.clone();
        let lost: BTreeSet<String> = expected.drain(lost).collect();
        assert_eq!(kept, expected, "{name}");
        assert_eq!(
            again.iter().cloned().collect::<BTreeSet<_>>(),
            lost,
            "{name}"
        );
        let aside = self.run.beside(".corrupt");
        let mut expected = corrupt.to_vec();
        if expected.last().is_some_and(|&last| last != b'\n') {
            expected.push(b'\n');
        }
        let found = files::bytes(&aside);
        let (length, wanted) = (found.len(), expected.len());
        assert!(
            found == expected,
            "{name}: {length} bytes aside, not {wanted}"
        );
        if !corrupt.is_empty() {
            let named = aside.to_string_lossy().into_owned();
            assert!(ended.stderr.contains(&named), "{name}: {}", ended.stderr);
        }
        if self.is_csv {
            files::check_csv(&self.run.output, &topics());
        } else {
            files::check_batch(&self.run.output, &topics());
        }
        assert_eq!(self.run.summary()["complete"], Value::Bool(true));
        println!(
            "{name}{}: {} of {COUNT} sent again, {} bytes kept aside",
            if self.is_csv { " (rows)" } else { "" },
            lost.len(),
            corrupt.len()
        );
    }
}

fn topics() -> Vec<String> {
    (0..COUNT).map(input::id).collect()
}

fn each(damage: impl Fn(Scene)) {
    damage(Scene::finished(false));
    damage(Scene::finished(true));
}

#[test]
fn a_torn_last_line_runs_again() {
    each(|mut scene| {
        let last = scene.lines[COUNT - 1].clone();
        scene.bytes.truncate(last.start + last.len() / 2);
        let torn = scene.bytes[last.start..].to_vec();
        scene.check("torn last line", COUNT - 1..COUNT, &torn);
    });
}

#[test]
fn a_last_line_that_lacks_only_its_newline_is_an_answer() {
    each(|mut scene| {
        scene.bytes.pop();
        scene.check("no last newline", COUNT..COUNT, b"");
    });
}

#[test]
fn a_tail_of_zeros_where_answers_were_runs_again() {
    each(|mut scene| {
        let line = scene.lines[COUNT - 3].clone();
        scene.bytes[line.start + line.len() / 3..].fill(0);
        let zeroed = scene.bytes[line.start..].to_vec();
        scene.check("zeros over three answers", COUNT - 3..COUNT, &zeroed);
    });
}

#[test]
fn zeros_behind_the_last_line_cost_no_answer() {
    each(|mut scene| {
        scene.bytes.extend([0; 4096]);
        scene.check("zeros behind", COUNT..COUNT, &[0; 4096]);
    });
}

#[test]
fn a_line_of_garbage_in_the_middle_runs_again() {
    each(|mut scene| {
        let line = scene.lines[10].clone();
        for (index, byte) in scene.bytes[line.start..line.end - 1].iter_mut().enumerate() {
            *byte = [0xFF, 0x00, b'{', b'"', 0x80, b'x'][index % 6];
        }
        let garbage = scene.bytes[line].to_vec();
        scene.check("garbage in the middle", 10..11, &garbage);
    });
}

#[test]
fn a_hole_of_zeros_in_the_middle_costs_the_lines_that_it_touches() {
    each(|mut scene| {
        let (first, last) = (scene.lines[10].clone(), scene.lines[13].clone());
        scene.bytes[first.start + 20..last.start + 20].fill(0);
        let hole = scene.bytes[first.start..last.end].to_vec();
        scene.check("a hole of zeros", 10..14, &hole);
    });
}

#[test]
fn a_line_cut_short_in_the_middle_does_not_take_the_next_one_with_it() {
    each(|mut scene| {
        let line = scene.lines[20].clone();
        let half = line.start + line.len() / 2;
        // What is left of it ends where its neighbour begins.
        scene.bytes.drain(half..line.end - 1);
        let rest = scene.bytes[line.start..=half].to_vec();
        scene.check("cut short in the middle", 20..21, &rest);
    });
}

#[test]
fn a_journal_of_which_nothing_but_a_torn_line_is_left_starts_over() {
    each(|mut scene| {
        scene.bytes.truncate(100);
        let torn = scene.bytes.clone();
        scene.check("only a torn line left", 0..COUNT, &torn);
    });
}
