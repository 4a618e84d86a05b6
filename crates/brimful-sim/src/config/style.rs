//! What the server tells, and how it fails to.

use serde::{Deserialize, Serialize};

/// How a 429 for speed says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterStyle {
    /// `retry-after` in whole seconds and `retry-after-ms`, both rounded up from the exact wait.
    #[default]
    Right,
    /// No header; the message still names the wait.
    Missing,
    /// Only `retry-after`, in whole seconds, rounded up.
    Seconds,
    /// Only `retry-after-ms`, rounded up.
    #[serde(rename = "ms")]
    Millis,
    /// Only `retry-after`, as an HTTP date, rounded up to its second.
    Date,
    /// `retry-after` and `retry-after-ms` and the message all name a fifth or five times the wait.
    Wrong,
    /// The same with no wait at all, or a day.
    Absurd,
    /// `retry-after` in words that no grammar has; the message names the exact wait.
    Unreadable,
    /// No header, and a text that names neither wait nor limit.
    Silent,
}

/// What the headers of every reply tell of the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelHeaders {
    /// The levels of this instant.
    #[default]
    Right,
    /// Nothing.
    Absent,
    /// The levels of `level_headers_lag` ago, to a sixteenth of that.
    Late,
    /// What remains of tokens is rounded to the nearest thousand, as Anthropic does.
    Rounded,
    /// Twice the limit, and twice as much remaining.
    WrongLimit,
    /// The right limit, of which any part may remain.
    WrongRemaining,
}

/// How nobody is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Connections are not accepted
    /// ([`Server::accepts_connections`](crate::Server::accepts_connections)); requests on open
    /// ones are reset.
    Refuse,
    /// No request is answered.
    Hang,
    /// Every request's connection is reset.
    Reset,
    /// Every request is answered with 503 `server_is_overloaded`.
    Unavailable,
}
