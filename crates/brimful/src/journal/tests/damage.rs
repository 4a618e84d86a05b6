//! What a crash or a bad disk does to the file.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Which answers are in the file, and that opening it again changes nothing.
fn healed(place: &Place) -> Recovered {
    let recovered = place.recover();
    let content = place.content();
    let again = place.recover();
    assert_eq!(again.answers, recovered.answers);
    assert_eq!(
        (again.corrupt_lines, again.torn_tail, again.corrupt_file),
        (0, false, None)
    );
    assert_eq!(place.content(), content);
    recovered
}

fn corrupt(place: &Place) -> Vec<u8> {
    std::fs::read(place.sidecar(".corrupt")).unwrap_or_default()
}

fn damaged(content: &[u8]) -> Place {
    let place = Place::new();
    std::fs::write(&place.path, content).unwrap();
    place
}

#[test]
fn a_torn_last_line_is_moved_away() {
    let mut content = file_of(&[1, 2]);
    content.extend(&line_of(3)[..50]);
    let place = damaged(&content);
    let recovered = healed(&place);
    assert_eq!(
        (
            recovered.answers,
            recovered.corrupt_lines,
            recovered.torn_tail
        ),
        (2, 0, true)
    );
    assert_eq!(recovered.corrupt_file, Some(place.sidecar(".corrupt")));
    assert_eq!(place.content(), file_of(&[1, 2]));
    assert_eq!(corrupt(&place), [&line_of(3)[..50], b"\n"].concat());
}

