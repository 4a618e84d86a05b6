//! What would lose or mix up answers is refused before anything is sent.

use std::fs;
use std::path::{Path, PathBuf};

use brimful_sim::answer_tag;

use crate::files;
use crate::input::{self, CSV_FLAGS};
use crate::mock::Mock;
use crate::run::{Ended, Run};

const COUNT: usize = 10;

fn batch_in(folder: &Path) -> Run {
    let from = folder.join("in.jsonl");
    input::write_batch(&from, COUNT);
    Run::new(&from, &folder.join("out.jsonl"))
}

fn rows_in(folder: &Path, output: &str) -> Run {
    let from = folder.join("in.csv");
    input::write_csv(&from, &topics());
    Run::new(&from, &folder.join(output)).flags(&CSV_FLAGS)
}

fn topics() -> Vec<String> {
    (0..COUNT).map(input::id).collect()
}

/// It ends with `code`, says each of `said`, sends nothing, leaves every file of the folder as it
/// was, and makes none with anything in it.
fn refused(run: &Run, code: i32, said: &[&str]) -> Ended {
    let folder = run.input.parent().unwrap();
    let before = contents(folder);
    let mock = Mock::start(&[]);
    let ended = run.ends_with(&mock, code);
    for text in said {
        assert!(ended.stderr.contains(text), "{text:?}: {}", ended.stderr);
    }
    assert_eq!(mock.settled().requests_admitted, 0);
    assert_eq!(contents(folder), before, "{}", ended.stderr);
    ended
}

fn contents(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap();
    let mut contents: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), files::bytes(&path)))
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(path, bytes)| (path, answer_tag(&String::from_utf8_lossy(&bytes))))
        .collect();
    contents.sort_unstable();
    contents
}

#[test]
fn the_second_of_two_runs_on_one_output_refuses_and_does_not_disturb_the_first() {
    for rows in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let run = match rows {
            true => rows_in(folder.path(), "out.csv"),
            false => batch_in(folder.path()),
        };
        let mock = Mock::start(&["--latency", "2s"]);
        let first = run.start(&mock);
        mock.holds(COUNT as u64);
        let before = contents(folder.path());
        for flags in [&[][..], &["--fresh"], &["--retry-failed"]] {
            let second = run.clone().flags(flags).ended(&mock);
            assert_eq!(second.code, Some(1), "{}", second.stderr);
            assert!(second.stderr.contains("another run"), "{}", second.stderr);
            let name = if rows { "out.csv" } else { "out.jsonl" };
            assert!(second.stderr.contains(name), "{}", second.stderr);
        }
        if mock.stats().answered == 0 {
            assert_eq!(contents(folder.path()), before);
        }
        first.ends_with(0);
        let stats = mock.settled();
        assert_eq!(stats.requests_admitted, COUNT as u64);
        assert_eq!(stats.duplicate_answers, 0);
        match rows {
            true => files::check_csv(&run.output, &topics()),
            false => files::check_batch(&run.output, &topics()),
        }
    }
}

#[test]
fn the_input_is_never_the_output_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = batch_in(folder.path());
    let hard = folder.path().join("hard.jsonl");
    let soft = folder.path().join("soft.jsonl");
    fs::hard_link(&run.input, &hard).unwrap();
    std::os::unix::fs::symlink(&run.input, &soft).unwrap();
    let dotted = folder.path().join(".").join("in.jsonl");
    for output in [run.input.clone(), dotted, hard, soft] {
        let mut run = run.clone();
        run.output.clone_from(&output);
        let name = output.to_string_lossy().into_owned();
        refused(&run, 2, &["is the input", &name]);
    }
}

#[test]
fn neither_input_nor_answers_are_overwritten_by_the_trace_or_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let run = batch_in(folder.path());
    let input = run.input.to_string_lossy().into_owned();
    refused(&run.clone().flags(&["--trace", &input]), 2, &["--trace"]);
    let mock = Mock::start(&[]);
    run.ends_with(&mock, 0);
    let output = run.output.to_string_lossy().into_owned();
    refused(&run.flags(&["--trace", &output]), 2, &["--trace"]);

    let folder = tempfile::tempdir().unwrap();
    let run = rows_in(folder.path(), "out.csv");
    let input = run.input.to_string_lossy().into_owned();
    refused(&run.clone().flags(&["--journal", &input]), 2, &["in.csv"]);
    run.ends_with(&mock, 0);
    let journal = run.beside(".journal.jsonl").to_string_lossy().into_owned();
    let output = run.output.to_string_lossy().into_owned();
    refused(&run.clone().flags(&["--trace", &journal]), 2, &["--trace"]);
    refused(&run.clone().flags(&["--trace", &output]), 2, &["--trace"]);
    refused(&run.flags(&["--journal", &output]), 2, &["out.csv"]);
}

#[test]
fn what_brimful_did_not_write_is_left_alone() {
    let foreign = "{\"a\":1}\nmy only copy\n";
    let names = ["out.jsonl", "out.jsonl.errors.jsonl"];
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        let run = batch_in(folder.path());
        fs::write(folder.path().join(name), foreign).unwrap();
        for flags in [&[][..], &["--fresh"]] {
            refused(
                &run.clone().flags(flags),
                1,
                &["was not written by brimful", name],
            );
        }
    }
    for (name, code) in [
        ("out.csv", 2),
        ("out.csv.journal.jsonl", 1),
        ("out.csv.errors.jsonl", 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = rows_in(folder.path(), "out.csv");
        fs::write(folder.path().join(name), foreign).unwrap();
        for flags in [&[][..], &["--fresh"]] {
            let run = run.clone().flags(flags);
            refused(&run, code, &["was not written by brimful", name]);
        }
    }
}

#[test]
fn an_output_that_cannot_be_a_file_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = batch_in(folder.path());
    let mut into_folder = run.clone();
    into_folder.output = folder.path().join("answers.jsonl");
    fs::create_dir(&into_folder.output).unwrap();
    refused(&into_folder, 2, &["answers.jsonl"]);
    let mut nowhere = run;
    nowhere.output = folder.path().join("missing").join("out.jsonl");
    refused(&nowhere, 2, &["missing"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_its_name() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let run = batch_in(folder.path());
    let mut locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let probe = locked.join("probe");
    if fs::write(&probe, "").is_ok() {
        // Root may write anywhere but where the kernel has no files to make.
        fs::remove_file(&probe).unwrap();
        locked = PathBuf::from(if cfg!(target_os = "linux") {
            "/proc"
        } else {
            "/System"
        });
    }
    let mut run = run;
    run.output = locked.join("out.jsonl");
    let name = run.output.to_string_lossy().into_owned();
    refused(&run, 1, &[&name]);
}
