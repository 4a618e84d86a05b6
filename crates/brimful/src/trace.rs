//! What is told of one attempt: in `--trace`, in the trail of a dead letter, in structured logs.

use brimful_core::{AttemptResult, Timestamp};
use serde::Serialize;

use crate::attempt::AttemptEnd;
use crate::clock::Clock;

/// One attempt. Times are milliseconds since 1970, UTC, with three decimals.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AttemptRecord {
    /// 1 for the first attempt of a request.
    pub attempt: u32,
    /// Where it went, when there are several places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// When the request reached the engine.
    pub enqueued_ms: f64,
    /// When the attempt was sent.
    pub started_ms: f64,
    /// When the head of the answer arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// When the first event of a streamed answer arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event_ms: Option<f64>,
    /// When the attempt was over.
    pub ended_ms: f64,
    /// From reaching the engine, or from the end of the attempt before, to the start.
    pub wait_ms: f64,
    /// From the start to the end.
    pub latency_ms: f64,
    /// `answered`, `aborted`, or the class of the failure.
    pub class: &'static str,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's id of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Short code of a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// One line about a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Reported input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Reported output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The limit that it waited for, or `cooldown` or `backoff`; absent when it did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_for: Option<String>,
}

impl AttemptRecord {
    /// `times`: enqueued, started, ended. `before`: the attempt before this one.
    pub(crate) fn new(
        clock: &Clock,
        attempt: u32,
        times: (Timestamp, Timestamp, Timestamp),
        waited_for: Option<String>,
        before: Option<&Self>,
        end: &AttemptEnd,
    ) -> Self {
        let usage = end.usage();
        let [enqueued_ms, started_ms, ended_ms] =
            [times.0, times.1, times.2].map(|time| clock.unix_ms(time));
        let ready_ms = before.map_or(enqueued_ms, |before| before.ended_ms);
        Self {
            attempt,
            upstream: None,
            enqueued_ms,
            started_ms,
            first_byte_ms: end.first_byte.map(|at| clock.unix_ms(clock.timestamp(at))),
            first_event_ms: end.first_event.map(|at| clock.unix_ms(clock.timestamp(at))),
            ended_ms,
            wait_ms: thousandths(started_ms - ready_ms),
            latency_ms: thousandths(ended_ms - started_ms),
            class: class_name(&end.result),
            status: end.status,
            request_id: end.request_id.clone(),
            code: end.code.clone(),
            message: end.message.clone(),
            input_tokens: usage.map(|usage| usage.input),
            output_tokens: usage.map(|usage| usage.output),
            waited_for,
        }
    }
}

/// Microseconds are what the clock's rounding leaves.
fn thousandths(ms: f64) -> f64 {
    (ms.max(0.0) * 1000.0).round() / 1000.0
}

pub(crate) const fn class_name(result: &AttemptResult) -> &'static str {
    match result {
        AttemptResult::Answered(_) => "answered",
        AttemptResult::Aborted => "aborted",
        AttemptResult::Failed(failure) | AttemptResult::NotSent(failure) => failure.class.as_str(),
    }
}
