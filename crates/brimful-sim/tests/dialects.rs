//! Anthropic's and Gemini's endpoints, as their clients see them.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{
    Action, Ending, IncomingRequest, RetryAfterStyle, Server, ServerConfig, answer_tag,
};
use http::{HeaderMap, Method};
use serde_json::Value;

const MESSAGES: &str = "/v1/messages";
const GENERATE: &str = "/v1beta/models/gemini-mock:generateContent";
const STREAM: &str = "/v1beta/models/gemini-mock:streamGenerateContent?alt=sse";

#[test]
fn a_message_is_answered_with_its_prompts_tag_and_anthropics_headers() {
    let mut server = server(|c| {
        c.rpm = Some(60);
        c.tpm = Some(60_000);
        c.burst = Duration::from_secs(60);
    });
    let answer = server.ask(MESSAGES, &message("hello", ""));
    assert_eq!(answer.status, 200);
    let text = answer.json()["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.starts_with(&answer_tag("hello")), "{text}");
    assert!(answer.header("request-id").starts_with("req_"));
    assert_eq!(answer.header("anthropic-ratelimit-requests-limit"), "60");
    assert_eq!(
        answer.header("anthropic-ratelimit-requests-remaining"),
        "59"
    );
    // The server's time starts with the year 2026; one request of 60 a minute is back in 1 s.
    let reset = answer.header("anthropic-ratelimit-requests-reset");
    assert_eq!(reset, "2026-01-01T00:00:01Z");
    assert_eq!(answer.header("anthropic-ratelimit-tokens-limit"), "60000");
    assert!(
        !answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-"))
    );
}

#[test]
fn a_message_must_say_how_long_its_answer_may_be() {
    let mut server = server(|_| {});
    let answer = server.ask(MESSAGES, r#"{"messages":[{"role":"user","content":"a"}]}"#);
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["message"], "max_tokens: Field required");
    assert_eq!(body["request_id"], answer.header("request-id"));
}

#[test]
fn a_429_of_anthropic_has_its_envelope_and_whole_seconds() {
    let mut server = server(|c| c.rpm = Some(1));
    assert_eq!(server.ask(MESSAGES, &message("a", "")).status, 200);
    let refused = server.ask(MESSAGES, &message("b", ""));
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), "60");
    assert!(!refused.headers.contains_key("retry-after-ms"));
    let body = refused.json();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    let text = body["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("rate limit") && text.contains("1 requests per minute"),
        "{text}"
    );
}

#[test]
fn an_overloaded_anthropic_answers_529_and_gemini_503() {
    let mut server = server(|c| c.overload_share = 1.0);
    let answer = server.ask(MESSAGES, &message("a", ""));
    assert_eq!(answer.status, 529);
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    let answer = server.ask(GENERATE, &contents("a"));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["error"]["status"], "UNAVAILABLE");
}

