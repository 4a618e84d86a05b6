//! Answers whose requests have left the input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn leftover(answers: &[u8]) -> Answered {
    answers.iter().copied().map(fp).collect()
}

impl Place {
    fn stale(&self) -> PathBuf {
        self.directory.path().join("out.stale.jsonl")
    }

    fn stale_content(&self) -> Vec<u8> {
        std::fs::read(self.stale()).unwrap_or_default()
    }

    fn split(&self, answers: &[u8]) -> u64 {
        let (mut journal, _) = self.open();
        let moved = journal
            .split_stale(&leftover(answers), &self.stale())
            .unwrap();
        journal.close().unwrap();
        moved
    }

    /// A run that is killed after it has copied stale lines and before it rewrites the journal.
    fn copy_only(&self, answers: &[u8]) {
        let file = File::open(&self.path).unwrap();
        let pieces = leftover_lines(&file, &leftover(answers)).unwrap();
        copy_to_stale(&file, &self.path, &pieces, &self.stale()).unwrap();
    }
}

#[test]
fn stale_answers_move_and_the_others_stay() {
    let place = Place::with(&[1, 2, 3, 4, 5]);
    assert_eq!(place.split(&[4, 2, 3]), 3);
    assert_eq!(place.content(), file_of(&[1, 5]));
    assert_eq!(place.stale_content(), file_of(&[2, 3, 4]));
    assert_eq!(place.files(), ["out.jsonl", "out.stale.jsonl"]);
}

#[test]
fn of_equal_requests_the_latest_answers_move() {
    let place = Place::with(&[1, 2, 1, 3, 1]);
    // Lines of equal requests are told apart by their ids.
    let second = String::from_utf8(line_of(1))
        .unwrap()
        .replace("row-1", "row-8");
    let third = second.replace("row-8", "row-9");
    let lines = [
        &line_of(1)[..],
        &line_of(2),
        second.as_bytes(),
        &line_of(3),
        third.as_bytes(),
    ];
    std::fs::write(&place.path, lines.concat()).unwrap();
    assert_eq!(place.split(&[1, 1]), 2);
    assert_eq!(place.content(), file_of(&[1, 2, 3]));
    assert_eq!(place.stale_content(), [second, third].concat().into_bytes());
}

#[test]
fn without_stale_answers_nothing_is_touched() {
    let place = Place::with(&[1]);
    assert_eq!(place.split(&[]), 0);
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn the_journal_goes_on_after_a_split() {
    let place = Place::with(&[1, 2]);
    let mut options = place.options();
    options.durability = Durability::Power;
    let (mut journal, _) = Journal::open(options).unwrap();
    let _ = append(&mut journal, 3).unwrap();
    assert_eq!(
        journal
            .split_stale(&leftover(&[1]), &place.stale())
            .unwrap(),
        1
    );
    assert_eq!(journal.synced(), 1);
    let _ = append(&mut journal, 4).unwrap();
    let counter = journal.synced_counter();
    assert!(Journal::open(place.options()).is_err());
    journal.close().unwrap();
    assert_eq!(counter.load(Ordering::Acquire), 2);
    assert_eq!(place.content(), file_of(&[2, 3, 4]));
}

#[test]
fn a_run_killed_between_copying_and_rewriting_doubles_nothing() {
    let place = Place::with(&[1, 2, 2, 3]);
    place.copy_only(&[2, 2]);
    place.copy_only(&[2, 2]);
    assert_eq!(place.stale_content(), file_of(&[2, 2]));
    assert_eq!(place.split(&[2, 2]), 2);
    assert_eq!(place.stale_content(), file_of(&[2, 2]));
    assert_eq!(place.content(), file_of(&[1, 3]));
}

#[test]
fn a_run_killed_while_it_copies_or_rewrites_loses_and_doubles_nothing() {
    let expected = file_of(&[9, 2, 3]);
    for cut in line_of(9).len()..=expected.len() {
        let place = Place::with(&[1, 2, 3]);
        std::fs::write(place.stale(), &expected[..cut]).unwrap();
        std::fs::write(place.sidecar(".rewrite"), &line_of(1)[..cut % 100]).unwrap();
        assert_eq!(place.split(&[2, 3]), 2);
        assert_eq!(place.stale_content(), expected, "{cut}");
        assert_eq!(place.content(), line_of(1));
    }
}

#[test]
fn stale_answers_that_cannot_be_kept_stay_in_the_journal() {
    let place = Place::with(&[1, 2]);
    std::fs::write(place.stale(), "my own notes\n").unwrap();
    let (mut journal, _) = place.open();
    let refused = journal
        .split_stale(&leftover(&[1]), &place.stale())
        .unwrap_err();
    assert!(matches!(
        refused,
        StaleError::Open(OpenError::NotOurs { .. })
    ));
    let _ = append(&mut journal, 3).unwrap();
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2, 3]));
    assert_eq!(place.stale_content(), b"my own notes\n");
}

#[test]
fn stale_answers_of_a_private_journal_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with(&[1, 2]);
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    place.split(&[1]);
    let mode = std::fs::metadata(place.stale())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

proptest! {
    #[test]
    fn every_answer_is_in_one_of_the_two_files(
        answers in vec(0..6_u8, 0..20), wanted in vec(0..6_u8, 0..20), killed: bool,
    ) {
        let place = Place::with(&answers);
        let mut unclaimed = answers.clone();
        let (mut journal, mut recovered) = place.open();
        for n in wanted {
            let found = unclaimed.iter().position(|&m| m == n);
            if let Some(at) = found {
                unclaimed.swap_remove(at);
            }
            prop_assert_eq!(recovered.answered.take(fp(n)), found.is_some());
        }
        if killed {
            place.copy_only(&unclaimed);
        }
        let moved = journal.split_stale(&recovered.answered, &place.stale()).unwrap();
        journal.close().unwrap();
        prop_assert_eq!(moved, unclaimed.len() as u64);
        let count = |content: &[u8], n: u8| {
            memchr::memmem::find_iter(content, &line_of(n)).count()
        };
        for n in 0..6 {
            let all = answers.iter().filter(|&&m| m == n).count();
            let gone = unclaimed.iter().filter(|&&m| m == n).count();
            prop_assert_eq!(count(&place.content(), n), all - gone);
            prop_assert_eq!(count(&place.stale_content(), n), gone);
        }
    }
}
