//! Waits, as headers and messages name them.

use std::time::Duration;

use brimful_core::LimitKind;
use brimful_providers::duration::{BodyHint, parse_wait, retry_after, wait_in_text};
use brimful_providers::reply::quota_numbers;

use crate::message;

/// 2025-02-11T10:00:00Z
const NOW_UNIX_MS: i64 = 1_739_268_000_000;
const LATER_MS: u64 = 1_500;

/// The first line is a text with a wait in it, the next lines are headers, the rest is a message.
pub fn hold(data: &[u8]) {
    let (text, headers, body) = message::split(data);
    let text = String::from_utf8_lossy(text);
    let message = String::from_utf8_lossy(body);
    moves_with_the_clock(|now| parse_wait(&text, now), false);
    // A text may name a further wait, which counts once the first has passed.
    moves_with_the_clock(|now| wait_in_text(&text, now), true);
    for throttled in [false, true] {
        let hint = BodyHint {
            throttled,
            message: &message,
            retry_delay: Some(&text),
            reset: Some(&text),
        };
        // With a date of the server's own the local clock does not matter at all; without, each
        // single source moves with it, and which is chosen may change.
        let wait = retry_after(&headers, hint, NOW_UNIX_MS);
        assert_ne!(wait, Some(Duration::ZERO), "a wait of nothing is no wait");
        assert_eq!(wait, retry_after(&headers, hint, NOW_UNIX_MS));
    }
    if let Some(wait) = parse_wait(&text, NOW_UNIX_MS) {
        reads_what_it_wrote(wait);
        // A header with the text alone means what the text means.
        let hint = BodyHint {
            retry_delay: Some(&text),
            ..BodyHint::default()
        };
        let alone = retry_after(&http::HeaderMap::new(), hint, NOW_UNIX_MS);
        assert_eq!(alone, Some(wait));
    }
    numbers(&message);
}

/// A duration is the same at any time; the wait for an instant shrinks as time passes.
fn moves_with_the_clock(wait_at: impl Fn(i64) -> Option<Duration>, may_name_another: bool) {
    let (wait, later) = (
        wait_at(NOW_UNIX_MS),
        wait_at(NOW_UNIX_MS + LATER_MS.cast_signed()),
    );
    assert_ne!(wait, Some(Duration::ZERO), "a wait of nothing is no wait");
    let shrunk = wait
        .and_then(|wait| wait.checked_sub(Duration::from_millis(LATER_MS)))
        .filter(|left| !left.is_zero());
    let has_passed = wait.is_some() && shrunk.is_none();
    assert!(
        later == wait || later == shrunk || (has_passed && may_name_another),
        "{wait:?} became {later:?}"
    );
}

/// Whatever was read can be written as a Go duration and read again.
fn reads_what_it_wrote(wait: Duration) {
    let written = format!("{}s{}ns", wait.as_secs(), wait.subsec_nanos());
    assert_eq!(parse_wait(&written, NOW_UNIX_MS), Some(wait), "{written}");
    let sentence = format!("Slow down. Please try again in {written}. Thank you.");
    assert_eq!(
        wait_in_text(&sentence, NOW_UNIX_MS),
        Some(wait),
        "{sentence}"
    );
}

fn numbers(message: &str) {
    let Some(numbers) = quota_numbers(message) else {
        return;
    };
    assert_eq!(numbers.kind.is_some(), numbers.window.is_some());
    assert!(numbers.kind.is_some() || numbers.limit.is_some());
    let mut written = String::new();
    if let (Some(kind), Some(window)) = (numbers.kind, numbers.window) {
        let unit = match kind {
            LimitKind::Requests => "requests",
            LimitKind::TotalTokens => "tokens",
            LimitKind::InputTokens => "input tokens",
            LimitKind::OutputTokens => "output tokens",
            other => unreachable!("no message names {other:?}"),
        };
        let window = match window.as_secs() {
            1 => "second",
            60 => "minute",
            3_600 => "hour",
            _ => "day",
        };
        written = format!("on {unit} per {window}: ");
    }
    for (name, number) in [
        ("Limit", numbers.limit),
        ("Used", numbers.used),
        ("Requested", numbers.requested),
    ] {
        if let Some(number) = number {
            written += &format!("{name} {number}, ");
        }
    }
    if let Some(wait) = numbers.wait {
        let (secs, nanos) = (wait.as_secs(), wait.subsec_nanos());
        written += &format!(". Please try again in {secs}s{nanos}ns.");
    }
    assert_eq!(quota_numbers(&written), Some(numbers), "{written}");
}
