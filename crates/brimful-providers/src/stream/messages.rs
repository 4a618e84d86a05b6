//! Anthropic's messages.

use serde_json::{Map, Value, json};

use super::StreamError;
use super::merge::{Numbered, add_member, set};

/// A message that grows.
#[derive(Debug, Default)]
pub(super) struct Messages {
    message: Map<String, Value>,
    blocks: Numbered<Block>,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Block {
    block: Map<String, Value>,
    /// The input of a tool, as the text of JSON that it arrives in.
    input: String,
}

impl Messages {
    /// Whether the message has said that this is all.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn take(&mut self, mut event: Map<String, Value>) -> Result<(), StreamError> {
        let kind = event.remove("type").unwrap_or_default();
        match kind.as_str().unwrap_or_default() {
            "message_start" => {
                if let Some(Value::Object(message)) = event.remove("message") {
                    self.message = message;
                }
            }
            "content_block_start" => {
                if let Some(Value::Object(block)) = event.remove("content_block") {
                    self.blocks.part(number(&event))?.block = block;
                }
            }
            "content_block_delta" => {
                let block = self.blocks.part(number(&event))?;
                if let Some(Value::Object(delta)) = event.remove("delta") {
                    block.take(delta)?;
                }
            }
            "message_delta" => self.take_end(event),
            "message_stop" => self.is_over = true,
            _ => {}
        }
        Ok(())
    }

    /// What is known only at the end. Figures are cumulative.
    fn take_end(&mut self, event: Map<String, Value>) {
        for (name, value) in event {
            match (name.as_str(), value) {
                ("delta", Value::Object(members)) => {
                    for (name, value) in members {
                        set(&mut self.message, name, value);
                    }
                }
                ("usage", Value::Object(figures)) => {
                    let usage = self.message.entry("usage").or_insert_with(|| json!({}));
                    if let Value::Object(usage) = usage {
                        for (name, figure) in figures {
                            set(usage, name, figure);
                        }
                    }
                }
                (_, value) => set(&mut self.message, name, value),
            }
        }
    }

    /// The whole; `None` when it is not.
    pub(super) fn finish(mut self) -> Option<Value> {
        let has_ended = |reason: &Value| !reason.is_null();
        if !self.is_over && !self.message.get("stop_reason").is_some_and(has_ended) {
            return None;
        }
        let blocks = self.blocks.into_parts().map(|(_, block)| block.finish());
        let blocks: Vec<Value> = blocks.collect();
        self.message.insert("content".into(), blocks.into());
        Some(Value::Object(self.message))
    }
}

impl Block {
    fn take(&mut self, mut delta: Map<String, Value>) -> Result<(), StreamError> {
        if let Some(Value::String(piece)) = delta.remove("partial_json") {
            self.input.push_str(&piece);
        }
        if let Some(citation) = delta.remove("citation") {
            add_member(&mut self.block, "citations".into(), json!([citation]))?;
        }
        delta.remove("type");
        for (name, piece) in delta {
            add_member(&mut self.block, name, piece)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Value {
        if !self.input.is_empty() {
            // Input that the limit of tokens cut off is no JSON: it is kept the way that Anthropic
            // tells its clients to hand it back.
            let input = serde_json::from_str(&self.input)
                .unwrap_or_else(|_| json!({"INVALID_JSON": self.input}));
            self.block.insert("input".into(), input);
        }
        Value::Object(self.block)
    }
}

fn number(event: &Map<String, Value>) -> u64 {
    event.get("index").and_then(Value::as_u64).unwrap_or(0)
}
