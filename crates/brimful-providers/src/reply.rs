//! The OpenAI dialect, incoming: one reply, parsed and classified, body before status.
//!
//! The status is the least reliable part of a reply: providers send 429 for an empty wallet, 429
//! for a request that can never fit, and 200 for failures of every kind. So the codes in the body
//! decide first, then well-known phrases, then the status. Errors of the other providers are read
//! too, because OpenAI-compatible servers pass them through.

mod body;
mod class;
mod error;
mod numbers;
pub(crate) mod pick;
mod usage;

use std::borrow::Cow;
use std::time::Duration;

use brimful_core::{Class, Failure, QuotaNumbers, Scope, Usage};
use http::HeaderMap;
use serde::de::IgnoredAny;
use serde_json::error::Category;

pub use self::numbers::quota_numbers;

use self::body::Body;
use self::class::{Reason, Verdict, classify};
use self::error::ErrorBody;
use self::numbers::google_numbers;
use crate::duration::{BodyHint, retry_after, until_pacific_midnight};
use crate::stream::StreamError;
use crate::text::strip_control;

const MESSAGE_CHARS_MAX: usize = 500;
const CODE_CHARS_MAX: usize = 100;
const REQUEST_ID_CHARS_MAX: usize = 200;
/// Of a body that is not JSON no more than this is looked at for a message.
const EXCERPT_BYTES_MAX: usize = 4 * 1024;
/// A provider that asks for a day speaks of a quota, not of speed (Azure's free tier).
const QUOTA_WAIT_MIN: Duration = Duration::from_secs(86_400);

/// What one HTTP reply means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether it is an answer.
    pub outcome: Outcome,
    /// The provider's name for this attempt, for its support and for logs.
    pub request_id: Option<String>,
}

/// Whether a reply is an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The body is one JSON object and reports no error.
    Answer {
        /// What the provider says the answer used; `None` when it does not say.
        usage: Option<Usage>,
    },
    /// No answer.
    Failure(ReplyFailure),
}

/// Why a reply is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFailure {
    /// For the engine.
    pub failure: Failure,
    /// For reports: the provider's own code, or `http_500`, `not_json`, `not_an_object`,
    /// `event_stream`, `stream_cut`, `too_many_parts`, `request_too_large`, `unnamed_error`.
    pub code: String,
    /// For humans: one line, no control characters, at most 500 characters. It may quote the
    /// request and, from careless servers, the key.
    pub message: String,
}

/// Reads one reply. `body` is complete and decompressed; `now_unix_ms` is the wall clock's reading.
#[must_use]
pub fn read_reply(status: u16, headers: &HeaderMap, body: &[u8], now_unix_ms: i64) -> Reply {
    let text = std::str::from_utf8(body);
    let parsed = text.map(Body::parse);
    let reply = Raw {
        status,
        headers,
        body,
        now_unix_ms,
    };
    match parsed {
        Ok(Ok(parsed)) => {
            let outcome = if !is_success(status) || parsed.is_failure() {
                Outcome::Failure(reply.failure(&ErrorBody::read(&parsed, headers)))
            } else {
                Outcome::Answer {
                    usage: parsed.usage(),
                }
            };
            Reply {
                outcome,
                request_id: request_id(headers, Some(&parsed)),
            }
        }
        Ok(Err(error)) => reply.without_object(&error.to_string(), error.classify()),
        Err(error) => reply.without_object(&error.to_string(), Category::Syntax),
    }
}

/// Whether one JSON object reports a failure, whatever the status says.
pub(crate) fn is_failure(text: &str) -> bool {
    Body::parse(text).is_ok_and(|body| body.is_failure())
}

/// A stream that is no answer. The headers are those that it began with.
#[must_use]
pub fn read_broken_stream(error: &StreamError, headers: &HeaderMap) -> Reply {
    let (class, code) = match error {
        StreamError::Unfinished => (Class::Transient, "stream_cut"),
        StreamError::NotJson { .. } => (Class::Invalid, "not_json"),
        StreamError::TooManyParts => (Class::Invalid, "too_many_parts"),
        StreamError::UnknownForm => (Class::Fatal, "event_stream"),
    };
    Reply {
        outcome: Outcome::Failure(ReplyFailure {
            failure: Failure::new(class),
            code: code.to_owned(),
            message: strip_control(&error.to_string(), MESSAGE_CHARS_MAX),
        }),
        request_id: request_id(headers, None),
    }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..300)
}

