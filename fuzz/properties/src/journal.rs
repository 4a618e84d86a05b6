//! Journals after anything may have happened to them.

use std::fs;
use std::path::Path;

use brimful::fingerprint::Fingerprint;
use brimful::journal::{
    Answer, AnswerIndex, AnswerReader, Appended, Durability, Journal, JournalOptions, OpenError,
    Recovered,
};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::scratch::in_folder;

const OURS: &str = r#"{"id":"batch_req_"#;
/// Where a file is cut, in parts of its length: a crash can stop anywhere.
const CUTS: [usize; 3] = [1, 2, 3];

/// The bytes are what a run finds in the place of its journal.
pub fn hold(data: &[u8]) {
    survives(data);
    for cut in CUTS {
        survives(&data[..data.len() * cut / 4]);
    }
}

fn survives(data: &[u8]) {
    in_folder(|folder| {
        let path = folder.join("journal");
        fs::write(&path, data).expect("the folder is writable");
        let Some(recovered) = open(&path, data) else {
            return;
        };
        let healed = fs::read(&path).expect("it was opened");
        nothing_is_lost(data, &healed, &recovered);
        let bodies = answers(&path, recovered.answers);
        written_on(&path, &recovered, &bodies);
    });
}

/// What an open journal has recovered; `None` when the file is not ours, and then it is untouched.
fn open(path: &Path, data: &[u8]) -> Option<Recovered> {
    match Journal::open(options(path)) {
        Ok((journal, recovered)) => {
            journal.close().expect("nothing was written");
            Some(recovered)
        }
        Err(OpenError::NotOurs { .. }) => {
            let left = fs::read(path).expect("it was there");
            assert_eq!(left, data, "a foreign file was changed");
            assert!(whole_lines(data).is_empty(), "a file of ours was refused");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn options(path: &Path) -> JournalOptions {
    let mut options = JournalOptions::new(path);
    options.durability = Durability::Process;
    options.spare_bytes = 0;
    options
}

/// Every whole answer of the file is kept, in order and byte for byte; what is not kept lies in the
/// corrupt file, and nothing is in either that was not there before.
fn nothing_is_lost(data: &[u8], healed: &[u8], recovered: &Recovered) {
    let kept: Vec<&[u8]> = healed.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(kept.len() as u64, recovered.answers, "lines are answers");
    assert!(kept.iter().all(|line| line.ends_with(b"\n")));
    let mut rest = kept.iter();
    for whole in whole_lines(data) {
        let found = rest.any(|line| line.trim_ascii_end() == whole.trim_ascii_end());
        assert!(found, "{:?} is lost", String::from_utf8_lossy(whole));
    }
    let corrupt = match &recovered.corrupt_file {
        Some(path) => fs::read(path).expect("it was written"),
        None => Vec::new(),
    };
    let damaged = recovered.corrupt_lines > 0 || recovered.torn_tail;
    assert_eq!(
        recovered.corrupt_file.is_some(),
        damaged && !corrupt.is_empty()
    );
    // Only line ends are added: one to each piece that lacks it.
    assert_eq!(without_line_ends(data), {
        let mut both = without_line_ends(healed);
        for (count, corrupt) in both.iter_mut().zip(without_line_ends(&corrupt)) {
            *count += corrupt;
        }
        both
    });
}

/// How often each byte occurs, line ends left out.
fn without_line_ends(bytes: &[u8]) -> Vec<usize> {
    let mut counts = vec![0; 256];
    for byte in bytes.iter().filter(|&&byte| byte != b'\n') {
        counts[usize::from(*byte)] += 1;
    }
    counts
}

/// The lines that are answers beyond doubt, found without the journal's own code.
fn whole_lines(data: &[u8]) -> Vec<&[u8]> {
    data.split(|&byte| byte == b'\n')
        .filter(|line| is_answer(line).unwrap_or(false))
        .collect()
}

fn is_answer(line: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(line).ok()?;
    let digits = text.strip_prefix(OURS)?.get(..32)?;
    let follows = text[OURS.len() + 32..].starts_with(r#"","custom_id":""#);
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let json: Value = serde_json::from_str(text).ok()?;
    let response = json.get("response")?;
    let status = response.get("status_code")?.as_u64()?;
    let request_id = response.get("request_id")?;
    let plain = text.matches("\"custom_id\"").count() == 1
        && ["response", "error", "status_code", "request_id", "body"]
            .iter()
            .all(|name| text.matches(&format!("\"{name}\"")).count() == 1);
    Some(
        plain
            && follows
            && digits.bytes().all(lower)
            && u16::try_from(status).is_ok()
            && (request_id.is_string() || request_id.is_null())
            && response.get("body").is_some()
            && json.get("error")?.is_null(),
    )
}

/// Each answer with its fingerprint, read through the index as the final file does.
fn answers(path: &Path, expected: u64) -> Vec<(Fingerprint, String, Box<RawValue>)> {
    let mut index = AnswerIndex::build(path).expect("it was healed");
    assert_eq!(index.len() as u64, expected);
    let mut reader = AnswerReader::open(path).expect("it was healed");
    let healed = fs::read(path).expect("it was healed");
    let lines = healed.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| {
            let digits = &line[OURS.len()..OURS.len() + 32];
            let digits = std::str::from_utf8(digits).expect("a healed line is ours");
            let fingerprint = digits.parse().expect("a healed line is ours");
            let offset = index.take(fingerprint).expect("the index holds every line");
            let answer = reader.read(offset).expect("a healed line can be read");
            (fingerprint, answer.custom_id, answer.body)
        })
        .collect()
}

/// A healed journal takes a further answer and gives back all of them, and needs no more healing.
fn written_on(path: &Path, before: &Recovered, bodies: &[(Fingerprint, String, Box<RawValue>)]) {
    let (mut journal, again) = Journal::open(options(path)).expect("it was healed");
    assert_eq!((again.corrupt_lines, again.torn_tail), (0, false));
    assert_eq!(again.answers, before.answers);
    let fingerprint = Fingerprint([7; 16]);
    let appended = journal.append(&Answer {
        fingerprint,
        custom_id: "one more \" \n \\",
        status_code: 200,
        request_id: None,
        body: b"{\"n\": 1}",
    });
    assert_eq!(appended.expect("there is room"), Appended::Fine);
    journal.close().expect("there is room");
    let (journal, mut after) = Journal::open(options(path)).expect("it was healed");
    journal.close().expect("nothing was written");
    assert_eq!((after.corrupt_lines, after.torn_tail), (0, false));
    assert_eq!(after.answers, before.answers + 1);
    assert!(after.answered.take(fingerprint));
    let all = answers(path, after.answers);
    let texts = |all: &[(Fingerprint, String, Box<RawValue>)]| -> Vec<_> {
        let text = |(fp, id, body): &(Fingerprint, String, Box<RawValue>)| {
            (*fp, id.clone(), body.get().to_owned())
        };
        all.iter().map(text).collect()
    };
    assert_eq!(texts(&all[..all.len() - 1]), texts(bodies));
    let (_, id, body) = all.last().expect("one was appended");
    assert_eq!(
        (id.as_str(), body.get()),
        ("one more \" \n \\", "{\"n\": 1}")
    );
}
