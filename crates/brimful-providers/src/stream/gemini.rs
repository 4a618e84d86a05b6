//! Gemini's answers: every event is a whole one, with the next parts.

use serde_json::{Map, Value};

use super::StreamError;
use super::merge::{Numbered, set};

/// An answer that grows.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    /// Everything but the candidates; usage is cumulative.
    head: Map<String, Value>,
    candidates: Numbered<Candidate>,
}

#[derive(Debug, Default)]
struct Candidate {
    /// Of the content everything but the parts.
    content: Map<String, Value>,
    parts: Vec<Value>,
    /// Everything else, `finishReason` among it.
    rest: Map<String, Value>,
}

impl Gemini {
    pub(super) fn take(&mut self, event: Map<String, Value>) -> Result<(), StreamError> {
        for (name, value) in event {
            match (name.as_str(), value) {
                ("candidates", Value::Array(candidates)) => {
                    for candidate in candidates {
                        self.take_candidate(candidate)?;
                    }
                }
                (_, value) => set(&mut self.head, name, value),
            }
        }
        Ok(())
    }

    fn take_candidate(&mut self, candidate: Value) -> Result<(), StreamError> {
        let Value::Object(pieces) = candidate else {
            return Ok(());
        };
        let number = pieces.get("index").and_then(Value::as_u64).unwrap_or(0);
        let candidate = self.candidates.part(number)?;
        for (name, piece) in pieces {
            match (name.as_str(), piece) {
                ("content", Value::Object(content)) => candidate.take_content(content),
                (_, piece) => set(&mut candidate.rest, name, piece),
            }
        }
        Ok(())
    }

    /// The whole; `None` when it is not.
    pub(super) fn finish(mut self) -> Option<Value> {
        let has_ended = |candidate: &Candidate| candidate.rest.contains_key("finishReason");
        // A prompt that is refused has no candidates.
        let is_refused = self.head.contains_key("promptFeedback");
        let has_ended = self.candidates.iter().all(has_ended);
        if !has_ended || (self.candidates.is_empty() && !is_refused) {
            return None;
        }
        if self.candidates.is_empty() {
            return Some(Value::Object(self.head));
        }
        let candidates = self.candidates.into_parts();
        let candidates: Vec<Value> = candidates
            .map(|(_, candidate)| candidate.finish())
            .collect();
        let mut whole = Map::new();
        whole.insert("candidates".into(), candidates.into());
        whole.append(&mut self.head);
        Some(Value::Object(whole))
    }
}

impl Candidate {
    fn take_content(&mut self, content: Map<String, Value>) {
        for (name, value) in content {
            match (name.as_str(), value) {
                ("parts", Value::Array(parts)) => {
                    parts.into_iter().for_each(|part| self.take_part(part));
                }
                (_, value) => set(&mut self.content, name, value),
            }
        }
    }

    /// Texts that follow one another are one text of the plain answer. A signature ends its part.
    fn take_part(&mut self, part: Value) {
        let goes_on = self.parts.last().is_some_and(|last| {
            let is_text = |part: &Value| part["text"].is_string();
            let is_thought = |part: &Value| part["thought"] == true;
            is_text(last)
                && is_text(&part)
                && is_thought(last) == is_thought(&part)
                && last.get("thoughtSignature").is_none()
        });
        let (true, Some(Value::Object(last))) = (goes_on, self.parts.last_mut()) else {
            self.parts.push(part);
            return;
        };
        let Value::Object(more) = part else { return };
        for (name, value) in more {
            match (last.get_mut(&name), value) {
                (Some(Value::String(text)), Value::String(more)) if name == "text" => {
                    text.push_str(&more);
                }
                (_, value) => set(last, name, value),
            }
        }
    }

    fn finish(mut self) -> Value {
        let mut whole = Map::new();
        if !self.parts.is_empty() {
            self.content.insert("parts".into(), self.parts.into());
        }
        whole.insert("content".into(), self.content.into());
        whole.append(&mut self.rest);
        Value::Object(whole)
    }
}
