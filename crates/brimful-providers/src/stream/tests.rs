//! Whole streams, as providers document them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The events, each in its own `data:` line.
fn stream(events: &[Value]) -> String {
    let line = |event: &Value| match event {
        Value::String(text) => format!("data: {text}\n\n"),
        event => format!("data: {event}\n\n"),
    };
    events.iter().map(line).collect()
}

fn assembled(text: &str) -> Result<Value, StreamError> {
    let mut assembler = Assembler::default();
    assembler.push(text.as_bytes());
    let document = assembler.finish()?;
    Ok(serde_json::from_slice(&document).unwrap())
}

fn whole(events: &[Value]) -> Value {
    assembled(&stream(events)).unwrap()
}

fn chat_chunk(choices: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "system_fingerprint": null, "choices": choices, "usage": null, "obfuscation": "x"})
}

fn chat() -> Vec<Value> {
    let token = |t: &str| json!({"content": [{"token": t, "logprob": -0.5}], "refusal": null});
    vec![
        chat_chunk(
            json!([{"index": 1, "delta": {"role": "assistant", "content": "", "refusal": null},
            "logprobs": null, "finish_reason": null}]),
        ),
        chat_chunk(
            json!([{"index": 0, "delta": {"role": "assistant", "content": "He"},
            "logprobs": token("He"), "finish_reason": null}]),
        ),
        chat_chunk(
            json!([{"index": 0, "delta": {"content": "llo"}, "logprobs": token("llo"),
            "finish_reason": null}]),
        ),
        chat_chunk(
            json!([{"index": 1, "delta": {"tool_calls": [{"index": 0, "id": "call_1",
            "type": "function", "function": {"name": "f", "arguments": ""}}]}}]),
        ),
        chat_chunk(json!([{"index": 1, "delta": {"tool_calls": [{"index": 0,
            "function": {"arguments": "{\"a\""}}]}}])),
        chat_chunk(
            json!([{"index": 1, "delta": {"tool_calls": [{"index": 1, "id": "call_2",
            "type": "function", "function": {"name": "g", "arguments": "{}"}}]}}]),
        ),
        chat_chunk(json!([{"index": 1, "delta": {"tool_calls": [{"index": 0,
            "function": {"arguments": ":1}"}}]}}])),
        chat_chunk(json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}])),
        chat_chunk(json!([{"index": 1, "delta": {}, "finish_reason": "tool_calls"}])),
        json!({"id": "c", "object": "chat.completion.chunk", "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}),
        json!("[DONE]"),
    ]
}

#[test]
fn a_chat_with_several_choices_calls_and_logprobs_is_the_plain_answer() {
    assert_eq!(
        whole(&chat()),
        json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "system_fingerprint": null,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello"},
                    "logprobs": {"content": [{"token": "He", "logprob": -0.5},
                        {"token": "llo", "logprob": -0.5}], "refusal": null},
                    "finish_reason": "stop"},
                {"index": 1, "message": {"role": "assistant", "content": "", "refusal": null,
                    "tool_calls": [
                        {"id": "call_1", "type": "function",
                            "function": {"name": "f", "arguments": "{\"a\":1}"}},
                        {"id": "call_2", "type": "function",
                            "function": {"name": "g", "arguments": "{}"}}]},
                    "logprobs": null, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}})
    );
}

