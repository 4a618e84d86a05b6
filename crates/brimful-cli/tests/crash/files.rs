//! What is in the files of a run, read without any of its code.

use std::collections::BTreeMap;
use std::path::Path;

use brimful_sim::answer_tag;
use serde_json::Value;

use crate::input::prompt;

/// The file, or nothing where there is none.
pub(crate) fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

/// Its whole lines.
pub(crate) fn whole_lines(path: &Path) -> Vec<u8> {
    let mut bytes = bytes(path);
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    bytes.truncate(end.map_or(0, |end| end + 1));
    bytes
}

pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Every line of a journal.
pub(crate) fn parsed(path: &Path) -> Vec<Value> {
    let text = String::from_utf8(bytes(path)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn last line");
    let lines = text.lines().map(serde_json::from_str::<Value>);
    lines.map(Result::unwrap).collect()
}

/// The ids of a journal's lines, in its order.
pub(crate) fn ids(path: &Path) -> Vec<String> {
    let lines = parsed(path);
    let ids = lines.iter().map(|line| line["custom_id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// Checks that a Batch output answers each of `expected` once and nothing else, each answer being
/// that of its own prompt.
pub(crate) fn check_batch<'a>(path: &Path, expected: impl IntoIterator<Item = &'a String>) {
    let mut answers = BTreeMap::new();
    for line in parsed(path) {
        let id = line["custom_id"].as_str().unwrap().to_owned();
        assert_eq!(line["error"], Value::Null, "{id}");
        assert_eq!(line["response"]["status_code"], 200, "{id}");
        let message = &line["response"]["body"]["choices"][0]["message"];
        let text = message["content"].as_str().unwrap().to_owned();
        assert!(
            text.starts_with(&answer_tag(&prompt(&id))),
            "{id} has the answer to something else: {text}"
        );
        assert!(answers.insert(id.clone(), text).is_none(), "{id} twice");
    }
    for id in expected {
        assert!(answers.remove(id).is_some(), "{id} has no answer");
    }
    assert!(answers.is_empty(), "answers to nothing: {answers:?}");
}

/// Checks that the results of Anthropic's requests stand in the order of `expected`, each with its
/// own answer.
pub(crate) fn check_messages(path: &Path, expected: &[String]) {
    let lines = parsed(path);
    assert_eq!(lines.len(), expected.len());
    for (line, id) in lines.iter().zip(expected) {
        assert_eq!(line["custom_id"], id.as_str());
        assert_eq!(line["result"]["type"], "succeeded", "{id}");
        let message = &line["result"]["message"];
        let text = message["content"][0]["text"].as_str().unwrap();
        assert!(
            text.starts_with(&answer_tag(&prompt(id))),
            "{id} has the answer to something else: {text}"
        );
        assert_eq!(message["stop_reason"], "end_turn", "{id}");
        assert!(message["usage"]["output_tokens"].as_u64() > Some(1), "{id}");
    }
}

/// Checks that a CSV output has the rows of `topics` in this order, each with its own answer.
pub(crate) fn check_csv<S: AsRef<str>>(path: &Path, topics: &[S]) {
    let text = String::from_utf8(bytes(path)).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("note,topic,response,usage,error"));
    for topic in topics {
        let topic = topic.as_ref();
        let line = lines.next().unwrap();
        let tag = answer_tag(&prompt(topic));
        let start = format!("\"kept, with a comma\",{topic},{tag}");
        assert!(
            line.starts_with(&start),
            "{line} does not begin with {start}"
        );
        assert!(line.ends_with(','), "an error in {line}");
    }
    assert_eq!(lines.next(), None, "more rows than the input has");
}
