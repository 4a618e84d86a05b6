//! Inputs, and what their prompts are.

use std::fmt::Write as _;
use std::path::Path;

/// The id of request number `index`.
pub(crate) fn id(index: usize) -> String {
    format!("request-{index}")
}

/// The prompt of the request with this id.
pub(crate) fn prompt(id: &str) -> String {
    format!("What is the meaning of {id}?")
}

/// One line of a Batch file.
pub(crate) fn batch_line(id: &str) -> String {
    let body = serde_json::json!({
        "model": "mock",
        "messages": [{ "role": "user", "content": prompt(id) }],
    });
    let line = serde_json::json!({
        "custom_id": id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    });
    line.to_string()
}

/// A Batch file of `count` requests.
pub(crate) fn write_batch(path: &Path, count: usize) {
    let mut text = String::new();
    for index in 0..count {
        writeln!(text, "{}", batch_line(&id(index))).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// One document of Anthropic's with `count` requests, answered in pieces.
pub(crate) fn write_messages(path: &Path, count: usize) {
    let request = |index: usize| {
        let id = id(index);
        serde_json::json!({"custom_id": id, "params": {
            "model": "mock", "max_tokens": 100, "stream": true,
            "messages": [{ "role": "user", "content": prompt(&id) }],
        }})
    };
    let requests: Vec<serde_json::Value> = (0..count).map(request).collect();
    let document = serde_json::json!({ "requests": requests });
    std::fs::write(path, serde_json::to_string_pretty(&document).unwrap()).unwrap();
}

/// A CSV file with a column that must come through as it is, and one that makes the prompt.
pub(crate) fn write_csv<S: AsRef<str>>(path: &Path, topics: &[S]) {
    let mut text = "note,topic\n".to_owned();
    for topic in topics {
        let topic = topic.as_ref();
        writeln!(text, "\"kept, with a comma\",{topic}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// Makes requests of the rows of [`write_csv`].
pub(crate) const CSV_FLAGS: [&str; 4] = [
    "--model",
    "mock",
    "--prompt",
    "What is the meaning of {{ topic }}?",
];
