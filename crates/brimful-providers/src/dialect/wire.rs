//! What is changed about a request at the moment of sending. Its identity stays that of what the
//! user wrote.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::path::{is_dot_segment, push_encoded};
use super::{Json, Shape, model_of};
use crate::reply::pick::pick;

/// The member that makes OpenAI and its like report usage at the end of a stream.
const INCLUDE_USAGE: &str = r#""include_usage":true"#;

/// Whether the answer to this request comes as server-sent events.
#[must_use]
pub fn streams(path: &str, body: &Json<'_>) -> bool {
    match Shape::of_path(path) {
        Some(Shape::Generate) => is_gemini_stream(path),
        _ => body.get("stream") == Some(&Json::Bool(true)),
    }
}

fn is_gemini_stream(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.ends_with(":streamGenerateContent")
}

/// How requests are changed for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wire {
    /// Azure's `api-version`: `/v1/chat/completions` and its like become
    /// `/openai/deployments/MODEL/chat/completions?api-version=…`. `None` leaves paths alone, which
    /// is the default.
    pub azure_api_version: Option<String>,
    /// Whether `stream_options.include_usage` is added to streamed chats and completions that do
    /// not say it themselves, so that the usage is known. Default: yes.
    pub asks_for_usage: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            azure_api_version: None,
            asks_for_usage: true,
        }
    }
}

impl Wire {
    /// Path and body as they are sent, borrowed where nothing changes. `streams` is what
    /// [`streams`] says of the request. A body that is not a JSON object stays as it is.
    #[must_use]
    pub fn apply<'a>(
        &self,
        path: &'a str,
        body: &'a [u8],
        streams: bool,
    ) -> (Cow<'a, str>, Cow<'a, [u8]>) {
        let path = match &self.azure_api_version {
            Some(version) => azure_path(path, body, version),
            None if streams => with_events(path),
            None => Cow::Borrowed(path),
        };
        let shape = Shape::of_path(&path);
        let asks = streams
            && self.asks_for_usage
            && matches!(shape, Some(Shape::Chat | Shape::Completions));
        let asking = asks.then(|| with_usage(body)).flatten();
        (path, asking.map_or(Cow::Borrowed(body), Cow::Owned))
    }
}

/// Gemini streams one JSON array unless it is asked for events.
fn with_events(path: &str) -> Cow<'_, str> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    if !is_gemini_stream(path) || query.split('&').any(|pair| pair.starts_with("alt=")) {
        return Cow::Borrowed(path);
    }
    let mark = if query.is_empty() && !path.ends_with('?') {
        "?"
    } else if query.is_empty() {
        ""
    } else {
        "&"
    };
    Cow::Owned(format!("{path}{mark}alt=sse"))
}

/// A path of OpenAI's as Azure has it. Deployments stand in the path of the older operations; all
/// others are served below `/openai/v1` as by OpenAI itself.
fn azure_path<'a>(path: &'a str, body: &[u8], version: &str) -> Cow<'a, str> {
    if path.starts_with("/openai/") {
        let is_versioned = path.starts_with("/openai/v1/") || path.contains("api-version=");
        return match (is_versioned, path.contains('?')) {
            (true, _) => Cow::Borrowed(path),
            (false, true) => Cow::Owned(format!("{path}&api-version={version}")),
            (false, false) => Cow::Owned(format!("{path}?api-version={version}")),
        };
    }
    let operation = path.strip_prefix("/v1").unwrap_or(path);
    if !["/chat/completions", "/completions", "/embeddings"].contains(&operation) {
        return Cow::Owned(format!("/openai/v1{operation}"));
    }
    let text = str::from_utf8(body).unwrap_or_default();
    let Ok(body) = Json::parse(text) else {
        return Cow::Borrowed(path);
    };
    let Some(model) = model_of(path, &body) else {
        return Cow::Borrowed(path);
    };
    // It would be a step in the path and not a name.
    if model.split('/').any(is_dot_segment) {
        return Cow::Borrowed(path);
    }
    let mut azure = "/openai/deployments/".to_owned();
    push_encoded(&mut azure, &model, b"");
    Cow::Owned(format!("{azure}{operation}?api-version={version}"))
}

