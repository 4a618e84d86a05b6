//! What an error body says, in whichever of the providers' shapes.

use http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;

use super::body::Body;

/// A longer error object is not taken apart: it would cost many times its size in memory, and none
/// is this long in good faith.
const ERROR_BYTES_MAX: usize = 64 * 1024;
const WORD_BYTES_MAX: usize = 100;

/// An error body, read but not judged.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    /// Codes, types and reasons, the most specific first. Bare numbers are not among them.
    pub words: Vec<String>,
    /// For humans, unstripped.
    pub message: String,
    /// What OpenRouter quotes of the provider behind it. Only shown: that provider's limits are
    /// not the upstream's.
    pub quoted: Option<String>,
    /// An HTTP status that the body repeats.
    pub status: Option<u16>,
    /// Google's `RetryInfo`.
    pub retry_delay: Option<String>,
    /// OpenRouter's copy of its own headers.
    pub reset: Option<String>,
    /// Google's `QuotaFailure`.
    pub violations: Vec<Violation>,
}

/// A limit that Google says was violated.
#[derive(Debug)]
pub(super) struct Violation {
    /// Names the limit and its window.
    pub quota_id: String,
    /// The whole limit.
    pub quota_value: Option<u64>,
}

impl ErrorBody {
    pub(super) fn read(body: &Body<'_>, headers: &HeaderMap) -> Self {
        let mut error = Self::default();
        let outer = body
            .message
            .or(body.detail)
            .and_then(value)
            .and_then(into_message);
        match (body.error.and_then(value), outer) {
            (Some(nested @ Value::Object(_)), outer) => {
                error.read_nested(&nested);
                if error.message.is_empty() {
                    error.message = outer.unwrap_or_default();
                }
            }
            // A string beside a message is a code: {"error":"rate_limited","message":"…"}.
            (Some(Value::String(code)), Some(message)) => {
                error.add_word(&code);
                error.message = message;
            }
            (Some(Value::String(message)), None) | (_, Some(message)) => error.message = message,
            _ => {}
        }
        for raw in [
            body.code,
            body.error_type,
            body.kind,
            body.aws_type,
            body.status,
        ] {
            error.add_code(raw.and_then(value).as_ref());
        }
        error.read_headers(headers);
        for raw in [body.status_code, body.raw_status_code] {
            error.add_code(raw.and_then(value).as_ref());
        }
        error
    }

    /// What the headers alone say, beside a body that is no object.
    pub(super) fn read_bare(headers: &HeaderMap) -> Self {
        let mut error = Self::default();
        error.read_headers(headers);
        error
    }

    fn read_headers(&mut self, headers: &HeaderMap) {
        if let Some(aws) = headers
            .get("x-amzn-errortype")
            .and_then(|value| value.to_str().ok())
        {
            // `Word:url`
            self.add_word(aws.split(':').next().unwrap_or_default());
        }
    }

    fn read_nested(&mut self, nested: &Value) {
        let details = &nested["details"];
        self.add_code(details.get("error_code"));
        for detail in details.as_array().into_iter().flatten() {
            self.read_google_detail(detail);
        }
        let metadata = &nested["metadata"];
        for code in [
            nested.get("code"),
            nested["innererror"].get("code"),
            metadata.get("error_type"),
            nested.get("error_type"),
            nested.get("type"),
            nested.get("status"),
        ] {
            self.add_code(code);
        }
        nested["message"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.message);
        self.quoted = metadata["raw"].as_str().map(str::to_owned);
        if let Some(headers) = metadata["headers"].as_object() {
            self.reset = headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-ratelimit-reset"))
                .map(|(_, value)| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                });
        }
    }

    fn read_google_detail(&mut self, detail: &Value) {
        let kind = detail["@type"].as_str().unwrap_or_default();
        if kind.ends_with("RetryInfo") {
            self.retry_delay = detail["retryDelay"].as_str().map(str::to_owned);
        } else if kind.ends_with("ErrorInfo") {
            self.add_code(detail.get("reason"));
        } else if kind.ends_with("QuotaFailure") {
            let violations = detail["violations"].as_array().into_iter().flatten();
            self.violations
                .extend(violations.map(|violation| Violation {
                    quota_id: violation["quotaId"].as_str().unwrap_or_default().to_owned(),
                    quota_value: match &violation["quotaValue"] {
                        Value::String(text) => text.parse().ok(),
                        other => other.as_u64(),
                    },
                }));
        }
    }

    fn add_code(&mut self, code: Option<&Value>) {
        match code {
            Some(Value::String(word)) => self.add_word(word),
            Some(Value::Number(number)) => self.add_status(number.as_u64()),
            _ => {}
        }
    }

    /// Takes also the last part of AWS's `namespace#Word` and of a problem type's URL.
    fn add_word(&mut self, word: &str) {
        let word = word.rsplit_once('#').map_or(word, |(_, word)| word).trim();
        if word.bytes().all(|b| b.is_ascii_digit()) {
            self.add_status(word.parse().ok());
        } else if word.len() <= WORD_BYTES_MAX && word != "error" && !word.contains(':') {
            self.words.push(word.to_owned());
        }
    }

    fn add_status(&mut self, number: Option<u64>) {
        let status = number.and_then(|number| u16::try_from(number).ok());
        if self.status.is_none() {
            self.status = status.filter(|status| (400..600).contains(status));
        }
    }

    /// Whether one of the codes is `word`, in any case.
    pub(super) fn says(&self, word: &str) -> bool {
        self.words.iter().any(|w| w.eq_ignore_ascii_case(word))
    }
}

fn value(raw: &RawValue) -> Option<Value> {
    let text = raw.get();
    if text.len() > ERROR_BYTES_MAX {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A message, also one of FastAPI's list of complaints.
fn into_message(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => {
            let texts = items.iter().filter_map(|item| item["msg"].as_str());
            Some(texts.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(mut object) => object.remove("message").and_then(into_message),
        _ => None,
    }
}