#[test]
fn servers_that_say_the_role_each_time_think_aloud_or_leave_done_out_are_understood() {
    let say = |piece: &str, name: &str| {
        chat_chunk(json!([{"index": 0, "delta": {"role": "assistant", name: piece}}]))
    };
    let end =
        chat_chunk(json!([{"index": 0, "delta": {"content": null}, "finish_reason": "stop"}]));
    let think = "reasoning_content";
    let events = [
        say("h", think),
        say("m", think),
        say("a", "content"),
        say("b", "content"),
        end,
    ];
    let answer = whole(&events);
    let message = json!({"role": "assistant", "reasoning_content": "hm", "content": "ab"});
    assert_eq!(answer["choices"][0]["message"], message);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn a_completion_is_its_text() {
    let chunk = |text: &str, reason: Value| {
        json!({"object": "text_completion", "choices": [{"index": 0, "text": text,
            "logprobs": {"tokens": [text]}, "finish_reason": reason}]})
    };
    let answer = whole(&[
        chunk("a", Value::Null),
        chunk("b", json!("length")),
        json!("[DONE]"),
    ]);
    let choice = json!({"index": 0, "text": "ab", "logprobs": {"tokens": ["a", "b"]},
        "finish_reason": "length"});
    assert_eq!(
        answer,
        json!({"object": "text_completion", "choices": [choice]})
    );
}

#[test]
fn a_response_is_the_document_at_its_end() {
    for (kind, status) in [("completed", "completed"), ("incomplete", "incomplete")] {
        let response = json!({"object": "response", "status": status, "output": [{"x": 1}],
            "error": null, "usage": {"input_tokens": 1}});
        let events = [
            json!({"type": "response.created", "response": {"object": "response", "output": []}}),
            json!({"type": "response.output_text.delta", "delta": "a"}),
            json!({"type": format!("response.{kind}"), "response": response}),
        ];
        assert_eq!(whole(&events), response);
        assert_eq!(
            assembled(&stream(&events[..2])),
            Err(StreamError::Unfinished)
        );
    }
}

fn message() -> Vec<Value> {
    let block = |index: u8, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u8, kind: &str, name: &str, piece: Value| json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}});
    let stop = |index: u8| json!({"type": "content_block_stop", "index": index});
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "claude", "content": [], "stop_reason": null,
            "stop_sequence": null, "usage": {"input_tokens": 25, "cache_read_input_tokens": 7,
                "output_tokens": 1}}}),
        json!({"type": "ping"}),
        block(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        delta(0, "thinking_delta", "thinking", json!("h")),
        delta(0, "thinking_delta", "thinking", json!("m")),
        delta(0, "signature_delta", "signature", json!("Eq==")),
        stop(0),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, "text_delta", "text", json!("Hel")),
        delta(1, "text_delta", "text", json!("lo")),
        delta(1, "citations_delta", "citation", json!({"cited_text": "x"})),
        delta(1, "citations_delta", "citation", json!({"cited_text": "y"})),
        stop(1),
        block(
            2,
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ),
        delta(2, "input_json_delta", "partial_json", json!("")),
        delta(2, "input_json_delta", "partial_json", json!("{\"a\": [1")),
        delta(2, "input_json_delta", "partial_json", json!(", 2]}")),
        stop(2),
        block(
            3,
            json!({"type": "tool_use", "id": "u", "name": "g", "input": {}}),
        ),
        stop(3),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 15, "input_tokens": null}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn a_message_with_thinking_citations_and_calls_is_the_plain_answer() {
    assert_eq!(
        whole(&message()),
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "Eq=="},
                {"type": "text", "text": "Hello",
                    "citations": [{"cited_text": "x"}, {"cited_text": "y"}]},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, 2]}},
                {"type": "tool_use", "id": "u", "name": "g", "input": {}}],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 15}})
    );
}

#[test]
fn input_that_was_cut_off_is_kept_as_text() {
    let mut events = message();
    events.retain(|event| event["delta"]["partial_json"] != ", 2]}");
    let input = &whole(&events)["content"][2]["input"];
    assert_eq!(*input, json!({"INVALID_JSON": "{\"a\": [1"}));
}

fn gemini() -> Vec<Value> {
    let chunk = |parts: Value, reason: Option<&str>, count: u8| {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(reason) = reason {
            candidate["finishReason"] = reason.into();
        }
        json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 4,
            "candidatesTokenCount": count}, "modelVersion": "g", "responseId": "r"})
    };
    vec![
        chunk(json!([{"text": "h", "thought": true}]), None, 1),
        chunk(json!([{"text": "m", "thought": true}]), None, 2),
        chunk(json!([{"text": "Hel"}]), None, 3),
        chunk(
            json!([{"text": "lo"}, {"functionCall": {"name": "f", "args": {}}}]),
            None,
            4,
        ),
        chunk(
            json!([{"text": "", "thoughtSignature": "s"}]),
            Some("STOP"),
            5,
        ),
    ]
}