/// A reply whose body is being judged.
struct Raw<'a> {
    status: u16,
    headers: &'a HeaderMap,
    body: &'a [u8],
    now_unix_ms: i64,
}

impl Raw<'_> {
    /// A reply whose body is not one JSON object; `complaint` says why not.
    fn without_object(&self, complaint: &str, category: Category) -> Reply {
        let text = std::str::from_utf8(self.body).unwrap_or_default();
        let wrapped = if is_success(self.status) {
            event_error(text)
        } else {
            pick::first_element(text).map(|raw| raw.get())
        };
        // Google's OpenAI-compatible endpoint wraps its error into an array.
        if let Some(object) = wrapped.and_then(|text| Body::parse(text).ok()) {
            return Reply {
                outcome: Outcome::Failure(self.failure(&ErrorBody::read(&object, self.headers))),
                request_id: request_id(self.headers, Some(&object)),
            };
        }
        let failure = if !is_success(self.status) {
            self.failure(&ErrorBody::read_bare(self.headers))
        } else if self.has_type("text/event-stream")
            || self.has_type("application/vnd.amazon.eventstream")
        {
            ReplyFailure {
                failure: Failure::new(Class::Fatal),
                code: "event_stream".to_owned(),
                message: "the provider streamed its answer: remove \"stream\" from the request"
                    .to_owned(),
            }
        } else {
            let is_json =
                category == Category::Data && serde_json::from_str::<IgnoredAny>(text).is_ok();
            let code = if is_json { "not_an_object" } else { "not_json" };
            let message = format!(
                "{complaint} ({} bytes): {}",
                self.body.len(),
                self.excerpt()
            );
            ReplyFailure {
                failure: Failure::new(Class::Invalid),
                code: code.to_owned(),
                message: strip_control(&message, MESSAGE_CHARS_MAX),
            }
        };
        Reply {
            outcome: Outcome::Failure(failure),
            request_id: request_id(self.headers, None),
        }
    }

    fn failure(&self, error: &ErrorBody) -> ReplyFailure {
        let status = if is_success(self.status) {
            error.status.unwrap_or(self.status)
        } else {
            self.status
        };
        let verdict = self.heed_advice(classify(status, error, self.now_unix_ms));
        let retry_after = self.wait(&verdict, error);
        let (mut class, mut scope) = (verdict.class, verdict.scope);
        if class == Class::Throttled && retry_after.is_some_and(|wait| wait >= QUOTA_WAIT_MIN) {
            (class, scope) = (Class::Exhausted, Scope::Upstream);
        }
        let quota = quota(&verdict, class, error, retry_after);
        ReplyFailure {
            failure: Failure {
                class,
                scope,
                retry_after,
                quota,
            },
            code: self.code(status, verdict.code, error),
            message: self.message(error),
        }
    }

    /// `x-should-retry` of OpenAI and Anthropic: it settles what is doubtful, but it speaks to
    /// clients that give up after two retries, so it overrules nothing that the body made clear.
    fn heed_advice(&self, verdict: Verdict) -> Verdict {
        let advice = self
            .headers
            .get("x-should-retry")
            .map(http::HeaderValue::as_bytes);
        let class = match (advice, verdict.class, verdict.reason) {
            (Some(b"false"), Class::Transient, _) => Class::Fatal,
            (Some(b"true"), Class::Fatal, Reason::Unknown) => Class::Transient,
            (_, class, _) => class,
        };
        Verdict { class, ..verdict }
    }

    fn wait(&self, verdict: &Verdict, error: &ErrorBody) -> Option<Duration> {
        match (verdict.class, verdict.reason) {
            (Class::Fatal | Class::Invalid, _) | (_, Reason::NoQuota) => None,
            (_, Reason::PacificDay) => until_pacific_midnight(self.now_unix_ms),
            (class, _) => {
                let hint = BodyHint {
                    throttled: class == Class::Throttled || self.status == 429,
                    message: &error.message,
                    retry_delay: error.retry_delay.as_deref(),
                    reset: error.reset.as_deref(),
                };
                retry_after(self.headers, hint, self.now_unix_ms)
            }
        }
    }

    fn code(&self, status: u16, decisive: Option<String>, error: &ErrorBody) -> String {
        let code = decisive
            .as_ref()
            .or_else(|| error.words.first())
            .map(String::as_str);
        let code = strip_control(code.unwrap_or_default(), CODE_CHARS_MAX);
        match code.as_str() {
            "" if is_success(status) => "unnamed_error".to_owned(),
            "" => format!("http_{status}"),
            _ => code,
        }
    }

    fn message(&self, error: &ErrorBody) -> String {
        let message = match &error.quoted {
            Some(quoted) => {
                strip_control(&format!("{}: {quoted}", error.message), MESSAGE_CHARS_MAX)
            }
            None => strip_control(&error.message, MESSAGE_CHARS_MAX),
        };
        if !message.is_empty() {
            return message;
        }
        match (self.status, self.redirect_target()) {
            (300..400, Some(target)) => {
                let text = format!("redirected to {target}; redirects are never followed");
                strip_control(&text, MESSAGE_CHARS_MAX)
            }
            _ => self.excerpt(),
        }
    }

    /// Where a redirect points, without user, query and fragment, which may hold secrets.
    fn redirect_target(&self) -> Option<&str> {
        let location = self.headers.get("location")?.to_str().ok()?;
        let location = location.split(['?', '#']).next()?;
        let authority = location.split_once("//").map_or(location, |(_, rest)| rest);
        let host_end = authority.find(['/', '\\']).unwrap_or(authority.len());
        let has_user = authority[..host_end].contains('@');
        Some(if has_user {
            "a URL with a user in it"
        } else {
            location
        })
    }

    /// The beginning of a body without a message, or the title of an HTML page.
    fn excerpt(&self) -> String {
        let head = &self.body[..self.body.len().min(EXCERPT_BYTES_MAX)];
        let head = String::from_utf8_lossy(head);
        let text = head.trim();
        if !text.starts_with('<') {
            let line = strip_control(text, MESSAGE_CHARS_MAX);
            return if line.is_empty() {
                "the body holds no text".to_owned()
            } else {
                line
            };
        }
        let lower = text.to_ascii_lowercase();
        let title = lower
            .find("<title>")
            .map(|at| at + "<title>".len())
            .and_then(|start| {
                let end = lower[start..].find('<')?;
                Some(strip_control(
                    &text[start..start + end],
                    MESSAGE_CHARS_MAX / 2,
                ))
            });
        match title {
            Some(title) if !title.is_empty() => format!("an HTML page: {title}"),
            _ => "an HTML page".to_owned(),
        }
    }

    fn has_type(&self, media_type: &str) -> bool {
        self.headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(media_type))
    }
}

/// What a refusal says of the limit that refused: one for speed, or Google's of a day.
fn quota(
    verdict: &Verdict,
    class: Class,
    error: &ErrorBody,
    wait: Option<Duration>,
) -> Option<QuotaNumbers> {
    if class != Class::Throttled && verdict.reason != Reason::PacificDay {
        return None;
    }
    let google = google_numbers(&error.violations).map(|numbers| QuotaNumbers { wait, ..numbers });
    google.or_else(|| quota_numbers(&error.message))
}

/// The failure inside an event stream: it comes after the 200, as the data of one event.
fn event_error(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter(|data| data.contains("error"))
        .find(|data| is_failure(data))
}

fn request_id(headers: &HeaderMap, body: Option<&Body<'_>>) -> Option<String> {
    [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-requestid",
    ]
    .into_iter()
    .find_map(|name| Some(Cow::from(headers.get(name)?.to_str().ok()?)))
    .or_else(|| serde_json::from_str(body?.request_id?.get()).ok())
    .map(|id| strip_control(&id, REQUEST_ID_CHARS_MAX))
    .filter(|id| !id.is_empty())
}
