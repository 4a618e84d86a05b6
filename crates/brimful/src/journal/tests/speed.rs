//! How fast a journal is read and written. Prints figures; run it alone and optimised:
//! `cargo test --release -p brimful journal::tests::speed -- --ignored --nocapture`.

use std::io::Read;
use std::time::Instant;

use super::*;

const ANSWERS: u64 = 1_000_000;
const BODY_BYTES: usize = 400;

#[test]
#[ignore = "prints figures, proves nothing"]
fn scanning_is_compared_with_counting_newlines() {
    let place = Place::new();
    let (mut journal, _) = place.open();
    let body = format!(
        "{{\"choices\":[{{\"message\":\"{}\"}}]}}",
        "x".repeat(BODY_BYTES - 27)
    );
    let fingerprints: Vec<_> = (0..ANSWERS)
        .map(|n| Fingerprint::of_bad_row(&n.to_le_bytes()))
        .collect();
    let writing = rate(|| {
        for &fingerprint in &fingerprints {
            let answer = Answer {
                fingerprint,
                custom_id: "request-1234567",
                status_code: 200,
                request_id: Some("req_0123456789abcdef"),
                body: body.as_bytes(),
            };
            let _ = journal.append(&answer).unwrap();
        }
    });
    journal.close().unwrap();
    let line_bytes = std::fs::metadata(&place.path).unwrap().len() / ANSWERS;
    let counting = rate(|| assert_eq!(count_newlines(&place.path), ANSWERS));
    let scanning = rate(|| assert_eq!(place.recover().answers, ANSWERS));
    let mut index = AnswerIndex::default();
    let indexing = rate(|| index = AnswerIndex::build(&place.path).unwrap());
    let mut reader = AnswerReader::open(&place.path).unwrap();
    let reading = rate(|| {
        for &fingerprint in &fingerprints {
            reader.read(index.take(fingerprint).unwrap()).unwrap();
        }
    });
    println!("{ANSWERS} lines of {line_bytes} bytes, in lines/s:");
    println!("  append {writing:.0}, index {indexing:.0}, read back {reading:.0}");
    println!(
        "  count newlines {counting:.0}, open {scanning:.0} ({:.2} of it)",
        scanning / counting
    );
}

fn rate(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    ANSWERS as f64 / start.elapsed().as_secs_f64()
}

fn count_newlines(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut newlines = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return newlines,
            count => newlines += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64,
        }
    }
}