#[test]
fn gemini_s_texts_are_joined_but_not_across_thoughts_and_calls() {
    let parts = json!([{"text": "hm", "thought": true}, {"text": "Hello"},
        {"functionCall": {"name": "f", "args": {}}}, {"text": "", "thoughtSignature": "s"}]);
    assert_eq!(
        whole(&gemini()),
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0,
                "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 5},
            "modelVersion": "g", "responseId": "r"})
    );
    let refused = json!({"promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4}});
    assert_eq!(whole(std::slice::from_ref(&refused)), refused);
}

#[test]
fn a_stream_that_ends_before_its_end_is_no_answer() {
    let chat = chat();
    // The last choice ends with the event number 8; usage and `[DONE]` may be missing.
    for count in 0..=8 {
        assert_eq!(
            assembled(&stream(&chat[..count])),
            Err(StreamError::Unfinished),
            "{count}"
        );
    }
    assert!(assembled(&stream(&chat[..9])).is_ok());
    let torn = stream(&chat);
    for length in 0..stream(&chat[..8]).len() {
        assert_eq!(
            assembled(&torn[..length]),
            Err(StreamError::Unfinished),
            "{length}"
        );
    }
    let message = message();
    for count in 0..message.len() - 2 {
        assert_eq!(
            assembled(&stream(&message[..count])),
            Err(StreamError::Unfinished),
            "{count}"
        );
    }
    let gemini = gemini();
    for count in 0..gemini.len() {
        assert_eq!(
            assembled(&stream(&gemini[..count])),
            Err(StreamError::Unfinished),
            "{count}"
        );
    }
}

#[test]
fn keep_alives_and_blank_lines_say_nothing() {
    let mut assembler = Assembler::default();
    assembler.push(b"\n\n: keep-alive\n\n\r\n: keep-alive\n\ndata:\n\n");
    assert!(!assembler.has_begun());
    assembler.push(stream(&chat()).as_bytes());
    assert!(assembler.has_begun() && assembler.is_over());
    assembler.push(b": keep-alive\n\ndata: {garbage\n\n");
    assert!(assembler.finish().is_ok());
}

#[test]
fn an_error_within_the_stream_is_its_document() {
    let anthropic = json!({"type": "error", "error": {"type": "overloaded_error", "message": "O"}});
    let openai = json!({"error": {"message": "m", "code": "rate_limit_exceeded"}});
    let openrouter = json!({"id": "x", "error": {"code": 502, "message": "m"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]});
    for (before, error) in [
        (message(), anthropic),
        (chat(), openai),
        (chat(), openrouter),
    ] {
        let mut events = before[..3].to_vec();
        events.push(error.clone());
        assert_eq!(whole(&events), error);
        let wrapped = format!("{}data: [{error}]\n\n", stream(&before[..3]));
        assert_eq!(assembled(&wrapped), Ok(error));
    }
    let words = chat_chunk(
        json!([{"index": 0, "delta": {"content": "an \"error\": {}"},
        "finish_reason": "stop"}]),
    );
    assert_eq!(
        whole(&[words])["choices"][0]["message"]["content"],
        "an \"error\": {}"
    );
}

#[test]
fn what_is_no_stream_of_a_known_form_is_said_to_be_none() {
    let unknown = [json!({"text": "a"}), json!("[DONE]")];
    assert_eq!(assembled(&stream(&unknown)), Err(StreamError::UnknownForm));
    assert_eq!(assembled(""), Err(StreamError::Unfinished));
    assert_eq!(assembled("<html>"), Err(StreamError::Unfinished));
    for data in ["{\"choices\":[", "7", "[1]", "[]", "x"] {
        let error = assembled(&format!("data: {data}\n\n:")).unwrap_err();
        assert!(
            matches!(error, StreamError::NotJson { .. }),
            "{data}: {error}"
        );
    }
    let choices: Vec<Value> = (0..2000)
        .map(|n| json!({"index": n, "delta": {}}))
        .collect();
    let event = stream(&[json!({"choices": choices})]);
    assert_eq!(assembled(&event), Err(StreamError::TooManyParts));
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_document(
        which in 0..3_usize, ends in prop_oneof!["\n", "\r\n", "\r"], cuts in proptest::collection::vec(0..4000_usize, 0..6),
    ) {
        let events = vec![chat(), message(), gemini()].swap_remove(which);
        let text = stream(&events).replace('\n', &ends);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut assembler = Assembler::default();
        for pair in cuts.windows(2) {
            assembler.push(&text.as_bytes()[pair[0]..pair[1]]);
        }
        let document: Value = serde_json::from_slice(&assembler.finish().unwrap()).unwrap();
        prop_assert_eq!(document, whole(&events));
    }

    #[test]
    fn no_bytes_panic_and_what_comes_out_is_json(
        text in "(data: |\\{\"choices\":\\[|\\{\"index\":|\"delta\":|\\{\"type\":\"message_|start\"|\\}|\\]|[0-9,:\n]|\"x\"|\\[DONE\\]|error){0,40}",
    ) {
        if let Ok(document) = assembled(&text) {
            prop_assert!(document.is_object());
        }
    }
}
