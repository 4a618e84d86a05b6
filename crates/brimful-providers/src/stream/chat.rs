//! Chats and completions of OpenAI and of everybody who speaks like it.

use serde_json::{Map, Value};

use super::StreamError;
use super::merge::{Numbered, add, set};

/// A chat or completion that grows.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// Everything but the choices.
    head: Map<String, Value>,
    choices: Numbered<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    /// A chat's message, or null.
    message: Value,
    /// A completion's text, or null.
    text: Value,
    logprobs: Value,
    /// Everything else, `finish_reason` among it.
    rest: Map<String, Value>,
}

impl Chat {
    pub(super) fn take(&mut self, event: Map<String, Value>) -> Result<(), StreamError> {
        for (name, value) in event {
            match name.as_str() {
                "choices" => {
                    if let Value::Array(choices) = value {
                        for choice in choices {
                            self.take_choice(choice)?;
                        }
                    }
                }
                // Noise against listeners who measure the length of packets.
                "obfuscation" => {}
                "object" if value == "chat.completion.chunk" => {
                    self.head.insert(name, "chat.completion".into());
                }
                _ => set(&mut self.head, name, value),
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: Value) -> Result<(), StreamError> {
        let Value::Object(pieces) = choice else {
            return Ok(());
        };
        let number = pieces.get("index").and_then(Value::as_u64).unwrap_or(0);
        let choice = self.choices.part(number)?;
        for (name, piece) in pieces {
            match name.as_str() {
                "index" => {}
                // A server that cannot stream this answer sends the message whole.
                "delta" | "message" => add(&mut choice.message, piece)?,
                "text" => add(&mut choice.text, piece)?,
                "logprobs" => add(&mut choice.logprobs, piece)?,
                _ => set(&mut choice.rest, name, piece),
            }
        }
        Ok(())
    }

    /// The whole; `None` when it is not. `is_done`: the stream said that this is all.
    pub(super) fn finish(mut self, is_done: bool) -> Option<Value> {
        let has_ended = |choice: &Choice| {
            let reason = choice.rest.get("finish_reason");
            reason.is_some_and(|reason| !reason.is_null())
        };
        if !is_done && (self.choices.is_empty() || !self.choices.iter().all(has_ended)) {
            return None;
        }
        let choices = self.choices.into_parts();
        let choices: Vec<Value> = choices
            .map(|(number, choice)| choice.finish(number))
            .collect();
        // Usage stands behind the choices, where people look for it.
        let usage = self.head.shift_remove("usage");
        self.head.insert("choices".into(), choices.into());
        if let Some(usage) = usage {
            self.head.insert("usage".into(), usage);
        }
        Some(Value::Object(self.head))
    }
}

impl Choice {
    fn finish(mut self, number: u64) -> Value {
        let mut whole = Map::new();
        whole.insert("index".into(), number.into());
        if let Value::Object(message) = &mut self.message {
            if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                // The number of a call is a matter of streams.
                for call in calls.iter_mut().filter_map(Value::as_object_mut) {
                    call.shift_remove("index");
                }
            }
            message.entry("role").or_insert_with(|| "assistant".into());
            message.entry("content").or_insert(Value::Null);
            whole.insert("message".into(), self.message);
        }
        if !self.text.is_null() {
            whole.insert("text".into(), self.text);
        }
        whole.insert("logprobs".into(), self.logprobs);
        whole.extend(self.rest);
        Value::Object(whole)
    }
}
