//! `brimful probe` against real servers: the mock, and one that is scripted.

use serde_json::Value;

use crate::mock_process::Mock;
use crate::scripted::{Reply, Scripted, chat, reply};
use crate::workdir::{Invocation, TestDir};

fn probe(dir: &TestDir, base_url: &str, flags: &str) -> Invocation {
    dir.brimful("probe --base-url").arg(base_url).args(flags)
}

fn document(dir: &TestDir, base_url: &str, flags: &str) -> Value {
    let shown = probe(dir, base_url, flags).args("--json").exits(0).stdout;
    serde_json::from_str(&shown).unwrap()
}

/// The limit of a kind.
#[track_caller]
fn limit<'d>(document: &'d Value, kind: &str) -> &'d Value {
    let limits = document["limits"].as_array().unwrap();
    let found = limits.iter().find(|limit| limit["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {document:#}"))
}

/// Whether so many units are among those that the second request may have taken.
fn covers(limit: &Value, units: u64) -> bool {
    let end = |name: &str| limit[name].as_u64().unwrap();
    (end("taken_least")..=end("taken_most")).contains(&units)
}

#[test]
fn what_the_server_says_stands_beside_what_the_profile_says() {
    let mock = Mock::start("--rpm 60 --tpm 60000 --burst 60s");
    let dir = TestDir::new();
    let found = document(&dir, mock.url(), "--provider openai --model m");
    let requests = limit(&found, "requests");
    assert_eq!(requests["limit"], 60, "{found:#}");
    assert_eq!(requests["window_s"], 60.0, "{found:#}");
    assert_eq!(requests["profile"]["name"], "rpm", "{found:#}");
    assert!(covers(requests, 1), "{found:#}");
    assert_eq!(found["requests"].as_array().unwrap().len(), 2);
    assert_eq!(found["http"], "HTTP/1.1");
    assert_eq!(found["tls"], Value::Null);
    assert!(found["clock_ahead_ms"].as_i64().unwrap().abs() < 60_000);
    let tokens = limit(&found, "total-tokens");
    assert_eq!(tokens["limit"], 60_000, "{found:#}");
    // The mock takes input and output together: 1 and 16.
    assert!(covers(tokens, 17), "{found:#}");
    let foretold = tokens["foretold"].as_array().unwrap();
    let by_sum = foretold.iter().find(|way| way["rule"] == "sum").unwrap();
    assert_eq!(by_sum["units"], 17, "{found:#}");
    let shown = probe(&dir, mock.url(), "--provider openai --model m")
        .exits(0)
        .stdout;
    for word in [
        "OpenAI (openai) at http://127.0.0.1",
        "answered after",
        "HTTP/1.1 without TLS",
        "taken; foretold: ",
    ] {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
}

#[test]
fn each_style_of_headers_is_read() {
    let dir = TestDir::new();
    for style in ["right", "late", "rounded", "wrong-limit", "wrong-remaining"] {
        let mock = Mock::start(&format!("--rpm 600 --level-headers {style}"));
        let found = document(&dir, mock.url(), "--model m");
        assert!(
            limit(&found, "requests")["limit"].is_u64(),
            "{style}: {found:#}"
        );
    }
    let mock = Mock::start("--rpm 600 --itpm 50000 --otpm 10000 --level-headers absent");
    let shown = probe(&dir, mock.url(), "--model m").exits(0).stdout;
    assert!(shown.contains("say nothing of limits"), "{shown}");
}

#[test]
fn native_endpoints_are_asked_in_their_own_words() {
    let mock = Mock::start("--rpm 600 --itpm 50000 --otpm 10000");
    let dir = TestDir::new();
    let root = format!("http://{}", mock.address());
    let found = document(&dir, &root, "--provider anthropic --model m");
    assert_eq!(found["path"], "/v1/messages");
    assert_eq!(found["headers"], "anthropic");
    assert_eq!(limit(&found, "input-tokens")["limit"], 50_000, "{found:#}");
    assert_eq!(limit(&found, "output-tokens")["profile"]["name"], "otpm");
    let found = document(&dir, &root, "--provider gemini --model m");
    assert_eq!(found["path"], "/v1beta/models/m:generateContent");
}

#[test]
fn tls_is_named_by_its_version() {
    let mock = Mock::start("--rpm 600 --tls --tls-cert-out ca.pem");
    let dir = TestDir::new();
    let shown = probe(&dir, mock.url(), "--model m --once")
        .env("SSL_CERT_FILE", &mock.path("ca.pem"))
        .exits(0)
        .stdout;
    assert!(shown.contains("HTTP/1.1 over TLS 1.3"), "{shown}");
    assert!(!shown.contains("request 2"), "{shown}");
}

#[test]
fn a_key_is_never_shown_and_a_wrong_one_is_fatal() {
    let key = "sk-right-0123456789abcdef";
    let mock = Mock::with_key(key, "--rpm 600 --echo-headers");
    let dir = TestDir::new();
    let asked = |key: &str| {
        probe(&dir, mock.url(), "--provider openai --model m --json").env("OPENAI_API_KEY", key)
    };
    let right = asked(key).exits(0);
    let wrong = asked("sk-wrong-0123456789abcdef").exits(1);
    for text in [&right.stdout, &right.stderr, &wrong.stdout, &wrong.stderr] {
        assert!(!text.contains("0123456789abcdef"), "{text}");
    }
    let wrong: Value = serde_json::from_str(&wrong.stdout).unwrap();
    assert_eq!(wrong["requests"][0]["error"]["class"], "fatal", "{wrong:#}");
}

#[test]
fn a_refused_request_is_shown_and_ends_with_its_own_exit_code() {
    let server = Scripted::start(|_| {
        let body = r#"{"error":{"message":"Rate limit reached: Limit 3, Used 3, Requested 1.","code":"rate_limit_exceeded"}}"#;
        let headers = "x-ratelimit-limit-requests: 3\r\nx-ratelimit-remaining-requests: 0\r\n\
                       x-ratelimit-reset-requests: 60s\r\n";
        Reply::Send(reply("429 Too Many Requests", headers, body.as_bytes()))
    });
    let shown = probe(&TestDir::new(), &server.url(), "--model m")
        .exits(3)
        .stdout;
    for word in [
        "429, throttled (rate_limit_exceeded)",
        "requests in 60 s",
        "all free in 60 s",
    ] {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_servers_own_account_of_a_request_is_shown() {
    let server = Scripted::start(|seen| {
        let left = if seen.number == 0 { 499_123 } else { 498_246 };
        let headers = format!(
            "x-ratelimit-limit-tokens-minute: 500000\r\n\
             x-ratelimit-remaining-tokens-minute: {left}\r\n\
             x-ratelimit-tokens-query-cost: 877\r\n"
        );
        Reply::Send(reply("200 OK", &headers, chat("hello").as_bytes()))
    });
    let dir = TestDir::new();
    let flags = "--provider mistral --model m";
    let found = document(&dir, &server.url(), flags);
    assert_eq!(found["requests"][1]["charged_tokens"], 877, "{found:#}");
    let tokens = limit(&found, "total-tokens");
    assert_eq!(
        (&tokens["taken_least"], &tokens["taken_most"]),
        (&877.into(), &877.into())
    );
    let unnamed = found["unnamed"].as_array().unwrap();
    assert!(
        unnamed.iter().any(|limit| limit["name"] == "rps"),
        "{found:#}"
    );
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let dir = TestDir::new();
    dir.brimful("probe --provider mock --model m")
        .exits(2)
        .says(&["brimful mock"]);
    probe(&dir, "http://127.0.0.1:9/v1", "")
        .exits(2)
        .says(&["--model"]);
    dir.write("body.json", "{\"model\": ");
    probe(&dir, "http://127.0.0.1:9/v1", "--body body.json")
        .exits(2)
        .says(&["--body"]);
    probe(&dir, "http://127.0.0.1:9/v1", "--body missing.json")
        .exits(2)
        .says(&["missing.json"]);
}
