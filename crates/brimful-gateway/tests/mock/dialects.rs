//! Anthropic's and Gemini's clients over a socket: keys in their own headers, streams.

use brimful_sim::answer_tag;

use crate::rig::{post, start};

const MESSAGE: &str =
    r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello"}]"#;
const CONTENTS: &str = r#"{"contents":[{"parts":[{"text":"hello"}]}]}"#;

#[tokio::test]
async fn each_provider_has_its_key_in_a_header_of_its_own() {
    let mock = start(|c| c.auth = Some("sk-secret".into()));
    let message = format!("{MESSAGE}}}");
    let generate = "/v1beta/models/m:generateContent";
    let cases = [
        (
            "/v1/messages",
            message.as_str(),
            "x-api-key: sk-secret",
            200,
        ),
        (
            "/v1/messages",
            &message,
            "authorization: Bearer sk-secret",
            200,
        ),
        ("/v1/messages", &message, "x-api-key: sk-wrong", 401),
        ("/v1/messages", &message, "x-other: sk-secret", 401),
        (generate, CONTENTS, "x-goog-api-key: sk-secret", 200),
        (generate, CONTENTS, "x-goog-api-key: sk-wrong", 400),
        (generate, CONTENTS, "x-other: sk-secret", 403),
        (
            "/v1beta/models/m:generateContent?key=sk-secret",
            CONTENTS,
            "x-other: 1",
            200,
        ),
        (
            "/v1beta/models/m:generateContent?key=sk-wrong",
            CONTENTS,
            "x-other: 1",
            400,
        ),
    ];
    for (path, body, key, status) in cases {
        let request = post(path, body, &format!("{key}\r\nconnection: close\r\n"));
        let answer = mock.exchange(&request).await;
        assert_eq!(answer.status, status, "{path} {key}");
        assert!(!answer.whole().contains("sk-"), "{}", answer.whole());
    }
}

#[tokio::test]
async fn a_key_comes_back_only_where_that_is_asked_for() {
    let mock = start(|c| c.echo_headers = true);
    let request = post(
        "/v1/messages",
        &format!("{MESSAGE}}}"),
        "x-api-key: sk-secret\r\nconnection: close\r\n",
    );
    let answer = mock.exchange(&request).await;
    assert_eq!(answer.header("x-echo-authorization"), Some("sk-secret"));
    assert!(answer.text().contains("sk-secret"));
}

#[tokio::test]
async fn streams_of_both_arrive_whole() {
    let mock = start(|_| {});
    let stream = format!("{MESSAGE},\"stream\":true}}");
    let request = post("/v1/messages", &stream, "connection: close\r\n");
    let answer = mock.exchange(&request).await;
    assert!(answer.text().contains("event: message_stop\n"));
    assert!(answer.text().contains(&answer_tag("hello")));
    let path = "/v1beta/models/m:streamGenerateContent?alt=sse";
    let answer = mock
        .exchange(&post(path, CONTENTS, "connection: close\r\n"))
        .await;
    assert!(answer.text().contains("\"finishReason\":\"STOP\""));
    assert!(answer.text().contains(&answer_tag("hello")));
    assert_eq!(mock.account.stats().answered, 2);
}
