//! What a request will cost, guessed before it is sent.

use std::io;

use super::{Json, Shape};
use crate::count::{Chars, CountTokens};

/// Input tokens counted for an image, a sound or a file within a message. The figure is what OpenAI
/// documents for a 1024 × 1024 image at high detail; the true cost depends on size and model.
pub const MEDIA_TOKENS: u64 = 765;

/// Input tokens counted for an image that asks for `"detail": "low"`.
pub const LOW_DETAIL_TOKENS: u64 = 85;

/// What one request will use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Input tokens, at least 1.
    pub input_tokens: u64,
    /// Most output tokens that the request asks for, all choices together; 0 where there is no
    /// output to pay for, `None` when the request does not bound it.
    pub max_output_tokens: Option<u64>,
}

/// Estimates a body that is sent to `path`; four characters are a token.
///
/// Counts the text of messages, prompts, system prompts, tools and their calls and results, by
/// whatever name the providers have them; token ids count as they are, media by [`MEDIA_TOKENS`].
/// Never fails: what is not understood counts nothing.
#[must_use]
pub fn estimate(path: &str, body: &Json<'_>) -> Estimate {
    estimate_by(&Chars, path, body)
}

/// The same, counted by `counter`. Of a chat it is exact but for tools, which count as the JSON
/// that they are written in, and for media.
#[must_use]
pub fn estimate_by(counter: &dyn CountTokens, path: &str, body: &Json<'_>) -> Estimate {
    let mut count = Count::new(counter);
    let shape = Shape::of_path(path);
    if let Json::Object(fields) = body {
        for (name, value) in fields {
            match name.as_str() {
                "messages" => {
                    if shape == Some(Shape::Chat) {
                        count.chat(value);
                    }
                    count.messages(value);
                }
                "input" if shape != Some(Shape::Embeddings) => count.messages(value),
                "input" | "prompt" => count.prompts(value),
                "instructions" | "system" => count.content(value),
                "contents" | "systemInstruction" | "system_instruction" => count.contents(value),
                "tools" | "functions" | "toolConfig" => count.json(value),
                _ => {}
            }
        }
    }
    Estimate {
        input_tokens: count.tokens(),
        max_output_tokens: max_output_tokens(shape, path, body),
    }
}

fn max_output_tokens(shape: Option<Shape>, path: &str, body: &Json<'_>) -> Option<u64> {
    if shape == Some(Shape::Embeddings) || path.ends_with("/moderations") {
        return Some(0);
    }
    let settings = ["generationConfig", "generation_config", "inferenceConfig"];
    let nested = settings.into_iter().find_map(|name| body.get(name));
    let body = match shape {
        Some(Shape::Generate | Shape::Converse) => nested?,
        _ => body,
    };
    let number = |name: &str| body.get(name).and_then(Json::as_u64);
    let each = [
        "max_completion_tokens",
        "max_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "maxTokens",
    ];
    let each = each.into_iter().filter_map(number).max()?;
    let choices = ["n", "best_of", "candidateCount", "candidate_count"];
    let choices = choices
        .into_iter()
        .filter_map(number)
        .max()
        .unwrap_or(1)
        .max(1);
    Some(
        each.saturating_mul(choices)
            .saturating_mul(prompts_in(body)),
    )
}

/// The completions endpoint answers every prompt of an array.
fn prompts_in(body: &Json<'_>) -> u64 {
    match body.get("prompt") {
        Some(Json::Array(items)) if !items.iter().all(|item| matches!(item, Json::Number(_))) => {
            items.len() as u64
        }
        _ => 1,
    }
}

struct Count<'c> {
    counter: &'c dyn CountTokens,
    quarters: u64,
    whole_tokens: u64,
}

impl<'c> Count<'c> {
    const fn new(counter: &'c dyn CountTokens) -> Self {
        Self {
            counter,
            quarters: 0,
            whole_tokens: 0,
        }
    }

    fn tokens(&self) -> u64 {
        let text = self.quarters.div_ceil(4);
        text.saturating_add(self.whole_tokens).max(1)
    }

    fn text(&mut self, text: &str) {
        self.quarters += self.counter.quarters(text);
    }

    /// What a chat has beside the texts of its messages.
    fn chat(&mut self, messages: &Json<'_>) {
        let chat = self.counter.chat();
        let Json::Array(messages) = messages else {
            return;
        };
        if self.counter.is_by_characters() {
            return;
        }
        self.whole_tokens += chat.reply;
        for message in messages {
            self.whole_tokens += chat.message;
            if message.get("name").is_some() {
                self.whole_tokens += chat.name;
            }
            if let Some(role) = message.get("role").and_then(Json::as_str) {
                self.text(role);
            }
        }
    }

