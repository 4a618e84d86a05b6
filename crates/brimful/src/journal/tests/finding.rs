//! Reading answers back for the final file.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn answers_are_found_in_any_order_and_read_as_they_were_written() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    // Larger than what is read at once.
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(300_000));
    for (n, body) in [
        (1, "{\n \"n\": 1.50}"),
        (2, &long),
        (3, "{}"),
        (1, "{\"n\":\"é\"}"),
    ] {
        let answer = Answer {
            fingerprint: fp(n),
            custom_id: &format!("row \"{n}\""),
            status_code: 200 + u16::from(n),
            request_id: (n == 3).then_some("req-3"),
            body: body.as_bytes(),
        };
        let _ = journal.append(&answer).unwrap();
    }
    let mut index = AnswerIndex::build(journal.path()).unwrap();
    assert_eq!((index.len(), index.is_empty()), (4, false));
    let mut reader = AnswerReader::open(journal.path()).unwrap();
    let mut read = |n| index.take(fp(n)).map(|offset| reader.read(offset).unwrap());
    let three = read(3).unwrap();
    assert_eq!(
        (three.status_code, three.request_id.as_deref()),
        (203, Some("req-3"))
    );
    assert_eq!(three.custom_id, "row \"3\"");
    let two = read(2).unwrap();
    assert_eq!((two.body.get(), two.request_id), (&*long, None));
    assert_eq!(read(1).unwrap().body.get(), "{  \"n\": 1.50}");
    assert_eq!(read(1).unwrap().body.get(), "{\"n\":\"é\"}");
    assert!(read(1).is_none() && read(4).is_none());
}

#[test]
fn a_file_that_does_not_exist_has_no_answers() {
    let mut index = AnswerIndex::build(&Place::new().path).unwrap();
    assert!(index.is_empty() && index.take(fp(1)).is_none());
}

#[test]
fn a_file_that_has_been_changed_is_noticed() {
    let place = Place::with(&[1, 2]);
    let mut index = AnswerIndex::build(&place.path).unwrap();
    std::fs::write(&place.path, &file_of(&[1, 2])[3..]).unwrap();
    let mut reader = AnswerReader::open(&place.path).unwrap();
    let offset = index.take(fp(2)).unwrap();
    assert!(matches!(
        reader.read(offset),
        Err(ReadError::Damaged { .. })
    ));
    std::fs::write(&place.path, "").unwrap();
    let mut reader = AnswerReader::open(&place.path).unwrap();
    assert!(matches!(
        reader.read(offset),
        Err(ReadError::Damaged { .. })
    ));
}

proptest! {
    #[test]
    fn lines_are_taken_in_the_order_of_the_file(
        answers in vec(0..5_u8, 0..20), asked in vec(0..5_u8, 0..30),
    ) {
        let place = Place::with(&answers);
        let mut index = AnswerIndex::build(&place.path).unwrap();
        let mut lines: Vec<_> = answers.iter().enumerate().map(|(at, &n)| (n, at)).collect();
        let mut last = [None; 5];
        for n in asked {
            let expected = lines.iter().position(|line| line.0 == n).map(|at| lines.remove(at));
            let found = index.take(fp(n));
            prop_assert_eq!(found.is_some(), expected.is_some());
            if found.is_some() {
                prop_assert!(found > last[usize::from(n)]);
                last[usize::from(n)] = found;
            }
        }
    }
}