#[test]
fn a_last_line_that_lacks_only_its_newline_gets_one() {
    let mut content = file_of(&[1, 2]);
    content.pop();
    let place = damaged(&content);
    let recovered = healed(&place);
    assert_eq!((recovered.answers, recovered.torn_tail), (2, false));
    assert_eq!(place.content(), file_of(&[1, 2]));
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn zeros_at_the_end_are_moved_away_wherever_they_begin() {
    let whole = file_of(&[1, 2]);
    for cut in [
        0,
        5,
        whole.len() / 2 - 1,
        whole.len() / 2,
        whole.len() - 1,
        whole.len(),
    ] {
        let mut content = whole[..cut].to_vec();
        content.resize(cut + 5000, 0);
        let place = damaged(&content);
        let recovered = healed(&place);
        let expected = memchr::memchr_iter(b'\n', &whole[..(cut + 1).min(whole.len())]).count();
        assert_eq!(recovered.answers, expected as u64, "{cut}");
        assert!(recovered.torn_tail);
        assert_eq!(place.content(), file_of(&[1, 2][..expected]));
        assert!(corrupt(&place).ends_with(b"\0\n"));
    }
}

#[test]
fn a_block_of_zeros_in_the_middle_costs_only_the_lines_that_it_touches() {
    let length = line_of(1).len();
    for (zeros, left) in [
        (0..length, vec![2, 3, 4]),
        (length..2 * length, vec![1, 3, 4]),
        (length + 10..2 * length, vec![1, 3, 4]),
        (length + 10..2 * length + 10, vec![1, 4]),
        (3 * length..4 * length - 1, vec![1, 2, 3]),
    ] {
        let mut content = file_of(&[1, 2, 3, 4]);
        content[zeros.clone()].fill(0);
        let place = damaged(&content);
        let recovered = healed(&place);
        assert_eq!(place.content(), file_of(&left), "{zeros:?}");
        assert_eq!(recovered.answers, left.len() as u64);
        assert_eq!((recovered.corrupt_lines, recovered.torn_tail), (1, false));
        assert!(!corrupt(&place).is_empty());
    }
}

#[test]
fn lines_whose_newlines_are_damaged_are_all_kept() {
    let length = line_of(1).len();
    let mut content = file_of(&[1, 2, 3, 4]);
    content[length - 1] = b'J';
    content[2 * length - 1] = 0;
    let place = damaged(&content);
    assert_eq!(healed(&place).answers, 4);
    assert_eq!(place.content(), file_of(&[1, 2, 3, 4]));
    assert_eq!(corrupt(&place), b"J\n\0\n");
}

#[test]
fn a_newline_that_lost_one_bit_costs_no_line() {
    let at = line_of(1).len() - 1;
    for bit in 0..8 {
        let mut content = file_of(&[1, 2]);
        content[at] ^= 1 << bit;
        assert_eq!(healed(&damaged(&content)).answers, 2, "{bit}");
    }
}

#[test]
fn an_answer_that_quotes_a_journal_is_no_journal() {
    let quoted = String::from_utf8(line_of(9)).unwrap();
    let mut line = Vec::new();
    write_answer(
        &mut line,
        &Answer {
            fingerprint: fp(1),
            custom_id: "1",
            status_code: 200,
            request_id: None,
            body: format!("{{\"echo\":[{}]}}", quoted.trim()).as_bytes(),
        },
    );
    let place = damaged(&line);
    assert!(healed(&place).answered.take(fp(1)));
    // Torn just behind what it quotes.
    let torn = &line[..line.len() - "]}},\"error\":null}\n".len()];
    let place = damaged(&[&file_of(&[2])[..], torn].concat());
    let mut recovered = healed(&place);
    assert_eq!(recovered.answers, 1);
    assert!(recovered.answered.take(fp(2)));
}

#[test]
fn a_damaged_line_full_of_beginnings_is_given_up_soon() {
    let mut content = file_of(&[1]);
    for _ in 0..200_000 {
        content.extend(br#"x{"id":"batch_req_"#);
    }
    let place = damaged(&content);
    assert_eq!(healed(&place).answers, 1);
}

#[test]
fn what_is_not_ours_among_our_lines_is_moved_away() {
    let content = [&line_of(1)[..], b"hello\n\n{}\n", &line_of(2)].concat();
    let place = damaged(&content);
    let recovered = healed(&place);
    assert_eq!((recovered.answers, recovered.corrupt_lines), (2, 3));
    assert_eq!(place.content(), file_of(&[1, 2]));
    assert_eq!(corrupt(&place), b"hello\n\n{}\n");
}

#[test]
fn damage_at_the_end_is_cut_off_without_copying_the_journal() {
    use std::os::unix::fs::MetadataExt;
    let place = damaged(&[&line_of(1)[..], b"bad\n", b"worse\n", b"torn"].concat());
    let inode = std::fs::metadata(&place.path).unwrap().ino();
    let recovered = healed(&place);
    assert_eq!((recovered.corrupt_lines, recovered.torn_tail), (2, true));
    assert_eq!(std::fs::metadata(&place.path).unwrap().ino(), inode);
    assert_eq!(place.content(), line_of(1));
}

#[test]
fn damaged_bytes_are_added_to_those_of_earlier_runs() {
    let place = damaged(&[&line_of(1)[..], b"first\n"].concat());
    place.recover();
    std::fs::write(
        &place.path,
        [&line_of(1)[..], b"second\n", &line_of(2)].concat(),
    )
    .unwrap();
    place.recover();
    assert_eq!(corrupt(&place), b"first\nsecond\n");
}

#[test]
fn a_rewritten_journal_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let place = damaged(&[&line_of(1)[..], b"bad\n", &line_of(2)].concat());
    std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    place.recover();
    let mode = std::fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(place.content(), file_of(&[1, 2]));
}

#[test]
fn damage_that_cannot_be_saved_stays_where_it_is() {
    let content = [&line_of(1)[..], b"bad\n", &line_of(2)].concat();
    let place = damaged(&content);
    std::fs::create_dir(place.sidecar(".corrupt")).unwrap();
    let refused = Journal::open(place.options()).unwrap_err();
    assert!(refused.to_string().contains(".corrupt"), "{refused}");
    assert_eq!(place.content(), content);
}

proptest! {
    #[test]
    fn a_journal_cut_off_anywhere_loses_at_most_the_torn_line(
        answers in vec(0..20_u8, 1..12), cut: prop::sample::Index,
    ) {
        let mut content = file_of(&answers);
        let cut = cut.index(content.len() + 1);
        content.truncate(cut);
        let place = damaged(&content);
        let recovered = healed(&place);
        let mut whole = memchr::memchr_iter(b'\n', &content).count();
        let lacks_newline = file_of(&answers[..(whole + 1).min(answers.len())]).len() == cut + 1;
        whole += usize::from(lacks_newline);
        prop_assert_eq!(recovered.answers, whole as u64);
        prop_assert_eq!(place.content(), file_of(&answers[..whole]));
        prop_assert_eq!(recovered.torn_tail, file_of(&answers[..whole]).len() < cut);
    }

    #[test]
    fn flipped_bits_never_cost_an_undamaged_line(
        answers in vec(0..20_u8, 2..12),
        damage in vec((any::<prop::sample::Index>(), 0..8_u8), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let whole = file_of(&answers);
        let mut content = whole.clone();
        for (at, bit) in damage {
            let at = at.index(whole.len());
            content[at] = whole[at] ^ (1_u8 << bit);
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(whole.len()));
        }
        let mut undamaged = Vec::new();
        let mut at = 0;
        for &n in &answers {
            let line = line_of(n);
            if content.get(at..at + line.len()) == Some(&line[..]) {
                undamaged.push(n);
            }
            at += line.len();
        }
        if undamaged.is_empty() {
            // Nothing may be left by which the file could be known as ours.
            return Ok(());
        }
        let place = damaged(&content);
        let mut recovered = healed(&place);
        for n in undamaged {
            prop_assert!(recovered.answered.take(fp(n)), "{}", n);
        }
    }

    #[test]
    fn no_file_is_too_strange_to_be_opened_or_refused(
        pieces in vec(prop_oneof![
            vec(any::<u8>(), 0..30),
            (0..5_u8).prop_map(line_of),
            (0..5_u8, any::<prop::sample::Index>()).prop_map(|(n, cut)| {
                let line = line_of(n);
                line[..cut.index(line.len())].to_vec()
            }),
            (1..40_usize).prop_map(|count| vec![0; count]),
            Just(vec![b'\n']),
        ], 0..10),
    ) {
        let content = pieces.concat();
        let place = damaged(&content);
        match Journal::open(place.options()) {
            Ok((journal, _)) => {
                drop(journal);
                healed(&place);
            }
            Err(refused) => {
                prop_assert!(not_ours(&place.path, &refused), "{}", refused);
                prop_assert_eq!(place.content(), content);
            }
        }
    }
}