    /// A value as it is written without white space.
    fn json(&mut self, value: &Json<'_>) {
        if self.counter.is_by_characters() {
            let mut written = Characters(0);
            write_json(&mut written, value);
            self.quarters += written.0;
        } else {
            let mut written = Vec::new();
            write_json(&mut written, value);
            self.text(&String::from_utf8_lossy(&written));
        }
    }

    /// A string, one message, or an array of messages and other items.
    fn messages(&mut self, value: &Json<'_>) {
        match value {
            Json::Text(text) => self.text(text.as_str()),
            Json::Array(items) => items.iter().for_each(|item| self.messages(item)),
            Json::Object(message) => {
                for (name, value) in message {
                    match name.as_str() {
                        "content" | "name" | "output" | "refusal" => self.content(value),
                        "tool_calls" | "function_call" => self.json(value),
                        "arguments" | "text" => self.content(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// A string, a content part, or an array of them.
    fn content(&mut self, value: &Json<'_>) {
        match value {
            Json::Text(text) => self.text(text.as_str()),
            Json::Array(parts) => parts.iter().for_each(|part| self.content(part)),
            Json::Object(_) => self.part(value),
            _ => {}
        }
    }

    /// A content part: words, the call of a tool, its result, a document of text, or media.
    fn part(&mut self, part: &Json<'_>) {
        let member = |names: &[&str]| names.iter().find_map(|name| part.get(name));
        let words = ["text", "refusal", "thinking"];
        if let Some(text) = member(&words).and_then(Json::as_str) {
            self.text(text);
        } else if let Some(call) = member(&["toolUse", "functionCall", "functionResponse"]) {
            self.json(call);
        } else if let Some(input) = part.get("input") {
            self.json(input);
            part.get("name")
                .into_iter()
                .for_each(|name| self.content(name));
        } else if let Some(json) = part.get("json") {
            self.json(json);
        } else if let Some(result) = part.get("toolResult") {
            result
                .get("content")
                .into_iter()
                .for_each(|content| self.content(content));
        } else if let Some(content) = part.get("content") {
            self.content(content);
        } else {
            match part.get("source").and_then(written) {
                Some(document) => self.content(document),
                None => self.whole_tokens += media_tokens(part),
            }
        }
    }

    /// Gemini's: a string, one content, or an array of them, each with its parts.
    fn contents(&mut self, value: &Json<'_>) {
        match value {
            Json::Array(items) => items.iter().for_each(|item| self.contents(item)),
            _ => match value.get("parts") {
                Some(parts) => self.content(parts),
                None => self.content(value),
            },
        }
    }

    /// A string, token ids, or an array of either.
    fn prompts(&mut self, value: &Json<'_>) {
        match value {
            Json::Text(text) => self.text(text.as_str()),
            Json::Number(_) => self.whole_tokens += 1,
            Json::Array(items) => items.iter().for_each(|item| self.prompts(item)),
            Json::Object(_) => self.messages(value),
            _ => {}
        }
    }
}

/// What is written in a document, where it is no file.
fn written<'a, 'j>(source: &'j Json<'a>) -> Option<&'j Json<'a>> {
    match source.get("type")?.as_str()? {
        "text" => source.get("data"),
        "content" => source.get("content"),
        _ => None,
    }
}

fn media_tokens(part: &Json<'_>) -> u64 {
    let detail = part
        .get("detail")
        .or_else(|| part.get("image_url")?.get("detail"));
    match detail.and_then(Json::as_str) {
        Some("low") => LOW_DETAIL_TOKENS,
        _ => MEDIA_TOKENS,
    }
}

fn write_json(to: &mut impl io::Write, value: &Json<'_>) {
    // Neither of the two writers refuses anything.
    let _ = match value {
        Json::Null => to.write_all(b"null"),
        Json::Bool(true) => to.write_all(b"true"),
        Json::Bool(false) => to.write_all(b"false"),
        Json::Number(number) => serde_json::to_writer(to, number).map_err(io::Error::from),
        Json::Text(text) => serde_json::to_writer(to, text.as_str()).map_err(io::Error::from),
        Json::Array(items) => write_list(to, [b'[', b']'], items, |to, item| write_json(to, item)),
        Json::Object(members) => write_list(to, [b'{', b'}'], members, |to, (name, value)| {
            let _ = serde_json::to_writer(&mut *to, name.as_str());
            let _ = to.write_all(b":");
            write_json(to, value);
        }),
    };
}

fn write_list<W: io::Write, T>(
    to: &mut W,
    [open, close]: [u8; 2],
    items: &[T],
    each: impl Fn(&mut W, &T),
) -> io::Result<()> {
    to.write_all(&[open])?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        each(to, item);
    }
    to.write_all(&[close])
}

/// Counts characters of UTF-8 without keeping them.
struct Characters(u64);

impl io::Write for Characters {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.iter().filter(|&&b| b & 0xC0 != 0x80).count() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Exact;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const CHAT: &str = "/v1/chat/completions";

    fn input(path: &str, body: &Value) -> u64 {
        estimate(path, &Json::from(body)).input_tokens
    }

    #[test]
    fn four_characters_are_a_token_rounded_up_and_never_zero() {
        let chat = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
        assert_eq!(input(CHAT, &chat("")), 1);
        assert_eq!(input(CHAT, &chat("abcd")), 1);
        assert_eq!(input(CHAT, &chat("abcde")), 2);
        assert_eq!(input(CHAT, &chat("日本語です")), 2);
        assert_eq!(input(CHAT, &json!({})), 1);
        assert_eq!(input(CHAT, &json!("text")), 1);
    }

    #[test]
    fn all_text_is_counted_and_media_by_the_constant() {
        let body = json!({"messages": [
            {"role": "system", "content": "a".repeat(40)},
            {"role": "user", "content": [
                {"type": "text", "text": "b".repeat(40)},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "http://x/y", "detail": "low"}},
            ]},
        ]});
        assert_eq!(input(CHAT, &body), 20 + MEDIA_TOKENS + LOW_DETAIL_TOKENS);
        let tools = json!([{"type": "function"}]);
        let body = json!({"input": "c".repeat(8), "instructions": "d".repeat(8), "tools": tools});
        assert_eq!(input("/v1/responses", &body), (16 + 21_u64).div_ceil(4));
        let items = json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "e".repeat(8)}]},
            {"type": "function_call_output", "call_id": "x", "output": "f".repeat(8)},
        ]});
        assert_eq!(input("/v1/responses", &items), 4);
    }

    #[test]
    fn native_bodies_count_all_their_nested_text() {
        let w = |count: usize| "w".repeat(count * 4);
        let messages = json!({"system": [{"type": "text", "text": w(1)}], "max_tokens": 9,
        "messages": [
            {"role": "user", "content": w(10)},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": w(100), "signature": w(5000)},
                {"type": "tool_use", "id": "x", "name": "abcd", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "content": [{"type": "text", "text": w(1000)}]},
                {"type": "document", "source": {"type": "text", "data": w(10_000)}},
                {"type": "document", "source": {"type": "content", "content": w(100_000)}},
                {"type": "image", "source": {"type": "base64", "data": w(7)}},
            ]},
        ]});
        // `{"a":1}` is 7 characters, the name 4.
        assert_eq!(input("/v1/messages", &messages), 111_111 + 3 + MEDIA_TOKENS);
        let gemini = json!({"systemInstruction": {"parts": [{"text": w(1)}]}, "contents": [
            {"role": "user", "parts": [{"text": w(10)}, {"inlineData": {"data": w(9)}}]},
            {"parts": {"functionCall": {"a": 1}}}, w(100),
        ]});
        assert_eq!(
            input("/v1beta/models/m:generateContent", &gemini),
            113 + MEDIA_TOKENS
        );
        let converse = json!({"system": [{"text": w(1)}], "messages": [
            {"role": "user", "content": [{"text": w(10)}, {"image": {}}]},
            {"role": "assistant", "content": [{"toolUse": {"a": 1}}]},
            {"role": "user", "content": [{"toolResult": {"content": [
                {"text": w(100)}, {"json": {"a": 10}}]}}]},
        ], "toolConfig": {"b": 1}});
        // 7 + 8 + 7 characters of JSON.
        assert_eq!(
            input("/model/m/converse", &converse),
            111 + 6 + MEDIA_TOKENS
        );
    }

    #[test]
    fn native_bodies_bound_their_output_where_they_say_it() {
        let output = |path: &str, body: Value| estimate(path, &Json::from(&body)).max_output_tokens;
        let gemini = "/v1beta/models/m:generateContent";
        let config = json!({"maxOutputTokens": 5, "candidateCount": 3});
        assert_eq!(
            output(gemini, json!({"generationConfig": config})),
            Some(15)
        );
        let config = json!({"max_output_tokens": 5});
        assert_eq!(
            output(gemini, json!({"generation_config": config})),
            Some(5)
        );
        assert_eq!(output(gemini, json!({"max_tokens": 5})), None);
        let config = json!({"inferenceConfig": {"maxTokens": 7}});
        assert_eq!(output("/model/m/converse", config), Some(7));
        assert_eq!(output("/v1/messages", json!({"max_tokens": 6})), Some(6));
    }

    #[test]
    fn token_ids_count_as_tokens() {
        let path = "/v1/embeddings";
        assert_eq!(input(path, &json!({"input": [1, 2, 3]})), 3);
        assert_eq!(input(path, &json!({"input": [[1, 2], [3]]})), 3);
        assert_eq!(input(path, &json!({"input": ["abcd", "efgh"]})), 2);
        assert_eq!(
            input("/v1/completions", &json!({"prompt": [[1, 2], [3]]})),
            3
        );
    }

    #[test]
    fn the_largest_output_bound_counts_times_every_choice() {
        let output = |path: &str, body: Value| estimate(path, &Json::from(&body)).max_output_tokens;
        assert_eq!(output(CHAT, json!({})), None);
        assert_eq!(output(CHAT, json!({"max_tokens": 10})), Some(10));
        assert_eq!(
            output(CHAT, json!({"max_tokens": 10, "max_completion_tokens": 7})),
            Some(10)
        );
        assert_eq!(output(CHAT, json!({"max_tokens": 10, "n": 3})), Some(30));
        assert_eq!(output(CHAT, json!({"max_tokens": -1})), None);
        assert_eq!(
            output(CHAT, json!({"max_tokens": u64::MAX, "n": 9})),
            Some(u64::MAX)
        );
        assert_eq!(
            output("/v1/responses", json!({"max_output_tokens": 5})),
            Some(5)
        );
        let body = json!({"max_tokens": 5, "best_of": 4, "n": 2, "prompt": ["a", "b", "c"]});
        assert_eq!(output("/v1/completions", body), Some(60));
        assert_eq!(output("/v1/embeddings", json!({"max_tokens": 9})), Some(0));
    }

    #[test]
    fn an_exact_count_is_that_of_openais_cookbook() {
        // Its example conversation, for which gpt-4 and gpt-4o report 129 and 124 input tokens.
        let example = json!({"messages": [
            {"role": "system", "content": "You are a helpful, pattern-following assistant that \
                translates corporate jargon into plain English."},
            {"role": "system", "name": "example_user",
                "content": "New synergies will help drive top-line growth."},
            {"role": "system", "name": "example_assistant",
                "content": "Things working well together will increase revenue."},
            {"role": "system", "name": "example_user", "content": "Let's circle back when we have \
                more bandwidth to touch base on opportunities for increased leverage."},
            {"role": "system", "name": "example_assistant",
                "content": "Let's talk later when we're less busy about how to do better."},
            {"role": "user", "content": "This late pivot means we don't have time to boil the \
                ocean for the client deliverable."},
        ]});
        for (model, tokens) in [("gpt-4", 129), ("gpt-4o", 124)] {
            let exact = Exact::of_model(model).expect("a tokenizer");
            let counted = estimate_by(&exact, CHAT, &Json::from(&example));
            assert_eq!(counted.input_tokens, tokens, "{model}");
        }
    }

    #[test]
    fn an_exact_count_takes_tools_as_they_are_written_and_prompts_without_a_frame() {
        let exact = Exact::of_model("gpt-4o").expect("a tokenizer");
        let count =
            |path: &str, body: Value| estimate_by(&exact, path, &Json::from(&body)).input_tokens;
        let tools = json!([{"type": "function", "function": {"name": "f", "strict": null}}]);
        let alone = exact.tokens(&tools.to_string());
        assert_eq!(count(CHAT, json!({"tools": tools})), alone);
        assert_eq!(
            count("/v1/embeddings", json!({"input": ["tiktoken is great!"]})),
            6
        );
        assert_eq!(
            count("/v1/completions", json!({"prompt": "tiktoken is great!"})),
            6
        );
    }

    proptest! {
        #[test]
        fn tools_count_as_they_are_written(text in ".*", n: i64, b: bool) {
            let tools = json!([{"a": text, "b": [n, b, null], "c": [], "d": {}}, {text: {"x": b}}]);
            let characters = tools.to_string().chars().count() as u64;
            prop_assert_eq!(input(CHAT, &json!({"tools": tools})), characters.div_ceil(4));
        }

        #[test]
        fn no_body_panics(text in ".{0,40}", n in any::<i64>(), tokens in any::<u64>()) {
            let body = json!({"messages": [text, {"content": [{"text": text}, n]}, [n]],
                "input": {"content": n}, "prompt": [text, [n]], "n": n, "max_tokens": tokens,
                "contents": [{"parts": [n, {"functionCall": text}]}, n], "generationConfig": n});
            for path in [CHAT, "/v1/embeddings", "/v1/messages", "/m:generateContent", "/x", ""] {
                prop_assert!(input(path, &body) >= 1);
            }
        }
    }
}
