//! The text of an answer.

use serde_json::Value;

use super::Shape;

/// The answer's text as a person would read it, from a reply to a request for `path`.
///
/// The first choice only, and no thinking. An answer that is a refusal gives the refusal; one that
/// only calls tools
/// gives the calls as JSON; embeddings give the vector as JSON, or an array of vectors when several
/// were asked for. `None` when the body holds none of these. For a path that is not known every
/// family is tried.
#[must_use]
pub fn response_text(path: &str, body: &Value) -> Option<String> {
    match Shape::of_path(path) {
        Some(shape) => text_of(shape, body),
        None => Shape::ALL
            .into_iter()
            .find_map(|shape| text_of(shape, body)),
    }
}

fn text_of(shape: Shape, body: &Value) -> Option<String> {
    match shape {
        Shape::Chat => chat(body),
        Shape::Responses => responses(body),
        Shape::Completions => string(body.pointer("/choices/0/text")?),
        Shape::Embeddings => embeddings(body),
        Shape::Messages => blocks(body.get("content")?.as_array()?, |block| {
            block["type"] == "tool_use"
        }),
        Shape::Generate => {
            let parts = body.pointer("/candidates/0/content/parts")?.as_array()?;
            blocks(parts, |part| part.get("functionCall").is_some())
        }
        Shape::Converse => {
            let content = body.pointer("/output/message/content")?.as_array()?;
            blocks(content, |block| block.get("toolUse").is_some())
        }
    }
}

/// The text of all blocks that are no thoughts; where there is none, the calls as JSON.
fn blocks(blocks: &[Value], is_call: impl Fn(&Value) -> bool) -> Option<String> {
    let said = blocks.iter().filter(|block| block["thought"] != true);
    let text = said
        .filter_map(|block| block.get("text")?.as_str())
        .fold(None, |text: Option<String>, more| {
            Some(text.unwrap_or_default() + more)
        });
    text.or_else(|| {
        let calls: Vec<&Value> = blocks.iter().filter(|block| is_call(block)).collect();
        let calls = Some(calls).filter(|calls| !calls.is_empty())?;
        serde_json::to_string(&calls).ok()
    })
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn chat(body: &Value) -> Option<String> {
    let message = body.pointer("/choices/0/message")?;
    let content = match message.get("content") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(parts)) => joined(parts),
        _ => None,
    };
    if let Some(text) = content.as_ref().filter(|text| !text.is_empty()) {
        return Some(text.clone());
    }
    let refusal = message.get("refusal").and_then(string);
    let calls = ["tool_calls", "function_call"]
        .into_iter()
        .filter_map(|name| message.get(name))
        .find(|calls| !calls.is_null() && calls.as_array().is_none_or(|calls| !calls.is_empty()))
        .map(Value::to_string);
    refusal.or(calls).or(content)
}

fn responses(body: &Value) -> Option<String> {
    let output = body.get("output")?.as_array()?;
    let mut text = None;
    for part in output
        .iter()
        .filter_map(|item| item.get("content")?.as_array())
    {
        if let Some(more) = joined(part) {
            text.get_or_insert_with(String::new).push_str(&more);
        }
    }
    if text.is_some() {
        return text;
    }
    let is_call = |item: &&Value| {
        item["type"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("_call"))
    };
    let calls: Vec<Value> = output.iter().filter(is_call).cloned().collect();
    (!calls.is_empty()).then(|| Value::Array(calls).to_string())
}

/// Text and refusals of content parts; `None` when there are none.
fn joined(parts: &[Value]) -> Option<String> {
    let mut text = None;
    for part in parts {
        let words = part.get("text").and_then(Value::as_str);
        if let Some(more) = words.or_else(|| part.get("refusal")?.as_str()) {
            text.get_or_insert_with(String::new).push_str(more);
        }
    }
    text
}

