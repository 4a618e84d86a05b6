//! Streamed answers, assembled into the document that the plain call would have returned.
//!
//! Whose stream it is, is told by its events and not by the path: many servers speak OpenAI's or
//! Anthropic's dialect under paths of their own. An error within a stream comes out as the document
//! that it is, so that [`read_reply`](crate::reply::read_reply) judges it like any other body.
//!
//! Deliberately not here: bounds on what a server may send, which are the transport's, and
//! Bedrock's binary event streams.

mod chat;
mod events;
mod gemini;
mod merge;
mod messages;

use serde_json::{Map, Value};

use self::chat::Chat;
use self::events::Events;
use self::gemini::Gemini;
use self::messages::Messages;
use crate::reply::is_failure;
use crate::reply::pick::first_element;

/// What ends the streams of OpenAI and its like.
const DONE: &str = "[DONE]";
/// Bytes of an event that are quoted in an error.
const QUOTED_BYTES_MAX: usize = 200;

/// Why a stream is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It ended before its end: what is there is no whole answer.
    #[error("the stream ended before the answer was whole")]
    Unfinished,
    /// An event is no JSON object.
    #[error("an event of the stream is no JSON object ({complaint}): {quoted}")]
    NotJson {
        /// What the parser said.
        complaint: String,
        /// The beginning of the event.
        quoted: String,
    },
    /// No event is of a form that is known.
    #[error("the stream has a form that is not known: remove \"stream\" from the request")]
    UnknownForm,
    /// More choices, blocks or calls than any provider answers with.
    #[error("the stream has more parts than an answer can have")]
    TooManyParts,
}

/// Takes the bytes of a streamed answer in pieces of any size and makes one document of them.
#[derive(Debug, Default)]
pub struct Assembler {
    events: Events,
    answer: Option<Answer>,
    /// Some event said something, whether it was understood or not.
    has_begun: bool,
    /// The terminator of OpenAI's streams was seen.
    is_done: bool,
    /// The document of an error that came in the stream.
    failure: Option<String>,
    error: Option<StreamError>,
}

/// An answer that grows.
#[derive(Debug)]
enum Answer {
    /// Chats and completions.
    Chat(Chat),
    /// OpenAI's Responses, which send the whole document at the end.
    Responses(Option<Value>),
    Messages(Messages),
    Gemini(Gemini),
}

impl Assembler {
    /// Takes the next bytes. What comes after the end of the answer is passed over.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut events = std::mem::take(&mut self.events);
        events.push(bytes, &mut |data| self.event(data));
        self.events = events;
    }

    /// Whether an event has said something: what a server sends to keep the connection alive does
    /// not count.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the stream has said that this was all, or has failed: nothing that may follow
    /// matters. Gemini's streams never say so.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        if self.is_done || self.failure.is_some() || self.error.is_some() {
            return true;
        }
        match &self.answer {
            Some(Answer::Responses(whole)) => whole.is_some(),
            Some(Answer::Messages(messages)) => messages.is_over(),
            Some(Answer::Chat(_) | Answer::Gemini(_)) | None => false,
        }
    }

    /// The document of the answer, or that of an error which the stream told. The connection ended
    /// properly, so that an answer whose every part gives the reason of its end is whole even if
    /// the stream did not say that this was all.
    ///
    /// # Errors
    /// The stream is no answer.
    pub fn finish(mut self) -> Result<Vec<u8>, StreamError> {
        if !self.is_over() {
            let mut events = std::mem::take(&mut self.events);
            events.finish(&mut |data| self.event(data));
            // An event that the end of the stream has torn.
            if matches!(self.error, Some(StreamError::NotJson { .. })) {
                self.error = Some(StreamError::Unfinished);
            }
        }
        if let Some(failure) = self.failure {
            return Ok(failure.into_bytes());
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let document = match self.answer {
            None if self.has_begun => return Err(StreamError::UnknownForm),
            None => None,
            Some(Answer::Chat(chat)) => chat.finish(self.is_done),
            Some(Answer::Responses(whole)) => whole,
            Some(Answer::Messages(messages)) => messages.finish(),
            Some(Answer::Gemini(gemini)) => gemini.finish(),
        };
        let document = document.ok_or(StreamError::Unfinished)?;
        Ok(document.to_string().into_bytes())
    }

    fn event(&mut self, data: &str) {
        let data = data.trim();
        if self.is_over() || data.is_empty() {
            return;
        }
        if data == DONE {
            self.is_done = true;
            return;
        }
        self.has_begun = true;
        // Google wraps errors into arrays.
        let object = first_element(data).map_or(data, |first| first.get());
        if object.contains("error") && is_failure(object) {
            self.failure = Some(object.to_owned());
            return;
        }
        let outcome = match serde_json::from_str(object) {
            Ok(event) => self.take(event),
            Err(error) => Err(not_json(&error, data)),
        };
        self.error = outcome.err();
    }

    fn take(&mut self, event: Map<String, Value>) -> Result<(), StreamError> {
        if self.answer.is_none() {
            self.answer = Answer::of(&event);
        }
        match &mut self.answer {
            Some(Answer::Chat(chat)) => chat.take(event),
            Some(Answer::Responses(whole)) => {
                take_response(whole, event);
                Ok(())
            }
            Some(Answer::Messages(messages)) => messages.take(event),
            Some(Answer::Gemini(gemini)) => gemini.take(event),
            None => Ok(()),
        }
    }
}

impl Answer {
    /// Whose stream begins like this.
    fn of(event: &Map<String, Value>) -> Option<Self> {
        let kind = event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let has = |name: &str| event.contains_key(name);
        if kind.starts_with("response.") {
            Some(Self::Responses(None))
        } else if kind == "ping" || kind.starts_with("message_") {
            Some(Self::Messages(Messages::default()))
        } else if has("choices") {
            Some(Self::Chat(Chat::default()))
        } else if has("candidates") || has("promptFeedback") || has("usageMetadata") {
            Some(Self::Gemini(Gemini::default()))
        } else {
            None
        }
    }
}

/// The events at the end of a response carry all of it.
fn take_response(whole: &mut Option<Value>, mut event: Map<String, Value>) {
    let is_end = matches!(
        event.get("type").and_then(Value::as_str),
        Some(
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled"
        )
    );
    if let Some(response) = event.remove("response").filter(Value::is_object)
        && is_end
    {
        *whole = Some(response);
    }
}

fn not_json(error: &serde_json::Error, data: &str) -> StreamError {
    let end = data.floor_char_boundary(QUOTED_BYTES_MAX);
    StreamError::NotJson {
        complaint: error.to_string(),
        quoted: data[..end].to_owned(),
    }
}

#[cfg(test)]
mod tests;