/// The same body, which also asks for usage; `None` where it says something about it already, or
/// cannot be read.
fn with_usage(body: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(body).ok()?;
    let [options] = pick(text, &["stream_options"]).ok()?;
    // A part of `text`: its place is the distance of the two.
    let place = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let whole = format!("{{{INCLUDE_USAGE}}}");
    let (at, words) = match options.map(RawValue::get) {
        None => {
            let at = text.find('{')? + 1;
            (at, format!(r#""stream_options":{whole}"#))
        }
        Some("null") => return replaced(text, place(options?.get()), 4, &whole),
        Some(options) => {
            let parsed = Json::parse(options).ok()?;
            if !matches!(parsed, Json::Object(_)) || parsed.get("include_usage").is_some() {
                return None;
            }
            let at = place(options) + 1;
            (at, INCLUDE_USAGE.to_owned())
        }
    };
    let is_last = text.get(at..)?.trim_start().starts_with('}');
    let comma = if is_last { "" } else { "," };
    replaced(text, at, 0, &format!("{words}{comma}"))
}

fn replaced(text: &str, at: usize, length: usize, words: &str) -> Option<Vec<u8>> {
    let (head, tail) = (text.get(..at)?, text.get(at + length..)?);
    Some([head, words, tail].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn sent(path: &str, body: &str) -> (String, String) {
        let is_stream = streams(path, &Json::parse(body).unwrap());
        let (path, body) = Wire::default().apply(path, body.as_bytes(), is_stream);
        (
            path.into_owned(),
            String::from_utf8(body.into_owned()).unwrap(),
        )
    }

    #[test]
    fn a_streamed_chat_asks_for_its_usage_and_is_else_byte_for_byte_the_same() {
        for (body, expected) in [
            (
                r#" {"stream":true, "x": 1.0}"#,
                r#" {"stream_options":{"include_usage":true},"stream":true, "x": 1.0}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{ }}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true }}"#,
            ),
            (
                r#"{"stream_options": {"a":1},"stream":true}"#,
                r#"{"stream_options": {"include_usage":true,"a":1},"stream":true}"#,
            ),
            (
                r#"{"stream":true,"stream_options": null }"#,
                r#"{"stream":true,"stream_options": {"include_usage":true} }"#,
            ),
        ] {
            for path in [CHAT, "/v1/completions"] {
                assert_eq!(sent(path, body).1, expected);
            }
        }
    }

    #[test]
    fn what_is_not_streamed_or_says_it_itself_is_left_alone() {
        for (path, body) in [
            (CHAT, r#"{"stream":false}"#),
            (CHAT, r#"{"stream":1}"#),
            (
                CHAT,
                r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            ),
            (CHAT, r#"{"stream":true,"stream_options":[]}"#),
            ("/v1/messages", r#"{"stream":true}"#),
            ("/v1/responses", r#"{"stream":true}"#),
            ("/v1beta/models/m:generateContent", r#"{"stream":true}"#),
        ] {
            assert_eq!(sent(path, body), (path.to_owned(), body.to_owned()));
        }
        let wire = Wire {
            asks_for_usage: false,
            ..Wire::default()
        };
        let body = br#"{"stream":true}"#;
        assert_eq!(*wire.apply(CHAT, body, true).1, body[..]);
        assert_eq!(*Wire::default().apply(CHAT, b"\xFF{", true).1, b"\xFF{"[..]);
    }

    #[test]
    fn gemini_streams_as_events() {
        let path = "/v1beta/models/m:streamGenerateContent";
        for (given, expected) in [
            ("", "?alt=sse"),
            ("?", "?alt=sse"),
            ("?key=k", "?key=k&alt=sse"),
            ("?alt=sse", "?alt=sse"),
            ("?x=1&alt=json", "?x=1&alt=json"),
        ] {
            let (sent, _) = sent(&format!("{path}{given}"), "{}");
            assert_eq!(sent, format!("{path}{expected}"));
        }
    }

    #[test]
    fn azure_has_deployments_in_its_paths() {
        let wire = Wire {
            azure_api_version: Some("V".to_owned()),
            ..Wire::default()
        };
        for (path, body, expected) in [
            (
                CHAT,
                r#"{"model":"d/1"}"#,
                "/openai/deployments/d%2F1/chat/completions?api-version=V",
            ),
            (
                "/chat/completions",
                r#"{"model":"d"}"#,
                "/openai/deployments/d/chat/completions?api-version=V",
            ),
            (
                "/v1/embeddings",
                r#"{"model":"d"}"#,
                "/openai/deployments/d/embeddings?api-version=V",
            ),
            ("/v1/responses", "{}", "/openai/v1/responses"),
            ("/openai/v1/responses", "{}", "/openai/v1/responses"),
            ("/openai/x?a=b", "{}", "/openai/x?a=b&api-version=V"),
            ("/openai/x", "{}", "/openai/x?api-version=V"),
            ("/openai/x?api-version=W", "{}", "/openai/x?api-version=W"),
            (CHAT, "{}", CHAT),
            (CHAT, r#"{"model":".."}"#, CHAT),
            (CHAT, "[", CHAT),
        ] {
            let (path, sent) = wire.apply(path, body.as_bytes(), false);
            assert_eq!((&*path, &*sent), (expected, body.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn nothing_else_of_a_body_changes(
            before in "[ \n]{0,2}", key in "\\PC{0,6}", n: i64, options in 0..3_u8,
        ) {
            let mut value = json!({"stream": true, key: [n, {"stream_options": n}]});
            match options {
                0 => {}
                1 => value["stream_options"] = json!({}),
                _ => value["stream_options"] = json!({"x": n}),
            }
            let body = format!("{before}{value}");
            let (_, sent) = Wire::default().apply(CHAT, body.as_bytes(), true);
            let mut sent: Value = serde_json::from_slice(&sent).unwrap();
            let sent_options = sent["stream_options"].as_object_mut().unwrap();
            prop_assert_eq!(sent_options.remove("include_usage"), Some(json!(true)));
            if options == 0 {
                prop_assert!(sent_options.is_empty());
                sent.as_object_mut().unwrap().remove("stream_options");
            }
            prop_assert_eq!(sent, value);
        }
    }
}
