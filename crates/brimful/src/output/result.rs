//! What of a result goes into the columns that an output adds.

use brimful_providers::dialect::response_text;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::{RowResult, not_sent};

/// The values of `response`, `usage` and `error`.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) response: Value,
    pub(super) usage: Value,
    pub(super) error: Option<String>,
    /// There is an answer, but nothing in it where the response was looked for.
    pub(super) is_unmatched: bool,
}

impl Cells {
    pub(super) fn new(result: RowResult<'_>, response_path: Option<&JsonPath>) -> Self {
        match result {
            RowResult::Answer { path, body } => Self::answer(path, body, response_path),
            RowResult::Dead { code, message, .. } => Self::failed(format!("{code}: {message}")),
            RowResult::Pending => Self::failed(not_sent()),
        }
    }

    fn answer(path: &str, body: &[u8], response_path: Option<&JsonPath>) -> Self {
        let Ok(mut body) = serde_json::from_slice::<Value>(body) else {
            let error = "the answer is no JSON".to_owned();
            return Self {
                is_unmatched: true,
                ..Self::failed(error)
            };
        };
        let response = match response_path {
            Some(response_path) => matched(response_path, &body),
            None => response_text(path, &body).map(Value::String),
        };
        let is_unmatched = response.is_none();
        let error = is_unmatched.then(|| match response_path {
            Some(_) => "the response path matches nothing in the answer".to_owned(),
            None => "the answer has no text; give --response-path".to_owned(),
        });
        // Gemini's has a name of its own.
        let names = ["usage", "usageMetadata"];
        let name = names.into_iter().find(|name| body.get(name).is_some());
        let usage = name.map_or(Value::Null, |name| body[name].take());
        Self {
            response: response.unwrap_or_default(),
            usage,
            error,
            is_unmatched,
        }
    }

    fn failed(error: String) -> Self {
        // Errors quote servers; escape codes have no business in a cell that people read.
        let error = error.replace(char::is_control, " ");
        Self {
            response: Value::Null,
            usage: Value::Null,
            error: Some(error),
            is_unmatched: false,
        }
    }
}

fn matched(path: &JsonPath, body: &Value) -> Option<Value> {
    let nodes = path.query(body).all();
    match nodes.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        several => Some(several.iter().map(|node| (*node).clone()).collect()),
    }
}
