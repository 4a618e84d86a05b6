//! What the server needs to know of a request body, read without building a tree of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::hash::crc32;

/// The known fields of all endpoints; everything else is skipped.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Body<'a> {
    #[serde(borrow)]
    model: Option<Name<'a>>,
    pub(crate) messages: Option<Text>,
    pub(crate) prompt: Option<Text>,
    pub(crate) input: Option<Text>,
    /// Gemini's messages.
    pub(crate) contents: Option<Text>,
    /// The instructions, as each dialect calls them.
    instructions: Option<Text>,
    system: Option<Text>,
    #[serde(rename = "systemInstruction", alias = "system_instruction")]
    system_instruction: Option<Text>,
    #[serde(rename = "generationConfig", alias = "generation_config")]
    generation: Option<Generation>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, serde::Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Gemini's settings.
#[derive(Debug, serde::Deserialize)]
struct Generation {
    #[serde(default, rename = "maxOutputTokens", alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
}

/// In an `Option`, serde borrows only through a type of its own.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Body<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The model asked for; a server that runs only one answers under any name.
    pub(crate) fn model(&self) -> &str {
        self.model.as_ref().map_or("mock", |Name(name)| name)
    }

    /// The most output tokens that the request allows, under any of its names.
    pub(crate) fn max_output(&self) -> Option<u64> {
        let generation = self.generation.as_ref();
        self.max_completion_tokens
            .or(self.max_tokens)
            .or(self.max_output_tokens)
            .or_else(|| generation?.max_output_tokens)
    }

    /// Input tokens of the instructions.
    pub(crate) fn instruction_tokens(&self) -> u64 {
        let forms = [&self.instructions, &self.system, &self.system_instruction];
        forms.into_iter().flatten().map(Text::tokens).sum()
    }

    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(crate) fn wants_usage_chunk(&self) -> bool {
        self.stream_options
            .as_ref()
            .is_some_and(|options| options.include_usage)
    }
}

/// The text inside a prompt of any form (a string, messages, content parts, lists of prompts, token
/// numbers), reduced to what matters: nothing is copied, however long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// Characters of all text; a token given as a number counts as four.
    pub(crate) chars: u64,
    /// CRC-32 of the last text.
    pub(crate) tag: u32,
    /// CRC-32 of each text of a list; empty when it was not a list of prompts.
    pub(crate) tags: Vec<u32>,
    form: Form,
}

/// What a text is as an element of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// A prompt of its own: a string or a finished list of tokens.
    #[default]
    Prompt,
    /// One token of a prompt.
    Number,
    /// A message or a part of one, which make one prompt together.
    Part,
}

/// Inputs that one embeddings request may hold, as at real providers.
pub(crate) const INPUTS_MAX: usize = 2_048;

impl Text {
    /// Input tokens: characters ÷ 4, rounded down, as providers estimate before they admit.
    pub(crate) fn tokens(&self) -> u64 {
        self.chars / 4
    }

