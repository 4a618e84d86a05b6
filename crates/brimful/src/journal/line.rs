//! One line of a journal: how it is written and how it is recognised.

use std::borrow::Cow;
use std::io::Write;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Answer;
use super::dead::DeadLetter;
use crate::fingerprint::Fingerprint;

/// How each of our lines begins. Programs that write JSON with a space after the colon, as the
/// providers' own Batch outputs have it, do not write this.
pub(super) const LINE_START: &[u8] = br#"{"id":"batch_req_"#;
const AFTER_ID: &[u8] = br#"","custom_id":""#;
const ID_DIGITS: usize = 32;
const HEAD_BYTES: usize = LINE_START.len() + ID_DIGITS + AFTER_ID.len();

/// Longest line that is written or read: an input line and an answer of 64 MB each fit in it. What
/// is longer cannot be ours, and reading it must not fill the memory.
pub(super) const MAX_LINE_BYTES: usize = 160 << 20;

/// Which of our files a line is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer: a response and no error.
    Answer,
    /// A dead letter: an error.
    DeadLetter,
}

impl Kind {
    /// The fingerprint of a whole and undamaged line; white space after it is allowed.
    pub(super) fn parse(self, line: &[u8]) -> Option<Fingerprint> {
        let fingerprint = fingerprint(line)?;
        let readable = match self {
            Self::Answer => parse::<AnswerShape<'_>>(line).is_some(),
            Self::DeadLetter => parse::<DeadLetterShape<'_>>(line).is_some(),
        };
        readable.then_some(fingerprint)
    }
}

/// What an answer line must consist of for its reader.
#[derive(Deserialize)]
pub(super) struct AnswerShape<'a> {
    #[serde(borrow)]
    pub(super) custom_id: Text<'a>,
    #[serde(borrow)]
    pub(super) response: ResponseShape<'a>,
    #[serde(rename = "error")]
    _error: (),
}

#[derive(Deserialize)]
pub(super) struct ResponseShape<'a> {
    pub(super) status_code: u16,
    #[serde(borrow)]
    pub(super) request_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// What a dead letter must consist of for its reader.
#[derive(Deserialize)]
pub(super) struct DeadLetterShape<'a> {
    #[serde(borrow)]
    pub(super) custom_id: Text<'a>,
    #[serde(borrow)]
    pub(super) response: Option<ResponseShape<'a>>,
    #[serde(borrow)]
    pub(super) error: ErrorShape<'a>,
    #[serde(rename = "attempts")]
    _attempts: IgnoredAny,
}

#[derive(Deserialize)]
pub(super) struct ErrorShape<'a> {
    #[serde(borrow)]
    pub(super) code: Text<'a>,
    #[serde(borrow)]
    pub(super) message: Text<'a>,
}

/// A string, copied only if it has escapes. (Serde borrows a `Cow` nowhere but in a field.)
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// UTF-8 is checked first: `serde_json` does not check the parts that it skips.
pub(super) fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(line).ok()?).ok()
}

/// The fingerprint in a line that begins as ours do.
pub(super) fn fingerprint(line: &[u8]) -> Option<Fingerprint> {
    let (digits, rest) = line.strip_prefix(LINE_START)?.split_at_checked(ID_DIGITS)?;
    let ours = rest.starts_with(AFTER_ID) && !digits.iter().any(u8::is_ascii_uppercase);
    ours.then(|| Fingerprint::from_hex(digits)).flatten()
}

/// Whether these bytes are how a line of ours begins, cut off at any point.
pub(super) fn is_torn_head(bytes: &[u8]) -> bool {
    if bytes.len() >= HEAD_BYTES {
        return fingerprint(bytes).is_some();
    }
    bytes
        .iter()
        .enumerate()
        .all(|(at, &byte)| match at.checked_sub(LINE_START.len()) {
            None => byte == LINE_START[at],
            Some(at) if at < ID_DIGITS => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Some(at) => byte == AFTER_ID[at - ID_DIGITS],
        })
}

/// Appends an answer to `line`, with its newline.
pub(super) fn write_answer(line: &mut Vec<u8>, answer: &Answer<'_>) {
    write_head(line, answer.fingerprint, answer.custom_id);
    line.extend_from_slice(b",\"response\":");
    write_response(line, answer.status_code, answer.request_id, |line| {
        write_on_one_line(line, answer.body);
    });
    line.extend_from_slice(b",\"error\":null}\n");
}