fn embeddings(body: &Value) -> Option<String> {
    let data = body.get("data")?.as_array()?;
    let vectors: Vec<&Value> = data
        .iter()
        .filter_map(|item| item.get("embedding"))
        .collect();
    match vectors.as_slice() {
        [] => None,
        // Encoded as base64 on request: a string of its own.
        [Value::String(encoded)] => Some(encoded.clone()),
        [vector] => Some(vector.to_string()),
        vectors => serde_json::to_string(vectors).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat_text(message: Value) -> Option<String> {
        response_text(
            "/v1/chat/completions",
            &json!({"choices": [{"message": message}]}),
        )
    }

    #[test]
    fn a_chat_answer_is_its_content_refusal_or_calls() {
        assert_eq!(chat_text(json!({"content": "hi"})).as_deref(), Some("hi"));
        assert_eq!(chat_text(json!({"content": ""})).as_deref(), Some(""));
        let parts = json!({"content": [{"type": "text", "text": "a"}, {"refusal": "b"}]});
        assert_eq!(chat_text(parts).as_deref(), Some("ab"));
        let refusal = json!({"content": null, "refusal": "no"});
        assert_eq!(chat_text(refusal).as_deref(), Some("no"));
        let calls = json!({"content": null, "tool_calls": [{"id": "1"}]});
        assert_eq!(chat_text(calls).as_deref(), Some(r#"[{"id":"1"}]"#));
        assert_eq!(chat_text(json!({"content": null, "tool_calls": []})), None);
        assert_eq!(
            response_text("/v1/chat/completions", &json!({"choices": []})),
            None
        );
    }

    #[test]
    fn a_responses_answer_is_its_text_over_all_items() {
        let text = |output: Value| response_text("/v1/responses", &json!({"output": output}));
        let message = json!([
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "b"}]},
        ]);
        assert_eq!(text(message).as_deref(), Some("ab"));
        let call = json!([{"type": "function_call", "name": "f"}]);
        assert_eq!(
            text(call).as_deref(),
            Some(r#"[{"type":"function_call","name":"f"}]"#)
        );
        assert_eq!(text(json!([])), None);
    }

    #[test]
    fn completions_and_embeddings_have_text_too() {
        let body = json!({"choices": [{"text": "t"}]});
        assert_eq!(
            response_text("/v1/completions", &body).as_deref(),
            Some("t")
        );
        let one = json!({"data": [{"embedding": [0.5, 1.0]}]});
        assert_eq!(
            response_text("/v1/embeddings", &one).as_deref(),
            Some("[0.5,1.0]")
        );
        let two = json!({"data": [{"embedding": [1]}, {"embedding": [2]}]});
        assert_eq!(
            response_text("/v1/embeddings", &two).as_deref(),
            Some("[[1],[2]]")
        );
    }

    #[test]
    fn native_answers_are_their_text_without_thoughts_or_else_their_calls() {
        let messages = |content: Value| {
            response_text(
                "/v1/messages",
                &json!({"content": content, "stop_reason": "x"}),
            )
        };
        let gemini = |parts: Value| {
            let body = json!({"candidates": [{"content": {"parts": parts}}]});
            response_text("/v1beta/models/m:streamGenerateContent?alt=sse", &body)
        };
        let converse = |content: Value| {
            let body = json!({"output": {"message": {"content": content}}});
            response_text("/model/m/converse", &body)
        };
        let thinking = json!({"type": "thinking", "thinking": "hm"});
        let call = json!({"type": "tool_use", "name": "f", "input": {}});
        let text = |text: &str| json!({"type": "text", "text": text});
        for (found, expected) in [
            (
                messages(json!([thinking, text("a"), call, text("b")])),
                Some("ab"),
            ),
            (
                messages(json!([thinking, call])),
                Some(r#"[{"type":"tool_use","name":"f","input":{}}]"#),
            ),
            (messages(json!([thinking])), None),
            (messages(json!([text("")])), Some("")),
            (
                gemini(json!([{"text": "hm", "thought": true}, {"text": "a"}])),
                Some("a"),
            ),
            (
                gemini(json!([{"functionCall": {"name": "f"}}])),
                Some(r#"[{"functionCall":{"name":"f"}}]"#),
            ),
            (
                converse(json!([{"reasoningContent": {}}, {"text": "a"}])),
                Some("a"),
            ),
            (
                converse(json!([{"toolUse": {"name": "f"}}])),
                Some(r#"[{"toolUse":{"name":"f"}}]"#),
            ),
            (converse(json!([7])), None),
        ] {
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn an_unknown_path_tries_every_family() {
        for (body, text) in [
            (json!({"choices": [{"message": {"content": "c"}}]}), "c"),
            (json!({"output": [{"content": [{"text": "r"}]}]}), "r"),
            (json!({"choices": [{"text": "t"}]}), "t"),
            (json!({"data": [{"embedding": [1]}]}), "[1]"),
            (json!({"content": [{"text": "m"}]}), "m"),
            (
                json!({"candidates": [{"content": {"parts": [{"text": "g"}]}}]}),
                "g",
            ),
            (
                json!({"output": {"message": {"content": [{"text": "b"}]}}}),
                "b",
            ),
        ] {
            assert_eq!(response_text("/x", &body).as_deref(), Some(text));
        }
        assert_eq!(response_text("/x", &json!({"results": []})), None);
        assert_eq!(response_text("/x", &json!([1])), None);
    }
}
