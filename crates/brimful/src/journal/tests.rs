//! The journal as a whole.

mod damage;
mod dead_letters;
mod finding;
mod full_disk;
mod speed;
mod splitting;
mod syncing;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A directory with a place for a journal.
struct Place {
    directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        Self { directory, path }
    }

    /// A journal with these answers, left by an earlier run.
    fn with(answers: &[u8]) -> Self {
        let place = Self::new();
        std::fs::write(&place.path, file_of(answers)).unwrap();
        place
    }

    fn options(&self) -> JournalOptions {
        let mut options = JournalOptions::new(&self.path);
        options.spare_bytes = 4096;
        options.durability = Durability::Process;
        options
    }

    fn open(&self) -> (Journal, Recovered) {
        Journal::open(self.options()).unwrap()
    }

    /// Opens and closes.
    fn recover(&self) -> Recovered {
        let mut options = self.options();
        options.spare_bytes = 0;
        let (journal, recovered) = Journal::open(options).unwrap();
        journal.close().unwrap();
        recovered
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn sidecar(&self, suffix: &str) -> PathBuf {
        sidecar(&self.path, suffix)
    }

    /// The names of all files.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn fp(n: u8) -> Fingerprint {
    Fingerprint([n; 16])
}

/// Appends the answer to request `n`.
fn append(journal: &mut Journal, n: u8) -> Result<Appended, AppendError> {
    journal.append(&Answer {
        fingerprint: fp(n),
        custom_id: &format!("row-{n}"),
        status_code: 200,
        request_id: Some("req"),
        body: b"{\"text\":\"an answer\"}",
    })
}

/// Appends the answers to these requests together.
fn append_all(journal: &mut Journal, requests: &[u8]) -> Vec<Result<Appended, AppendError>> {
    let ids: Vec<String> = requests.iter().map(|n| format!("row-{n}")).collect();
    let answers = requests.iter().zip(&ids).map(|(&n, custom_id)| Answer {
        fingerprint: fp(n),
        custom_id,
        status_code: 200,
        request_id: Some("req"),
        body: b"{\"text\":\"an answer\"}",
    });
    journal.append_all(&answers.collect::<Vec<_>>())
}

/// The line of the answer to request `n`.
fn line_of(n: u8) -> Vec<u8> {
    let mut line = Vec::new();
    let custom_id = format!("row-{n}");
    write_answer(
        &mut line,
        &Answer {
            fingerprint: fp(n),
            custom_id: &custom_id,
            status_code: 200,
            request_id: Some("req"),
            body: b"{\"text\":\"an answer\"}",
        },
    );
    line
}

fn file_of(answers: &[u8]) -> Vec<u8> {
    answers.iter().flat_map(|&n| line_of(n)).collect()
}

fn not_ours(path: &Path, error: &OpenError) -> bool {
    matches!(error, OpenError::NotOurs { path: named } if named == path)
}

#[test]
fn what_one_run_has_answered_the_next_one_knows() {
    let place = Place::new();
    let (mut journal, recovered) = place.open();
    assert_eq!(
        (
            recovered.answers,
            recovered.corrupt_lines,
            recovered.torn_tail
        ),
        (0, 0, false)
    );
    for n in [1, 2, 2] {
        assert_eq!(append(&mut journal, n).unwrap(), Appended::Fine);
    }
    assert_eq!(place.content(), file_of(&[1, 2, 2]));
    assert_eq!(journal.written(), 3);
    journal.close().unwrap();

    let (mut journal, mut recovered) = place.open();
    assert_eq!(recovered.answers, 3);
    assert!(recovered.corrupt_file.is_none() && recovered.set_aside.is_none());
    let answered = &mut recovered.answered;
    assert!(answered.take(fp(2)) && answered.take(fp(2)) && !answered.take(fp(2)));
    let _ = append(&mut journal, 3).unwrap();
    assert_eq!(journal.written(), 1);
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2, 2, 3]));
}

