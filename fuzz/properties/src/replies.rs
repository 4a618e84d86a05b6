//! Replies of servers, well-meant or not.

use brimful_core::Class;
use brimful_providers::dialect::response_text;
use brimful_providers::reply::{Outcome, ReplyFailure, read_reply};
use brimful_providers::text::strip_control;
use serde_json::Value;

use crate::{is_one_line, message};

/// 2025-02-11T10:00:00Z
const NOW_UNIX_MS: i64 = 1_739_268_000_000;

/// The first line begins with a status, the next lines are headers, the rest is the body.
pub fn hold(data: &[u8]) {
    let (status, headers, body) = message::split(data);
    let status = std::str::from_utf8(status)
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(200);
    let reply = read_reply(status, &headers, body, NOW_UNIX_MS);
    assert_eq!(reply, read_reply(status, &headers, body, NOW_UNIX_MS));
    if let Some(id) = &reply.request_id {
        assert!(is_one_line(id) && id.chars().count() <= 200, "{id:?}");
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    match &reply.outcome {
        Outcome::Answer { usage } => {
            assert!((200..300).contains(&status), "{status} is no answer");
            let json = json.as_ref().expect("only JSON is an answer");
            assert!(json.is_object(), "only an object is an answer");
            assert!(usage.is_none_or(|usage| usage.cached <= usage.input));
            texts(json, body.len());
        }
        Outcome::Failure(failure) => judged(failure),
    }
    stripped(&String::from_utf8_lossy(body));
}

fn judged(failure: &ReplyFailure) {
    assert!(is_one_line(&failure.code), "{:?}", failure.code);
    assert!(is_one_line(&failure.message), "{:?}", failure.message);
    assert!(failure.code.chars().count() <= 100, "{:?}", failure.code);
    assert!(failure.message.chars().count() <= 500);
    let wait = failure.failure.retry_after;
    assert!(wait.is_none_or(|wait| !wait.is_zero()));
    let never = matches!(failure.failure.class, Class::Fatal | Class::Invalid);
    assert!(!never || wait.is_none(), "a wait for what never succeeds");
}

/// The text of an answer is text of the answer: not longer than the body that holds it.
fn texts(json: &Value, body_bytes: usize) {
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/completions",
        "/v1/messages",
        "/v1/embeddings",
    ] {
        if let Some(text) = response_text(path, json) {
            // An escape is at least as long as what it stands for; parts are joined by what is
            // shorter than the syntax between them.
            assert!(text.len() <= body_bytes, "{text:?} at {path}");
        }
    }
}

/// Stripping twice is stripping once, and a bound holds.
fn stripped(text: &str) {
    for bound in [0, 1, 7, 500] {
        let once = strip_control(text, bound);
        assert!(once.chars().count() <= bound, "{once:?}");
        assert!(!once.contains(|c: char| c.is_control()), "{once:?}");
        assert_eq!(once.trim(), once);
        assert_eq!(strip_control(&once, bound), once);
    }
}
