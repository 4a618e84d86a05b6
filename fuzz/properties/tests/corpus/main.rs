//! Replays the kept inputs of every fuzz target.

use std::fs;
use std::path::{Path, PathBuf};

use brimful_fuzz::{headers, journal, observe, replies, rows, streams, templates};

const FILE_BYTES_MAX: u64 = 4 * 1024;
const ALL_BYTES_MAX: u64 = 200 * 1024;

type Hold = fn(&[u8]);

const TARGETS: [(&str, Hold); 7] = [
    ("headers", headers::hold),
    ("journal", journal::hold),
    ("observe", observe::hold),
    ("replies", replies::hold),
    ("rows", rows::hold),
    ("streams", streams::hold),
    ("templates", templates::hold),
];

#[test]
fn headers_hold_for_every_kept_input() {
    replay("headers");
}

#[test]
fn journals_hold_for_every_kept_input() {
    replay("journal");
}

#[test]
fn observations_hold_for_every_kept_input() {
    replay("observe");
}

#[test]
fn replies_hold_for_every_kept_input() {
    replay("replies");
}

#[test]
fn rows_hold_for_every_kept_input() {
    replay("rows");
}

#[test]
fn streams_hold_for_every_kept_input() {
    replay("streams");
}

#[test]
fn templates_hold_for_every_kept_input() {
    replay("templates");
}

#[test]
fn the_corpus_has_a_folder_for_each_target_and_stays_small() {
    let mut folders: Vec<_> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
    let mut all = 0;
    for (name, _) in TARGETS {
        for path in inputs(name) {
            let bytes = fs::metadata(&path).unwrap().len();
            assert!(bytes <= FILE_BYTES_MAX, "{} is too long", path.display());
            all += bytes;
        }
    }
    assert!(
        all <= ALL_BYTES_MAX,
        "{all} bytes: fuzz into fuzz/found, and keep what tells something new"
    );
}

fn replay(name: &str) {
    let (_, hold) = TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .expect("the table has it");
    let inputs = inputs(name);
    assert!(inputs.len() >= 5, "{name} has too few inputs");
    for path in inputs {
        let input = fs::read(&path).expect("it was listed");
        let held = std::panic::catch_unwind(|| hold(&input));
        assert!(held.is_ok(), "{} does not hold", path.display());
    }
}

fn inputs(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus().join(name)).expect("every target has a folder");
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    inputs.sort();
    inputs
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}