#[test]
fn streams_are_events_in_each_dialect() {
    let mut server = server(|_| {});
    let answer = server.ask(MESSAGES, &message("hi", r#","stream":true"#));
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert!(answer.text().starts_with("event: message_start\ndata: {"));
    assert!(answer.text().contains(&answer_tag("hi")));
    assert!(
        answer
            .text()
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    let answer = server.ask(STREAM, &contents("hi"));
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert!(answer.text().starts_with("data: {") && answer.text().contains(&answer_tag("hi")));
    let answer = server.ask(STREAM.split_once('?').unwrap().0, &contents("hi"));
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=UTF-8"
    );
    assert!(answer.json().is_array());
    assert_eq!(server.server.stats().answered, 3);
}

#[test]
fn gemini_answers_in_its_own_shape_and_tells_no_levels() {
    let mut server = server(|c| c.rpm = Some(600));
    let answer = server.ask(GENERATE, &contents("hello"));
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let text = body["candidates"][0]["content"]["parts"][0]["text"]
        .as_str()
        .unwrap();
    assert!(text.starts_with(&answer_tag("hello")), "{text}");
    assert_eq!(body["modelVersion"], "gemini-mock");
    assert_eq!(body["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(body["usageMetadata"]["candidatesTokenCount"], 4);
    let names: Vec<&str> = answer.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["content-type"]);
}

#[test]
fn a_429_of_gemini_teaches_quota_and_wait_in_its_body() {
    let mut server = server(|c| c.tpm = Some(600));
    let long = "x".repeat(36);
    assert_eq!(server.ask(GENERATE, &contents(&long)).status, 200);
    let refused = server.ask(GENERATE, &contents(&long));
    assert_eq!(refused.status, 429);
    assert!(!refused.headers.contains_key("retry-after"));
    let error = &refused.json()["error"];
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    let violation = &error["details"][0]["violations"][0];
    assert_eq!(violation["quotaValue"], "600");
    assert!(violation["quotaId"].as_str().unwrap().contains("PerMinute"));
    // 13 tokens of the 10 that a second refills were taken: all are back in 1.3 s.
    assert_eq!(error["details"][1]["retryDelay"], "1.3s");
}

#[test]
fn a_wait_that_is_to_be_missing_is_missing_in_gemini_too() {
    let mut server = server(|c| {
        c.rpm = Some(1);
        c.retry_after = RetryAfterStyle::Missing;
    });
    server.ask(GENERATE, &contents("a"));
    let refused = server.ask(GENERATE, &contents("a"));
    assert_eq!(refused.status, 429);
    assert!(!refused.text().contains("RetryInfo"), "{}", refused.text());
}

#[test]
fn an_empty_wallet_is_told_as_each_provider_tells_it() {
    let mut server = server(|c| c.quota_after = Some(0));
    let answer = server.ask(MESSAGES, &message("a", ""));
    assert_eq!(answer.status, 429);
    let code = &answer.json()["error"]["details"]["error_code"];
    assert_eq!(code, "enforced_spend_limit_reached");
    let answer = server.ask(GENERATE, &contents("a"));
    let violation = &answer.json()["error"]["details"][0]["violations"][0];
    assert!(violation["quotaId"].as_str().unwrap().contains("PerDay"));
}

#[test]
fn each_dialects_key_is_asked_for_and_never_shown() {
    let mut server = server(|c| c.auth = Some("sk-secret".into()));
    let cases = [
        (MESSAGES, message("a", ""), Some("sk-secret"), 200),
        (MESSAGES, message("a", ""), Some("Bearer sk-secret"), 200),
        (MESSAGES, message("a", ""), Some("sk-wrong-key"), 401),
        (MESSAGES, message("a", ""), None, 401),
        (GENERATE, contents("a"), Some("sk-secret"), 200),
        (GENERATE, contents("a"), Some("sk-wrong-key"), 400),
        (GENERATE, contents("a"), None, 403),
        // OpenAI's has the word before it.
        (
            "/v1/chat/completions",
            contents("a"),
            Some("sk-secret"),
            401,
        ),
    ];
    for (path, body, key, status) in cases {
        let answer = server.ask_with(path, &body, key);
        assert_eq!(answer.status, status, "{path} {key:?}");
        assert!(!answer.shows("sk-"), "{}", answer.text());
    }
    let by_query = |key: &str, stream: &str| {
        format!("/v1beta/models/m:{stream}enerateContent?key={key}&alt=sse")
    };
    let right = server.ask(&by_query("sk-secret", "g"), &contents("a"));
    assert_eq!(right.status, 200);
    let wrong = server.ask(&by_query("sk-wrong-key", "streamG"), &contents("a"));
    assert_eq!(wrong.status, 400);
    let lost = server.ask("/v1beta/models/m:nothing?key=sk-wrong-key", "{}");
    assert!(!wrong.shows("sk-") && !lost.shows("sk-"));
}

#[test]
fn every_broken_path_and_body_has_an_error_in_its_dialect() {
    let mut server = server(|_| {});
    for path in ["/v1/messages/batches", MESSAGES] {
        let answer = server.ask(path, "{");
        assert!((400..500).contains(&answer.status), "{path}");
        assert_eq!(answer.json()["type"], "error", "{path}");
    }
    for path in [
        "/v1beta/models/m:embedContent",
        "/v1beta/",
        GENERATE,
        STREAM,
    ] {
        let answer = server.ask(path, "{");
        assert!((400..500).contains(&answer.status), "{path}");
        assert_eq!(answer.json()["error"]["code"], answer.status, "{path}");
    }
}

struct Mock {
    server: Server,
}

/// What a client would see.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn server(change: impl FnOnce(&mut ServerConfig)) -> Mock {
    let mut config = ServerConfig::default();
    change(&mut config);
    let server = Server::new(config, 7).unwrap();
    Mock { server }
}

impl Mock {
    fn ask(&mut self, path: &str, body: &str) -> Answer {
        self.ask_with(path, body, None)
    }

    /// At the start of time, on which nothing is refilled.
    fn ask_with(&mut self, path: &str, body: &str, authorization: Option<&str>) -> Answer {
        let request = IncomingRequest {
            method: &Method::POST,
            path,
            body: body.as_bytes(),
            authorization,
        };
        let reply = self.server.handle(Timestamp::ZERO, request);
        self.server
            .finished(Timestamp::ZERO, reply.ticket, Ending::Sent);
        match reply.action {
            Action::Respond {
                status,
                headers,
                body,
            } => Answer {
                status: status.as_u16(),
                headers,
                body: body.to_vec(),
            },
            Action::Stream {
                status,
                headers,
                chunks,
                complete,
            } => {
                assert!(complete);
                let chunks = chunks.into_iter().flat_map(|chunk| chunk.bytes);
                Answer {
                    status: status.as_u16(),
                    headers,
                    body: chunks.collect(),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
    }

    /// Whether `text` stands anywhere.
    fn shows(&self, text: &str) -> bool {
        let in_headers = format!("{:?}", self.headers).contains(text);
        in_headers || self.text().contains(text)
    }
}

fn message(prompt: &str, more: &str) -> String {
    format!(
        r#"{{"model":"claude-mock","max_tokens":100,"messages":[{{"role":"user","content":"{prompt}"}}]{more}}}"#
    )
}

fn contents(prompt: &str) -> String {
    format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"{prompt}"}}]}}],"generationConfig":{{"maxOutputTokens":4}}}}"#
    )
}
