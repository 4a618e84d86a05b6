//! Whatever a server sends, reading it gives a value, and only one JSON object can be an answer.

use brimful_core::Class;
use brimful_providers::reply::{Outcome, read_reply};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let names = prop::sample::select(vec![
        "date",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-tokens",
        "ratelimit",
        "location",
        "content-type",
        "x-should-retry",
        "x-request-id",
        "x-amzn-errortype",
    ]);
    let texts = prop_oneof![
        "[0-9TZ:.+\\-hmsun ;=,rt\"]{0,24}".prop_map(String::into_bytes),
        "true|false|text/event-stream|https?://[a-z@:?#/]{0,12}".prop_map(String::into_bytes),
        vec(
            any::<u8>().prop_filter("legal", |b| *b >= 32 && *b != 127),
            0..24
        ),
    ];
    (names, texts).prop_map(|(name, text)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_bytes(&text).expect("bytes that a header may hold"),
        )
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,30}|rate_limit_exceeded|failed|error|Limit [0-9]{0,25}, Requested [0-9]{1,9}\\. Please try again in [0-9]{1,20}[hms]{1,2}"
            .prop_map(Into::into),
    ];
    let keys = prop::sample::select(vec![
        "error",
        "usage",
        "message",
        "code",
        "type",
        "status",
        "object",
        "details",
        "metadata",
        "headers",
        "X-RateLimit-Reset",
        "violations",
        "quotaValue",
        "quotaId",
        "@type",
        "retryDelay",
        "prompt_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "total_tokens",
        "detail",
        "msg",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((keys.clone(), inner), 0..6).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..80),
        json().prop_map(|json| json.to_string().into_bytes()),
        (json(), any::<prop::sample::Index>()).prop_map(|(json, at)| {
            let mut text = json.to_string().into_bytes();
            text.truncate(at.index(text.len()));
            text
        }),
        json().prop_map(|json| format!("data: {json}\n\ndata: [DONE]\n").into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reply_has_a_meaning(
        status in prop_oneof![any::<u16>(), prop::sample::select(vec![200, 400, 413, 429, 500, 503])],
        headers in vec(header(), 0..6),
        body in body(),
        now in any::<i64>(),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let reply = read_reply(status, &map, &body, now);
        match reply.outcome {
            Outcome::Answer { .. } => {
                prop_assert!((200..300).contains(&status));
                let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&body);
                prop_assert!(parsed.is_ok_and(|value| value.is_object()));
            }
            Outcome::Failure(failure) => {
                prop_assert!(!failure.code.is_empty() && !failure.message.is_empty());
                prop_assert!(failure.code.chars().count() <= 100);
                prop_assert!(failure.message.chars().count() <= 500);
                prop_assert!(!failure.code.contains(char::is_control));
                prop_assert!(!failure.message.contains(char::is_control));
                prop_assert_ne!(failure.failure.retry_after, Some(std::time::Duration::ZERO));
                let never = matches!(failure.failure.class, Class::Fatal | Class::Invalid);
                prop_assert!(!never || failure.failure.retry_after.is_none());
            }
        }
    }
}