#[test]
fn a_closed_or_dropped_journal_leaves_nothing_but_itself() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    let _ = append(&mut journal, 1).unwrap();
    assert_eq!(
        place.files(),
        ["out.jsonl", "out.jsonl.lock", "out.jsonl.spare"]
    );
    journal.close().unwrap();
    assert_eq!(place.files(), ["out.jsonl"]);
    drop(place.open());
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn a_second_run_on_the_same_output_is_refused_and_changes_nothing() {
    let place = Place::with(&[1]);
    let (mut journal, _) = place.open();
    let refused = Journal::open(place.options()).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { path } if *path == place.path));
    let _ = append(&mut journal, 2).unwrap();
    journal.close().unwrap();
    assert_eq!(place.recover().answers, 2);
}

#[test]
fn leftovers_of_a_killed_run_are_used_or_removed() {
    let place = Place::with(&[1]);
    for suffix in [".lock", ".spare", ".rewrite"] {
        std::fs::write(place.sidecar(suffix), "left").unwrap();
    }
    assert_eq!(place.recover().answers, 1);
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    let provider = r#"{"id": "batch_req_0123456789abcdef0123456789abcdef", "custom_id": "1", "response": {"status_code": 200, "request_id": "r", "body": {}}, "error": null}"#;
    let short = r#"{"id":"batch_req_123","custom_id":"1","response":{"status_code":200,"request_id":"r","body":{}},"error":null}"#;
    let input = r#"{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}"#;
    for content in [
        provider,
        short,
        input,
        "a,b\n1,2",
        "\n",
        "{\"id\":\"batch_req_zz",
    ] {
        for content in [content.to_owned(), format!("{content}\n")] {
            let place = Place::new();
            std::fs::write(&place.path, &content).unwrap();
            let refused = Journal::open(place.options()).unwrap_err();
            assert!(not_ours(&place.path, &refused), "{content}: {refused}");
            let mut fresh = place.options();
            fresh.fresh = true;
            assert!(not_ours(&place.path, &Journal::open(fresh).unwrap_err()));
            assert_eq!(place.content(), content.as_bytes());
            assert_eq!(place.files(), ["out.jsonl"]);
        }
    }
}

#[test]
fn an_empty_file_may_be_used() {
    let place = Place::new();
    std::fs::write(&place.path, "").unwrap();
    assert_eq!(place.recover().answers, 0);
}

#[test]
fn what_cannot_be_a_journal_is_refused_before_anything_is_made() {
    let place = Place::new();
    let options = JournalOptions::new(place.directory.path().join("missing/out.jsonl"));
    assert!(matches!(
        Journal::open(options).unwrap_err(),
        OpenError::NoDirectory { .. }
    ));
    std::os::unix::fs::symlink("/dev/null", &place.path).unwrap();
    assert!(matches!(
        Journal::open(place.options()).unwrap_err(),
        OpenError::NotAFile { .. }
    ));
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn a_private_journal_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let mut options = place.options();
    options.private = true;
    Journal::open(options).unwrap().0.close().unwrap();
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_fresh_start_sets_the_old_journal_aside_and_never_overwrites_one() {
    let place = Place::new();
    for (n, name) in [(1, ".old"), (2, ".old-2"), (3, ".old-3")] {
        std::fs::write(&place.path, line_of(n)).unwrap();
        let mut options = place.options();
        options.fresh = true;
        let (journal, recovered) = Journal::open(options).unwrap();
        assert_eq!(recovered.answers, 0);
        assert_eq!(recovered.set_aside, Some(place.sidecar(name)));
        journal.close().unwrap();
        assert_eq!(place.content(), b"");
        assert_eq!(std::fs::read(place.sidecar(name)).unwrap(), line_of(n));
    }
    let mut options = place.options();
    options.fresh = true;
    assert_eq!(Journal::open(options).unwrap().1.set_aside, None);
}

#[test]
fn a_fresh_start_takes_a_torn_journal_for_ours() {
    let place = Place::new();
    std::fs::write(&place.path, &line_of(1)[..10]).unwrap();
    let mut options = place.options();
    options.fresh = true;
    assert!(Journal::open(options).unwrap().1.set_aside.is_some());
}