/// Replaces the content of `line` by a dead letter, with its newline.
pub(super) fn write_dead_letter<T: Serialize>(
    line: &mut Vec<u8>,
    letter: &DeadLetter<'_, T>,
) -> serde_json::Result<()> {
    line.clear();
    write_head(line, letter.fingerprint, letter.custom_id);
    line.extend_from_slice(b",\"response\":");
    match &letter.response {
        None => line.extend_from_slice(b"null"),
        Some(response) => {
            write_response(line, response.status_code, response.request_id, |line| {
                match parse::<IgnoredAny>(response.body) {
                    Some(_) => write_on_one_line(line, response.body),
                    // A proxy's error page, say.
                    None => write_text(line, &String::from_utf8_lossy(response.body)),
                }
            });
        }
    }
    line.extend_from_slice(b",\"error\":{\"code\":");
    write_text(line, letter.code);
    line.extend_from_slice(b",\"message\":");
    write_text(line, letter.message);
    line.extend_from_slice(b"},\"attempts\":");
    serde_json::to_writer(&mut *line, letter.attempts)?;
    line.extend_from_slice(b"}\n");
    Ok(())
}

fn write_head(line: &mut Vec<u8>, fingerprint: Fingerprint, custom_id: &str) {
    line.extend_from_slice(LINE_START);
    line.extend_from_slice(&fingerprint.to_hex());
    line.extend_from_slice(&AFTER_ID[..AFTER_ID.len() - 1]);
    write_text(line, custom_id);
}