    /// The tag of each prompt: of a list its elements', otherwise its own.
    pub(crate) fn each(&self) -> Cow<'_, [u32]> {
        if self.tags.is_empty() {
            Cow::Owned(vec![self.tag])
        } else {
            Cow::Borrowed(&self.tags)
        }
    }

    fn append(&mut self, element: &Self) {
        self.chars += element.chars;
        self.tag = match element.form {
            Form::Number => crc32(self.tag, &element.tag.to_le_bytes()),
            Form::Prompt | Form::Part => element.tag,
        };
        if element.form == Form::Prompt && self.tags.len() <= INPUTS_MAX {
            self.tags.push(element.tag);
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of them, messages or tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        let chars = text.chars().count() as u64;
        Ok(Text {
            chars,
            tag: crc32(0, text.as_bytes()),
            ..Text::default()
        })
    }

    fn visit_u64<E>(self, token: u64) -> Result<Text, E> {
        let tag = crc32(0, &token.to_le_bytes());
        Ok(Text {
            chars: 4,
            tag,
            form: Form::Number,
            ..Text::default()
        })
    }

    fn visit_i64<E: Error>(self, token: i64) -> Result<Text, E> {
        self.visit_u64(token.unsigned_abs())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
        let mut list = Text::default();
        while let Some(element) = seq.next_element::<Text>()? {
            list.append(&element);
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            Content,
            Parts,
            Text,
            #[serde(other)]
            Other,
        }
        let mut whole = Text {
            form: Form::Part,
            ..Text::default()
        };
        while let Some(key) = map.next_key()? {
            match key {
                Key::Content | Key::Parts | Key::Text => {
                    let part: Text = map.next_value()?;
                    whole.chars += part.chars;
                    whole.tag = part.tag;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_prompt_counts_characters_not_bytes_and_is_unescaped() {
        assert_eq!(text(r#""añb""#).chars, 3);
        assert_eq!(text(r#""a\u00f1\n""#), text("\"a\u{f1}\\n\""));
        assert_eq!(text(r#""123456789""#).tag, 0xCBF4_3926);
    }

    #[test]
    fn messages_add_up_and_the_last_one_gives_the_tag() {
        let json = r#"[{"role":"system","content":"be brief"},
            {"role":"user","content":[{"type":"text","text":"abc"},{"type":"text","text":"123456789"},
            {"type":"image_url","image_url":{"url":"data:xxxxxxxxxxxxxxxx"}}]}]"#;
        let messages = text(json);
        assert_eq!(messages.chars, 8 + 3 + 9);
        assert_eq!(
            text(r#"[{"role":"user","content":"123456789"}]"#).tag,
            0xCBF4_3926
        );
    }

    #[test]
    fn token_numbers_are_one_prompt_and_lists_of_them_are_many() {
        let one = text("[1,2,3]");
        assert_eq!((one.chars, one.tags.len()), (12, 0));
        assert_ne!(one.tag, text("[1,3,2]").tag);
        let two = text("[[1,2,3],[4]]");
        assert_eq!((two.chars, two.tags.len()), (16, 2));
        assert_eq!(two.tags[0], one.tag);
        assert_eq!(text(r#"["a","b","c"]"#).tags.len(), 3);
    }

    #[test]
    fn the_model_and_the_maximum_are_found_under_every_name() {
        let body = Body::parse(br#"{"model":"a\"b","max_tokens":null,"max_output_tokens":7}"#);
        let body = body.unwrap();
        assert_eq!((body.model(), body.max_output()), ("a\"b", Some(7)));
        let body = Body::parse(br#"{"max_tokens":5,"max_completion_tokens":6}"#).unwrap();
        assert_eq!((body.model(), body.max_output()), ("mock", Some(6)));
    }

    #[test]
    fn contents_and_their_parts_are_messages_too() {
        let body = Body::parse(
            br#"{"contents":[{"role":"user","parts":[{"text":"abcd"},{"text":"123456789"}]}],
                "systemInstruction":{"parts":[{"text":"be brief"}]},
                "generationConfig":{"maxOutputTokens":9,"temperature":0}}"#,
        )
        .unwrap();
        let contents = body.contents.as_ref().unwrap();
        assert_eq!((contents.chars, contents.tag), (13, 0xCBF4_3926));
        assert_eq!((body.max_output(), body.instruction_tokens()), (Some(9), 2));
        let body = Body::parse(br#"{"system":[{"type":"text","text":"be brief"}]}"#).unwrap();
        assert_eq!(body.instruction_tokens(), 2);
    }

    #[test]
    fn what_is_not_a_request_is_an_error_and_not_a_panic() {
        let deep = format!("{{\"input\":{}", "[".repeat(100_000));
        let bodies: [&[u8]; 7] = [
            b"",
            b"[]",
            b"{",
            br#"{"max_tokens":-1}"#,
            br#"{"messages":"a}"#,
            b"{\"prompt\":\"\xff\"}",
            deep.as_bytes(),
        ];
        for body in bodies {
            assert!(
                Body::parse(body).is_err() || body == b"[]",
                "{:?}",
                &body[..body.len().min(40)]
            );
        }
    }
}
