//! Anthropic's Messages API: answers, streams, errors and headers.

use std::io::Write as _;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::answer::{Answer, Decoration, Events};
use crate::json::{push_hex, push_number, push_text};
use crate::levels::Levels;
use crate::limits::{Level, Wait};
use crate::refusal::Refusal;

/// The status of an overloaded server, which no registry has.
const OVERLOADED: u16 = 529;

impl Answer<'_> {
    /// A message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.capacity());
        self.begin_message(&mut out);
        out.extend_from_slice(br#","content":[{"type":"text","text":""#);
        self.write_text(&mut out);
        out.extend_from_slice(br#""}],"stop_reason":""#);
        out.extend_from_slice(self.stop_reason());
        out.extend_from_slice(br#"","stop_sequence":null,"usage":"#);
        self.write_message_usage(&mut out, self.output_tokens);
        out.push(b'}');
        out
    }

    /// The message as server-sent events.
    pub(crate) fn message_events(&self) -> Events {
        let mut start = Vec::with_capacity(self.capacity());
        start.extend_from_slice(
            b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":",
        );
        self.begin_message(&mut start);
        start.extend_from_slice(
            br#","content":[],"stop_reason":null,"stop_sequence":null,"usage":"#,
        );
        // The first token is there when the message starts; later figures are cumulative.
        self.write_message_usage(&mut start, 1);
        start.extend_from_slice(b"}}\n\n");
        push_event(
            &mut start,
            "content_block_start",
            br#","index":0,"content_block":{"type":"text","text":""}"#,
        );
        push_event(&mut start, "ping", b"");
        let piece = |text: &[u8], _| {
            let mut out = Vec::with_capacity(128 + text.len());
            let delta = [
                br#","index":0,"delta":{"type":"text_delta","text":""#,
                text,
                br#""}"#,
            ];
            push_event(&mut out, "content_block_delta", &delta.concat());
            out
        };
        let mut end = Vec::with_capacity(320);
        push_event(&mut end, "content_block_stop", br#","index":0"#);
        let mut delta = br#","delta":{"stop_reason":""#.to_vec();
        delta.extend_from_slice(self.stop_reason());
        delta.extend_from_slice(br#"","stop_sequence":null},"usage":{"output_tokens":"#);
        push_number(&mut delta, self.output_tokens);
        delta.push(b'}');
        push_event(&mut end, "message_delta", &delta);
        push_event(&mut end, "message_stop", b"");
        self.pieces(start, piece, &end)
    }

    /// `{"id":…,"type":…,"role":…,"model":…`, still open.
    fn begin_message(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"id":"msg_"#);
        push_hex(out, self.key, 16);
        out.extend_from_slice(br#"","type":"message","role":"assistant","model":""#);
        push_text(out, self.model);
        out.push(b'"');
    }

    const fn stop_reason(&self) -> &'static [u8] {
        if self.cut { b"max_tokens" } else { b"end_turn" }
    }

    fn write_message_usage(&self, out: &mut Vec<u8>, output_tokens: u64) {
        out.extend_from_slice(br#"{"input_tokens":"#);
        push_number(out, self.input_tokens);
        out.extend_from_slice(
            br#","cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":"#,
        );
        push_number(out, output_tokens);
        out.extend_from_slice(br#","service_tier":"standard"}"#);
    }
}

/// One event: its name stands in a line of its own and again in the data.
fn push_event(out: &mut Vec<u8>, name: &str, rest: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    out.extend_from_slice(rest);
    out.extend_from_slice(b"}\n\n");
}

/// What the message says about `model` at `path`.
pub(crate) fn message(refusal: &Refusal, path: &str, model: &str) -> String {
    match refusal {
        Refusal::Unauthorized { key_given: true } => "invalid x-api-key".to_owned(),
        Refusal::Unauthorized { key_given: false } => "x-api-key header is required".to_owned(),
        Refusal::UnknownPath => format!("Not found: {path}"),
        Refusal::WrongMethod => "Method Not Allowed".to_owned(),
        Refusal::TooLong => "Request exceeds the maximum size".to_owned(),
        Refusal::Throttled { told: None, .. } => "Rate limited. Please try again later.".to_owned(),
        Refusal::Throttled { denial, .. } if denial.wait == Wait::Slot => {
            "Number of concurrent connections has exceeded your rate limit. Please try again \
             later."
                .to_owned()
        }
        Refusal::Throttled { denial, .. } => format!(
            "This request would exceed the rate limit for your organization (org-mock) of {} {}.",
            denial.limit,
            denial.in_words()
        ),
        Refusal::Exhausted => {
            "Your organization has reached its spend limit. Raise it to continue.".to_owned()
        }
        Refusal::Broken => "Internal server error".to_owned(),
        Refusal::Overloaded => "Overloaded".to_owned(),
        Refusal::BadRequest(_) => refusal.message(path, model),
    }
}

pub(crate) fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Overloaded => {
            StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
        other => other.status(),
    }
}

/// The error envelope; `request_id` is the one of the `request-id` header.
pub(crate) fn error(
    refusal: &Refusal,
    message: &str,
    request_id: &[u8],
    decoration: &Decoration<'_>,
) -> Vec<u8> {
    let (kind, details) = match refusal {
        Refusal::Unauthorized { .. } => ("authentication_error", ""),
        Refusal::UnknownPath => ("not_found_error", ""),
        Refusal::WrongMethod | Refusal::BadRequest(_) => ("invalid_request_error", ""),
        Refusal::TooLong => ("request_too_large", ""),
        Refusal::Throttled { .. } => ("rate_limit_error", ""),
        Refusal::Exhausted => (
            "rate_limit_error",
            r#","details":{"error_code":"enforced_spend_limit_reached"}"#,
        ),
        Refusal::Broken => ("api_error", ""),
        Refusal::Overloaded => ("overloaded_error", ""),
    };
    let mut body = Vec::with_capacity(320);
    // Writing to a vector cannot fail.
    let _ = write!(
        body,
        r#"{{"type":"error","error":{{"type":"{kind}","message":""#
    );
    push_text(&mut body, message);
    decoration.write(&mut body);
    let _ = write!(body, r#""{details}}},"request_id":""#);
    body.extend_from_slice(request_id);
    body.extend_from_slice(br#""}"#);
    body
}

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// What Anthropic tells the level of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
}

impl Told {
    const fn names(self) -> [HeaderName; 3] {
        macro_rules! names {
            ($what:literal) => {
                [
                    HeaderName::from_static(concat!("anthropic-ratelimit-", $what, "-limit")),
                    HeaderName::from_static(concat!("anthropic-ratelimit-", $what, "-remaining")),
                    HeaderName::from_static(concat!("anthropic-ratelimit-", $what, "-reset")),
                ]
            };
        }
        match self {
            Self::Requests => names!("requests"),
            Self::Tokens => names!("tokens"),
            Self::InputTokens => names!("input-tokens"),
            Self::OutputTokens => names!("output-tokens"),
        }
    }
}

/// Adds the level of each measure; `now` is counted from the Unix epoch.
pub(crate) fn append_levels(headers: &mut HeaderMap, levels: &Levels, now: Duration) {
    let told = [
        (Told::Requests, levels.requests),
        (Told::Tokens, levels.tokens),
        (Told::InputTokens, levels.input_tokens),
        (Told::OutputTokens, levels.output_tokens),
    ];
    for (told, level) in told {
        if let Some(level) = level {
            append_level(headers, told, level, now);
        }
    }
}

fn append_level(headers: &mut HeaderMap, told: Told, level: Level, now: Duration) {
    let [limit_name, remaining_name, reset_name] = told.names();
    headers.insert(limit_name, HeaderValue::from(level.limit));
    headers.insert(remaining_name, HeaderValue::from(level.remaining));
    let full_at = now.saturating_add(level.until_full);
    let secs = full_at.as_secs() + u64::from(full_at.subsec_nanos() > 0);
    if let Ok(value) = HeaderValue::from_str(&crate::rate_headers::rfc3339(secs)) {
        headers.insert(reset_name, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn answer() -> Answer<'static> {
        Answer {
            key: 0xAB,
            model: "claude\"x",
            tag: 0xCBF4_3926,
            input_tokens: 3,
            output_tokens: 5,
            cut: false,
            decoration: Decoration::default(),
        }
    }

    /// Name and data of each event.
    fn events_of(events: &Events) -> Vec<(String, Value)> {
        let all: Vec<u8> = events.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let all = String::from_utf8(all).unwrap();
        let events = all.split_terminator("\n\n").map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let name = name.strip_prefix("event: ").unwrap();
            (name.to_owned(), serde_json::from_str(data).unwrap())
        });
        events.collect()
    }

    #[test]
    fn a_message_has_text_and_usage_where_clients_look_for_them() {
        let message: Value = serde_json::from_slice(&answer().message()).unwrap();
        let text = message["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("[cbf43926] "));
        assert_eq!(message["usage"]["input_tokens"], 3);
        assert_eq!(message["usage"]["output_tokens"], 5);
        assert_eq!(message["stop_reason"], "end_turn");
        assert_eq!(message["model"], "claude\"x");
    }

    #[test]
    fn a_stream_adds_up_to_the_message() {
        let whole: Value = serde_json::from_slice(&answer().message()).unwrap();
        let events = events_of(&answer().message_events());
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
        let end = ["content_block_stop", "message_delta", "message_stop"];
        assert_eq!(names[names.len() - 3..], end);
        let mut text = String::new();
        for (name, data) in &events {
            assert_eq!(data["type"], name.as_str());
            text.push_str(data["delta"]["text"].as_str().unwrap_or(""));
        }
        assert_eq!(whole["content"][0]["text"], text);
        assert_eq!(events[0].1["message"]["id"], whole["id"]);
        assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 3);
        let delta = &events[events.len() - 2].1;
        assert_eq!(delta["usage"]["output_tokens"], 5);
        assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    }

    #[test]
    fn an_error_names_its_type_and_its_request() {
        let body = error(
            &Refusal::Exhausted,
            "no \"money\"",
            b"req_1",
            &Decoration::default(),
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&body["type"], &body["request_id"]),
            (&"error".into(), &"req_1".into())
        );
        assert_eq!(body["error"]["type"], "rate_limit_error");
        let code = &body["error"]["details"]["error_code"];
        assert_eq!(code, "enforced_spend_limit_reached");
        assert_eq!(status(&Refusal::Overloaded).as_u16(), 529);
    }
}
