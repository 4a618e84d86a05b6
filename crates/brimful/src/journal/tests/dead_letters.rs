//! Requests that ended without an answer.

use serde_json::{Value, json};

use super::*;

impl Place {
    fn letters_path(&self) -> PathBuf {
        self.directory.path().join("out.errors.jsonl")
    }

    fn letters(&self, earlier: Earlier) -> DeadLetters {
        let mut options = DeadLetterOptions::new(self.letters_path());
        options.earlier = earlier;
        DeadLetters::open(options).unwrap()
    }

    fn leave_letters(&self, requests: &[u8]) {
        let mut letters = self.letters(Earlier::Keep);
        for &n in requests {
            bury(&mut letters, n);
        }
        assert_eq!(
            letters.finish(false).unwrap(),
            letters_in(self).len() as u64
        );
    }
}

fn bury(letters: &mut DeadLetters, n: u8) {
    let custom_id = format!("row-{n}");
    let response = DeadResponse {
        status_code: 500,
        request_id: Some("r"),
        body: b"{\n}",
    };
    let letter = DeadLetter {
        fingerprint: fp(n),
        custom_id: &custom_id,
        response: Some(response),
        code: "transient",
        message: "the server gave up",
        attempts: &[json!({"attempt": 1, "status": 500})],
    };
    letters.append(&letter).unwrap();
}

fn letters_in(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.letters_path()).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| line["custom_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn there_is_no_file_without_dead_letters() {
    let place = Place::new();
    let letters = place.letters(Earlier::Keep);
    assert!(letters.is_empty() && !letters.contains(fp(1)));
    assert_eq!(letters.finish(true).unwrap(), 0);
    assert!(place.files().is_empty());
}

#[test]
fn a_dead_letter_is_known_to_the_next_run_as_often_as_it_was_written() {
    let place = Place::new();
    place.leave_letters(&[1, 1, 2]);
    let mut letters = place.letters(Earlier::Keep);
    assert_eq!(letters.len(), 3);
    assert!(letters.contains(fp(1)));
    assert!(letters.take(fp(1)) && letters.take(fp(1)) && !letters.take(fp(1)));
    assert!(!letters.contains(fp(1)));
    assert!(letters.take(fp(2)));
    bury(&mut letters, 3);
    assert_eq!(letters.finish(true).unwrap(), 4);
    assert_eq!(letters_in(&place), ["row-1", "row-1", "row-2", "row-3"]);
}

#[test]
fn dead_letters_of_rows_that_have_gone_are_dropped_only_when_the_whole_input_was_seen() {
    let place = Place::new();
    place.leave_letters(&[1, 2]);
    for (complete, expected) in [(false, vec!["row-1", "row-2"]), (true, vec!["row-2"])] {
        let mut letters = place.letters(Earlier::Keep);
        assert!(letters.take(fp(2)));
        assert_eq!(letters.finish(complete).unwrap(), expected.len() as u64);
        assert_eq!(letters_in(&place), expected);
    }
    assert_eq!(place.letters(Earlier::Keep).finish(true).unwrap(), 0);
    assert!(place.files().is_empty());
}

#[test]
fn dead_letters_are_dropped_at_once_when_their_requests_are_tried_again() {
    let place = Place::new();
    place.leave_letters(&[1, 2]);
    let mut letters = place.letters(Earlier::Retry);
    assert!(letters.is_empty() && !letters.take(fp(1)));
    bury(&mut letters, 2);
    assert_eq!(letters.finish(true).unwrap(), 1);
    assert_eq!(letters_in(&place), ["row-2"]);
    assert_eq!(place.letters(Earlier::Retry).finish(true).unwrap(), 0);
    assert!(place.files().is_empty());
}

#[test]
fn a_fresh_start_sets_dead_letters_aside() {
    let place = Place::new();
    place.leave_letters(&[1]);
    let letters = place.letters(Earlier::SetAside);
    assert!(!letters.contains(fp(1)));
    assert_eq!(letters.finish(true).unwrap(), 0);
    assert_eq!(place.files(), ["out.errors.jsonl.old"]);
}

#[test]
fn a_torn_dead_letter_is_moved_away() {
    let place = Place::new();
    place.leave_letters(&[1, 2]);
    let content = std::fs::read(place.letters_path()).unwrap();
    std::fs::write(place.letters_path(), &content[..content.len() - 20]).unwrap();
    let mut letters = place.letters(Earlier::Keep);
    assert_eq!((letters.len(), letters.corrupt_lines()), (1, 1));
    assert!(letters.take(fp(1)) && !letters.take(fp(2)));
    assert_eq!(letters.finish(true).unwrap(), 1);
    assert_eq!(
        place.files(),
        ["out.errors.jsonl", "out.errors.jsonl.corrupt"]
    );
}

#[test]
fn a_file_that_is_not_ours_is_refused_however_it_is_opened() {
    let place = Place::new();
    std::fs::write(place.letters_path(), "{\"error\":1}\n").unwrap();
    for earlier in [Earlier::Keep, Earlier::Retry, Earlier::SetAside] {
        let mut options = DeadLetterOptions::new(place.letters_path());
        options.earlier = earlier;
        assert!(not_ours(
            &place.letters_path(),
            &DeadLetters::open(options).unwrap_err()
        ));
    }
    assert_eq!(
        std::fs::read(place.letters_path()).unwrap(),
        b"{\"error\":1}\n"
    );
}

#[test]
fn dead_letters_are_found_and_read_again() {
    let place = Place::new();
    place.leave_letters(&[1, 2]);
    let mut index = AnswerIndex::build(&place.letters_path()).unwrap();
    let mut reader = DeadLetterReader::open(&place.letters_path()).unwrap();
    let letter = reader.read(index.take(fp(2)).unwrap()).unwrap();
    assert_eq!(letter.custom_id, "row-2");
    assert_eq!(
        (&*letter.code, &*letter.message),
        ("transient", "the server gave up")
    );
    let (status_code, body) = letter.response.unwrap();
    assert_eq!((status_code, body.get()), (500, "{ }"));
    assert!(index.take(fp(2)).is_none());
}
