//! Gemini's generateContent: answers, streams and errors. Its replies have no headers about limits.

use std::io::Write as _;
use std::time::Duration;

use http::StatusCode;

use crate::answer::{Answer, Decoration, Events};
use crate::json::{push_hex, push_number, push_text};
use crate::limits::Wait;
use crate::refusal::Refusal;

impl Answer<'_> {
    /// The answer in one piece.
    pub(crate) fn generated(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.capacity());
        self.write_text(&mut text);
        self.candidate(&text, self.output_tokens)
    }

    /// The answer as server-sent events, or as the elements of a JSON array.
    pub(crate) fn generated_events(&self, sse: bool) -> Events {
        let piece = |text: &[u8], done: u64| {
            let candidate = self.candidate(text, done);
            if sse {
                return [b"data: ", candidate.as_slice(), b"\r\n\r\n"].concat();
            }
            let end: &[u8] = if done < self.output_tokens {
                b"\n,\r\n"
            } else {
                b"\n]\n"
            };
            [candidate.as_slice(), end].concat()
        };
        let first = if sse { Vec::new() } else { b"[".to_vec() };
        self.pieces(first, piece, b"")
    }

    /// What `done` tokens have given: usage is cumulative, and only the last piece says why it
    /// ends.
    fn candidate(&self, text: &[u8], done: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(400 + self.model.len() + text.len());
        out.extend_from_slice(br#"{"candidates":[{"content":{"parts":[{"text":""#);
        out.extend_from_slice(text);
        out.extend_from_slice(br#""}],"role":"model"}"#);
        if done == self.output_tokens {
            let reason = if self.cut { "MAX_TOKENS" } else { "STOP" };
            out.extend_from_slice(br#","finishReason":""#);
            out.extend_from_slice(reason.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(br#","index":0}],"usageMetadata":{"promptTokenCount":"#);
        push_number(&mut out, self.input_tokens);
        out.extend_from_slice(br#","candidatesTokenCount":"#);
        push_number(&mut out, done);
        out.extend_from_slice(br#","totalTokenCount":"#);
        push_number(&mut out, self.input_tokens + done);
        out.extend_from_slice(br#","promptTokensDetails":[{"modality":"TEXT","tokenCount":"#);
        push_number(&mut out, self.input_tokens);
        out.extend_from_slice(br#"}]},"modelVersion":""#);
        push_text(&mut out, self.model);
        out.extend_from_slice(br#"","responseId":""#);
        push_hex(&mut out, self.key, 16);
        out.extend_from_slice(br#""}"#);
        out
    }
}

/// What the message says about `model` at `path`.
pub(crate) fn message(refusal: &Refusal, path: &str, model: &str) -> String {
    match refusal {
        Refusal::Unauthorized { key_given: true } => {
            "API key not valid. Please pass a valid API key.".to_owned()
        }
        Refusal::Unauthorized { key_given: false } => {
            "Method doesn't allow unregistered callers (callers without established identity). \
             Please use API Key or other form of API consumer identity to call this API."
                .to_owned()
        }
        Refusal::UnknownPath | Refusal::WrongMethod => {
            format!("{path} is not found for API version v1beta, or is not supported.")
        }
        Refusal::Throttled { told: None, .. } => {
            "Resource has been exhausted (e.g. check quota).".to_owned()
        }
        Refusal::Throttled {
            denial,
            told: Some(told),
        } => {
            let wait = match denial.wait {
                Wait::Time(_) => format!("\nPlease retry in {}.", Seconds(*told)),
                Wait::Slot | Wait::Forever => String::new(),
            };
            format!(
                "You exceeded your current quota, please check your plan and billing details.\n\
                 * Quota exceeded: {}, limit: {}, model: {model}{wait}",
                denial.in_words(),
                denial.limit
            )
        }
        Refusal::Broken => "An internal error has occurred. Please retry.".to_owned(),
        Refusal::Overloaded => "The model is overloaded. Please try again later.".to_owned(),
        Refusal::TooLong | Refusal::BadRequest(_) | Refusal::Exhausted => {
            refusal.message(path, model)
        }
    }
}

pub(crate) const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Unauthorized { key_given: true } => StatusCode::BAD_REQUEST,
        Refusal::Unauthorized { key_given: false } => StatusCode::FORBIDDEN,
        // A path that exists for another method does not exist for this one.
        Refusal::WrongMethod => StatusCode::NOT_FOUND,
        other => other.status(),
    }
}

/// The quota that a 429 speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) metric: &'static str,
    pub(crate) id: &'static str,
    /// `None` where no figure is told.
    pub(crate) value: Option<u64>,
}

impl Quota {
    /// Requests a minute.
    pub(crate) const REQUESTS: Self = Self {
        metric: "generate_content_requests",
        id: "GenerateRequestsPerMinutePerProjectPerModel",
        value: None,
    };

    /// Tokens a minute.
    pub(crate) const TOKENS: Self = Self {
        metric: "generate_content_input_token_count",
        id: "GenerateContentInputTokensPerModelPerMinute",
        value: None,
    };

    /// Requests in any other time, or at a time.
    pub(crate) const OTHER_REQUESTS: Self = Self {
        id: "GenerateRequestsPerProjectPerModel",
        ..Self::REQUESTS
    };

    /// Tokens in any other time.
    pub(crate) const OTHER_TOKENS: Self = Self {
        id: "GenerateContentInputTokensPerModel",
        ..Self::TOKENS
    };

    /// Requests a day, which do not come back by waiting for a little.
    pub(crate) const EXHAUSTED: Self = Self {
        metric: "generate_requests_per_model_per_day",
        id: "GenerateRequestsPerDayPerProjectPerModel",
        value: None,
    };
}

/// What a 429 says beside its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details<'a> {
    pub(crate) quota: Option<Quota>,
    pub(crate) model: &'a str,
    /// In how long to try again, where that is told.
    pub(crate) retry_delay: Option<Duration>,
}

pub(crate) fn error(
    refusal: &Refusal,
    message: &str,
    details: Details<'_>,
    decoration: &Decoration<'_>,
) -> Vec<u8> {
    let (status, code) = (status_name(refusal), status(refusal).as_u16());
    let mut body = Vec::with_capacity(640);
    // Writing to a vector cannot fail.
    let _ = write!(body, r#"{{"error":{{"code":{code},"message":""#);
    push_text(&mut body, message);
    decoration.write(&mut body);
    let _ = write!(body, r#"","status":"{status}""#);
    let details = detail_list(refusal, details);
    if !details.is_empty() {
        body.extend_from_slice(br#","details":["#);
        body.extend_from_slice(&details.join(&b','));
        body.push(b']');
    }
    body.extend_from_slice(b"}}");
    body
}

fn detail_list(refusal: &Refusal, details: Details<'_>) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    if matches!(refusal, Refusal::Unauthorized { key_given: true }) {
        list.push(
            br#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}"#
                .to_vec(),
        );
    }
    if let Some(quota) = details.quota {
        let mut failure = Vec::with_capacity(320);
        let _ = write!(
            failure,
            r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"generativelanguage.googleapis.com/{}","quotaId":"{}","quotaDimensions":{{"location":"global","model":""#,
            quota.metric, quota.id
        );
        push_text(&mut failure, details.model);
        failure.extend_from_slice(br#""}"#);
        if let Some(value) = quota.value {
            let _ = write!(failure, r#","quotaValue":"{value}""#);
        }
        failure.extend_from_slice(b"}]}");
        list.push(failure);
    }
    if let Some(delay) = details.retry_delay {
        let delay = Seconds(delay);
        let mut info = Vec::with_capacity(100);
        let _ = write!(
            info,
            r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}"#
        );
        list.push(info);
    }
    list
}

const fn status_name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unauthorized { key_given: false } => "PERMISSION_DENIED",
        Refusal::UnknownPath | Refusal::WrongMethod => "NOT_FOUND",
        Refusal::Unauthorized { .. } | Refusal::BadRequest(_) | Refusal::TooLong => {
            "INVALID_ARGUMENT"
        }
        Refusal::Throttled { .. } | Refusal::Exhausted => "RESOURCE_EXHAUSTED",
        Refusal::Broken => "INTERNAL",
        Refusal::Overloaded => "UNAVAILABLE",
    }
}

/// A protobuf duration: `26s`, `57.238747106s`.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (secs, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if nanos == 0 {
            return write!(f, "{secs}s");
        }
        let digits = format!("{nanos:09}");
        write!(f, "{secs}.{}s", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn answer() -> Answer<'static> {
        Answer {
            key: 0xAB,
            model: "gemini",
            tag: 0xCBF4_3926,
            input_tokens: 3,
            output_tokens: 5,
            cut: true,
            decoration: Decoration::default(),
        }
    }

    fn parse(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn concat(events: &Events) -> String {
        let all: Vec<u8> = events.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8(all).unwrap()
    }

    fn text_of(value: &Value) -> String {
        let part = &value["candidates"][0]["content"]["parts"][0]["text"];
        part.as_str().unwrap().to_owned()
    }

    #[test]
    fn an_answer_has_text_and_usage_where_clients_look_for_them() {
        let whole = parse(&answer().generated());
        assert!(text_of(&whole).starts_with("[cbf43926] "));
        assert_eq!(whole["candidates"][0]["finishReason"], "MAX_TOKENS");
        let usage = &whole["usageMetadata"];
        assert_eq!(
            (&usage["promptTokenCount"], &usage["totalTokenCount"]),
            (&3.into(), &8.into())
        );
    }

    #[test]
    fn both_forms_of_stream_add_up_to_the_answer() {
        let whole = text_of(&parse(&answer().generated()));
        let sse = concat(&answer().generated_events(true));
        let events = sse.split_terminator("\r\n\r\n");
        let events: Vec<Value> = events
            .map(|event| parse(event.strip_prefix("data: ").unwrap().as_bytes()))
            .collect();
        let array = parse(concat(&answer().generated_events(false)).as_bytes());
        assert_eq!(array.as_array().unwrap(), &events);
        assert_eq!(events.iter().map(text_of).collect::<String>(), whole);
        let ends: Vec<bool> = events
            .iter()
            .map(|event| event["candidates"][0].get("finishReason").is_some())
            .collect();
        assert_eq!(ends, [false, false, false, false, true]);
    }

    #[test]
    fn a_429_teaches_the_limit_and_the_wait() {
        let details = Details {
            quota: Some(Quota {
                value: Some(250_000),
                ..Quota::TOKENS
            }),
            model: "gemini",
            retry_delay: Some(Duration::from_nanos(57_238_747_106)),
        };
        let body = error(
            &Refusal::Exhausted,
            "too much",
            details,
            &Decoration::default(),
        );
        let error = &parse(&body)["error"];
        assert_eq!(
            (&error["code"], &error["status"]),
            (&429.into(), &"RESOURCE_EXHAUSTED".into())
        );
        let violation = &error["details"][0]["violations"][0];
        assert_eq!(violation["quotaValue"], "250000");
        assert_eq!(error["details"][1]["retryDelay"], "57.238747106s");
        assert_eq!(Seconds(Duration::from_secs(26)).to_string(), "26s");
    }

    #[test]
    fn a_wrong_key_is_a_bad_request_and_none_is_forbidden() {
        let wrong = Refusal::Unauthorized { key_given: true };
        let body = error(&wrong, "no", Details::default(), &Decoration::default());
        let error = &parse(&body)["error"];
        assert_eq!(
            (&error["code"], &error["status"]),
            (&400.into(), &"INVALID_ARGUMENT".into())
        );
        assert_eq!(error["details"][0]["reason"], "API_KEY_INVALID");
        assert_eq!(
            status(&Refusal::Unauthorized { key_given: false }).as_u16(),
            403
        );
    }
}