fn write_response(
    line: &mut Vec<u8>,
    status_code: u16,
    request_id: Option<&str>,
    write_body: impl FnOnce(&mut Vec<u8>),
) {
    line.extend_from_slice(b"{\"status_code\":");
    write_display(line, &status_code);
    line.extend_from_slice(b",\"request_id\":");
    match request_id {
        Some(id) => write_text(line, id),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(b",\"body\":");
    write_body(line);
    line.push(b'}');
}

fn write_display(line: &mut Vec<u8>, value: &impl std::fmt::Display) {
    write!(line, "{value}").expect("a vector takes every write");
}

fn write_text(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("a vector takes every string");
}

/// Copies JSON with each raw CR and LF as a space. In JSON they stand only between tokens: inside a
/// string they are escaped.
fn write_on_one_line(line: &mut Vec<u8>, json: &[u8]) {
    let start = line.len();
    line.extend_from_slice(json);
    let mut rest = &mut line[start..];
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::dead::DeadResponse;
    use super::*;

    fn answer<'a>(custom_id: &'a str, request_id: Option<&'a str>, body: &'a [u8]) -> Answer<'a> {
        let fingerprint = Fingerprint([0xab; 16]);
        Answer {
            fingerprint,
            custom_id,
            status_code: 200,
            request_id,
            body,
        }
    }

    fn line_of(answer: &Answer<'_>) -> String {
        let mut line = Vec::new();
        write_answer(&mut line, answer);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_answer_is_a_line_of_batch_output() {
        assert_eq!(
            line_of(&answer("row \"1\"", Some("req_1"), br#"{"a": 1}"#)),
            concat!(
                r#"{"id":"batch_req_abababababababababababababababab","custom_id":"row \"1\"","#,
                r#""response":{"status_code":200,"request_id":"req_1","body":{"a": 1}},"error":null}"#,
                "\n"
            )
        );
        assert!(line_of(&answer("1", None, b"{}")).contains(r#""request_id":null"#));
    }

    #[test]
    fn a_pretty_printed_body_stays_on_one_line_and_keeps_its_meaning() {
        let body = b"{\r\n  \"text\": \"two\\nlines\\r\\n\",\n\t\"n\": [\n1\n]\n}\n";
        let line = line_of(&answer("1", None, body));
        assert_eq!(line.matches(['\n', '\r']).count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            value["response"]["body"],
            json!({"text": "two\nlines\r\n", "n": [1]})
        );
    }

    #[test]
    fn lines_of_other_programs_are_not_ours() {
        let ours = line_of(&answer("1", None, b"{}"));
        assert_eq!(
            Kind::Answer.parse(ours.as_bytes()),
            Some(Fingerprint([0xab; 16]))
        );
        assert_eq!(Kind::DeadLetter.parse(ours.as_bytes()), None);
        let digits = "ab".repeat(16);
        let spoilt = [
            ours.replace(&digits, "123"),
            ours.replace(&digits, &digits.to_uppercase()),
            ours.replace(&digits, &digits.replace('a', "g")),
            ours.replace("\":", "\": "),
            ours.replace(r#""error":null"#, r#""error":{"code":"x","message":"y"}"#),
            ours.replace(r#","error":null"#, ""),
            ours.replace("200", "\"200\""),
            ours.replace("{}", "{"),
            ours.replace("{}", "{\"a\":\"\0\"}"),
            ours.replace("}\n", "}{}\n"),
            format!(" {ours}"),
        ];
        for line in spoilt {
            assert_eq!(Kind::Answer.parse(line.as_bytes()), None, "{line}");
        }
        let at = ours.find("{}").unwrap();
        let mut bad_utf8 = ours.into_bytes();
        bad_utf8.splice(at..at + 2, *b"{\"\xff\":1}");
        assert_eq!(Kind::Answer.parse(&bad_utf8), None);
    }

    #[test]
    fn a_line_that_an_editor_gave_a_carriage_return_is_still_ours() {
        let line = line_of(&answer("1", None, b"{}")).replace('\n', "\r");
        assert!(Kind::Answer.parse(line.as_bytes()).is_some());
    }

    #[test]
    fn a_body_of_any_depth_is_readable() {
        let body = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let line = line_of(&answer("1", None, body.as_bytes()));
        assert!(Kind::Answer.parse(line.as_bytes()).is_some());
    }

    #[test]
    fn the_beginning_of_a_line_is_recognised_wherever_it_is_torn() {
        let ours = line_of(&answer("1", None, b"{}"));
        for cut in 0..ours.len() {
            assert!(is_torn_head(&ours.as_bytes()[..cut]), "{cut}");
        }
        for cut in 1..HEAD_BYTES {
            let mut other = ours.as_bytes()[..cut].to_vec();
            other[cut - 1] ^= 0x80;
            assert!(!is_torn_head(&other), "{cut}");
        }
    }

    #[test]
    fn a_dead_letter_has_its_error_and_attempts() {
        let mut letter = DeadLetter {
            fingerprint: Fingerprint([1; 16]),
            custom_id: "1",
            response: Some(DeadResponse {
                status_code: 502,
                request_id: None,
                body: b"<html>\n\xff",
            }),
            code: "transient",
            message: "the \"upstream\" failed",
            attempts: &[json!({"status": 502})],
        };
        let mut line = Vec::new();
        write_dead_letter(&mut line, &letter).unwrap();
        assert_eq!(Kind::DeadLetter.parse(&line), Some(letter.fingerprint));
        assert_eq!(Kind::Answer.parse(&line), None);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["response"]["body"], json!("<html>\n\u{fffd}"));
        assert_eq!(
            value["error"],
            json!({"code": "transient", "message": "the \"upstream\" failed"})
        );
        assert_eq!(value["attempts"], json!([{"status": 502}]));
        letter.response = None;
        write_dead_letter(&mut line, &letter).unwrap();
        assert!(serde_json::from_slice::<Value>(&line).unwrap()["response"].is_null());
        assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1);
    }

    proptest! {
        #[test]
        fn every_answer_is_one_line_that_reads_back(
            bytes: [u8; 16], custom_id: String, request_id: Option<String>, status_code: u16,
            text: String, pretty: bool,
        ) {
            let body = json!({"text": text, "n": [1, 2]});
            let body_bytes = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) };
            let mut line = Vec::new();
            write_answer(&mut line, &Answer {
                fingerprint: Fingerprint(bytes),
                custom_id: &custom_id,
                status_code,
                request_id: request_id.as_deref(),
                body: &body_bytes.unwrap(),
            });
            prop_assert_eq!(memchr::memchr2_iter(b'\n', b'\r', &line).count(), 1);
            prop_assert_eq!(Kind::Answer.parse(&line), Some(Fingerprint(bytes)));
            let read: AnswerShape<'_> = parse(&line).unwrap();
            prop_assert_eq!(&*read.custom_id.0, &custom_id);
            prop_assert_eq!(read.response.status_code, status_code);
            prop_assert_eq!(read.response.request_id.map(|id| id.0.into_owned()), request_id);
            prop_assert_eq!(serde_json::from_str::<Value>(read.response.body.get()).unwrap(), body);
        }
    }
}
