//! Answers, a function of the seed and the prompt alone: the text, and OpenAI's form of it.

use std::io::Write as _;

use fastrand::Rng;

use crate::config::CREATED_UNIX_SECS;
use crate::json::{push_hex, push_number, push_text};

/// Numbers of an embedding: enough to tell vectors apart.
const DIMENSIONS: usize = 8;

/// Pieces of a streamed answer; longer answers have more words in each.
const PIECES_MAX: u64 = 512;

/// What the configuration adds to every text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decoration<'a> {
    /// The Authorization header, when it is to be echoed.
    pub(crate) authorization: Option<&'a str>,
    pub(crate) escape_codes: bool,
}

impl Decoration<'_> {
    /// Appends to an open JSON string.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.escape_codes {
            // Colour, window title, clear screen, and a C1 introducer, which JSON allows as it is.
            out.extend_from_slice(br" \u001b[31m\u001b]0;taken over\u0007\u001b[2J");
            out.extend_from_slice("\u{9b}2J".as_bytes());
        }
        if let Some(authorization) = self.authorization {
            out.extend_from_slice(b" authorization: ");
            push_text(out, authorization);
        }
    }
}

/// Everything that an answer says.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// Seed and prompt in one number: ids and words come from it.
    pub(crate) key: u64,
    pub(crate) model: &'a str,
    /// CRC-32 of the prompt, with which the text begins.
    pub(crate) tag: u32,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Whether the request's maximum ended the answer.
    pub(crate) cut: bool,
    pub(crate) decoration: Decoration<'a>,
}

/// A streamed answer: events, and how many tokens each of them took.
pub(crate) type Events = Vec<(u64, Vec<u8>)>;

impl Answer<'_> {
    pub(crate) fn chat(&self) -> Vec<u8> {
        let mut out = self.begin("chatcmpl-", "chat.completion");
        out.extend_from_slice(
            br#","choices":[{"index":0,"message":{"role":"assistant","content":""#,
        );
        self.write_text(&mut out);
        out.extend_from_slice(br#"","refusal":null},"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(self.finish_reason());
        out.extend_from_slice(br#""}],"#);
        self.write_usage(&mut out);
        out.extend_from_slice(br#","system_fingerprint":"fp_mock"}"#);
        out
    }

    pub(crate) fn completion(&self) -> Vec<u8> {
        let mut out = self.begin("cmpl-", "text_completion");
        out.extend_from_slice(br#","choices":[{"text":""#);
        self.write_text(&mut out);
        out.extend_from_slice(br#"","index":0,"logprobs":null,"finish_reason":""#);
        out.extend_from_slice(self.finish_reason());
        out.extend_from_slice(br#""}],"#);
        self.write_usage(&mut out);
        out.push(b'}');
        out
    }

    pub(crate) fn response(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.capacity());
        let (status, details) = if self.cut {
            ("incomplete", r#"{"reason":"max_output_tokens"}"#)
        } else {
            ("completed", "null")
        };
        let key = self.key;
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            r#"{{"id":"resp_{key:016x}","object":"response","created_at":{CREATED_UNIX_SECS},"#
        );
        let _ = write!(
            out,
            r#""status":"{status}","error":null,"incomplete_details":{details},"model":""#
        );
        push_text(&mut out, self.model);
        let _ = write!(
            out,
            r#"","output":[{{"type":"message","id":"msg_{key:016x}","status":"{status}","role":"assistant","content":[{{"type":"output_text","text":""#
        );
        self.write_text(&mut out);
        let (input, output) = (self.input_tokens, self.output_tokens);
        let _ = write!(
            out,
            r#"","annotations":[]}}]}}],"usage":{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":0}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":{}}}}}"#,
            input + output
        );
        out
    }

    /// One vector for each of `tags`.
    pub(crate) fn embeddings(&self, tags: &[u32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + 160 * tags.len());
        out.extend_from_slice(br#"{"object":"list","data":["#);
        for (index, tag) in tags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let _ = write!(
                out,
                r#"{{"object":"embedding","index":{index},"embedding":["#
            );
            // By text alone: equal texts have equal vectors, whatever request they came in.
            let mut rng = Rng::with_seed(u64::from(*tag));
            for dimension in 0..DIMENSIONS {
                let comma = if dimension > 0 { "," } else { "" };
                let sign = if rng.bool() { "-" } else { "" };
                let _ = write!(out, "{comma}{sign}0.{:06}", rng.u32(..1_000_000));
            }
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(br#"],"model":""#);
        push_text(&mut out, self.model);
        let tokens = self.input_tokens;
        let _ = write!(
            out,
            r#"","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
        );
        out
    }

    /// The chat answer as server-sent events.
    pub(crate) fn chat_events(&self, with_usage: bool) -> Events {
        let head = self.begin("chatcmpl-", "chat.completion.chunk");
        let open = br#","choices":[{"index":0,"delta":"#;
        let first = event(
            &head,
            open,
            br#"{"role":"assistant","content":""},"finish_reason":null}"#,
            with_usage,
        );
        let piece = |text: &[u8]| {
            let delta = [br#"{"content":""#, text, br#""},"finish_reason":null}"#].concat();
            event(&head, open, &delta, with_usage)
        };
        let reason = [br#"{},"finish_reason":""#, self.finish_reason(), br#""}"#].concat();
        let last = event(&head, open, &reason, with_usage);
        self.events(&head, first, piece, last, with_usage)
    }

    /// The completion as server-sent events.
    pub(crate) fn completion_events(&self, with_usage: bool) -> Events {
        let head = self.begin("cmpl-", "text_completion");
        let open = br#","choices":[{"index":0,"logprobs":null,"text":""#;
        let piece = |text: &[u8]| {
            let delta = [text, br#"","finish_reason":null}"#].concat();
            event(&head, open, &delta, with_usage)
        };
        let reason = [br#"","finish_reason":""#, self.finish_reason(), br#""}"#].concat();
        let last = event(&head, open, &reason, with_usage);
        self.events(&head, Vec::new(), piece, last, with_usage)
    }

    fn events(
        &self,
        head: &[u8],
        first: Vec<u8>,
        piece: impl Fn(&[u8]) -> Vec<u8>,
        last: Vec<u8>,
        with_usage: bool,
    ) -> Events {
        let mut end = last;
        if with_usage {
            end.extend_from_slice(b"data: ");
            end.extend_from_slice(head);
            end.extend_from_slice(br#","choices":[],"#);
            self.write_usage(&mut end);
            end.extend_from_slice(b"}\n\n");
        }
        end.extend_from_slice(b"data: [DONE]\n\n");
        self.pieces(first, |text, _| piece(text), &end)
    }

    /// The text in pieces, each as `piece` makes it of its text and the tokens up to its end, with
    /// `first` before the first and `last` after the last of them.
    pub(crate) fn pieces(
        &self,
        first: Vec<u8>,
        piece: impl Fn(&[u8], u64) -> Vec<u8>,
        last: &[u8],
    ) -> Events {
        let tokens_per_piece = self.output_tokens.div_ceil(PIECES_MAX).max(1);
        let mut words = self.words();
        let mut text = Vec::new();
        let mut events: Events = Vec::new();
        let mut pending = first;
        let mut done = 0;
        while done < self.output_tokens {
            let tokens = tokens_per_piece.min(self.output_tokens - done);
            text.clear();
            for token in done..done + tokens {
                self.write_token(token, &mut words, &mut text);
            }
            done += tokens;
            pending.extend_from_slice(&piece(&text, done));
            events.push((tokens, std::mem::take(&mut pending)));
        }
        pending.extend_from_slice(last);
        match events.last_mut() {
            Some((_, bytes)) => bytes.extend_from_slice(&pending),
            None => events.push((0, pending)),
        }
        events
    }

    /// `{"id":…,"object":…,"created":…,"model":…`, still open.
    fn begin(&self, id_prefix: &str, object: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.capacity());
        out.extend_from_slice(br#"{"id":""#);
        out.extend_from_slice(id_prefix.as_bytes());
        push_hex(&mut out, self.key, 16);
        out.extend_from_slice(br#"","object":""#);
        out.extend_from_slice(object.as_bytes());
        out.extend_from_slice(br#"","created":"#);
        push_number(&mut out, CREATED_UNIX_SECS);
        out.extend_from_slice(br#","model":""#);
        push_text(&mut out, self.model);
        out.push(b'"');
        out
    }

    pub(crate) fn capacity(&self) -> usize {
        640 + self.model.len() + 8 * self.output_tokens as usize
    }

    const fn finish_reason(&self) -> &'static [u8] {
        if self.cut { b"length" } else { b"stop" }
    }

    fn write_usage(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#""usage":{"prompt_tokens":"#);
        push_number(out, self.input_tokens);
        out.extend_from_slice(br#","completion_tokens":"#);
        push_number(out, self.output_tokens);
        out.extend_from_slice(br#","total_tokens":"#);
        push_number(out, self.input_tokens + self.output_tokens);
        out.extend_from_slice(
            br#","prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#,
        );
    }

    pub(crate) fn write_text(&self, out: &mut Vec<u8>) {
        let mut words = self.words();
        for token in 0..self.output_tokens {
            self.write_token(token, &mut words, out);
        }
    }

    fn words(&self) -> Rng {
        Rng::with_seed(self.key)
    }

    /// The first token is the tag with the decoration, every other one a word.
    fn write_token(&self, index: u64, words: &mut Rng, out: &mut Vec<u8>) {
        if index == 0 {
            out.push(b'[');
            push_hex(out, u64::from(self.tag), 8);
            out.push(b']');
            self.decoration.write(out);
            return;
        }
        out.push(b' ');
        // Each word costs a multiplication: a table of a power of two needs no division.
        out.extend_from_slice(WORDS[(words.u64(..) >> 59) as usize].as_bytes());
    }
}

/// The models that the server lists.
pub(crate) fn models() -> Vec<u8> {
    format!(
        r#"{{"object":"list","data":[{{"id":"mock","object":"model","created":{CREATED_UNIX_SECS},"owned_by":"brimful"}}]}}"#
    )
    .into_bytes()
}

/// A success that is not one: markup of some proxy, and bytes that are no text at all.
pub(crate) fn garbage(decoration: &Decoration<'_>) -> Vec<u8> {
    let mut out = b"<html><body>upstream said: \xff\xfe\x00{\"choices\":".to_vec();
    decoration.write(&mut out);
    out
}

fn event(head: &[u8], open: &[u8], delta: &[u8], with_usage: bool) -> Vec<u8> {
    let end: &[u8] = if with_usage {
        b"],\"usage\":null}\n\n"
    } else {
        b"]}\n\n"
    };
    [b"data: ", head, open, delta, end].concat()
}

const WORDS: [&str; 32] = [
    "lorem", "ipsum", "dolor", "sit", "amet", "elit", "sed", "do", "tempor", "ut", "labore", "et",
    "magna", "aliqua", "enim", "ad", "minim", "veniam", "quis", "nisi", "ex", "ea", "commodo",
    "duis", "aute", "irure", "in", "velit", "esse", "fugiat", "nulla", "mollit",
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn answer() -> Answer<'static> {
        Answer {
            key: 0xAB,
            model: "m\"\u{1}",
            tag: 0xCBF4_3926,
            input_tokens: 3,
            output_tokens: 5,
            cut: false,
            decoration: Decoration::default(),
        }
    }

    fn parse(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn each_form_is_json_with_the_text_and_usage_where_clients_look_for_them() {
        let chat = parse(&answer().chat());
        let text = chat["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.starts_with("[cbf43926] "));
        assert_eq!(text.split(' ').count(), 5);
        assert_eq!(chat["usage"]["total_tokens"], 8);
        assert_eq!(chat["model"], "m\"\u{1}");
        let completion = parse(&answer().completion());
        assert_eq!(completion["choices"][0]["text"], text);
        let response = parse(&answer().response());
        assert_eq!(response["output"][0]["content"][0]["text"], text);
        assert_eq!(response["usage"]["output_tokens"], 5);
        assert_eq!(response["status"], "completed");
    }

    #[test]
    fn an_answer_that_the_maximum_ended_says_so() {
        let cut = Answer {
            cut: true,
            ..answer()
        };
        assert_eq!(parse(&cut.chat())["choices"][0]["finish_reason"], "length");
        assert_eq!(parse(&cut.response())["status"], "incomplete");
    }

    fn events_of(events: &Events) -> Vec<String> {
        let all: Vec<u8> = events.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let all = String::from_utf8(all).unwrap();
        assert!(all.ends_with("data: [DONE]\n\n"));
        let lines = all
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_stream_adds_up_to_the_whole_answer() {
        let whole = parse(&answer().chat());
        let events = answer().chat_events(true);
        assert_eq!(events.iter().map(|(tokens, _)| tokens).sum::<u64>(), 5);
        let mut text = String::new();
        let mut lines = events_of(&events);
        assert_eq!(lines.pop().unwrap(), "[DONE]");
        let usage = parse(lines.pop().unwrap().as_bytes());
        assert_eq!(usage["usage"], whole["usage"]);
        assert_eq!(usage["choices"], Value::Array(Vec::new()));
        for line in &lines {
            let chunk = parse(line.as_bytes());
            assert_eq!(chunk["id"], whole["id"]);
            assert!(chunk["usage"].is_null());
            text.push_str(
                chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .unwrap_or(""),
            );
        }
        assert_eq!(whole["choices"][0]["message"]["content"], text);
    }

    #[test]
    fn a_streamed_completion_adds_up_too_and_shows_no_usage_unasked() {
        let whole = parse(&answer().completion());
        let mut lines = events_of(&answer().completion_events(false));
        lines.pop();
        let text: String = lines
            .iter()
            .map(|line| {
                let chunk = parse(line.as_bytes());
                assert!(chunk.get("usage").is_none());
                chunk["choices"][0]["text"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(whole["choices"][0]["text"], text);
    }

    #[test]
    fn a_long_stream_has_a_bounded_number_of_pieces() {
        let long = Answer {
            output_tokens: 100_000,
            ..answer()
        };
        let events = long.chat_events(false);
        assert!(events.len() as u64 <= PIECES_MAX);
        assert_eq!(
            events.iter().map(|(tokens, _)| tokens).sum::<u64>(),
            100_000
        );
    }

    #[test]
    fn embeddings_depend_on_the_text_alone() {
        let embeddings = parse(&answer().embeddings(&[1, 2, 1]));
        let data = embeddings["data"].as_array().unwrap();
        assert_eq!(data.len(), 3);
        assert_eq!(data[0]["embedding"], data[2]["embedding"]);
        assert_ne!(data[0]["embedding"], data[1]["embedding"]);
        assert_eq!(data[0]["embedding"].as_array().unwrap().len(), DIMENSIONS);
    }

    #[test]
    fn decorations_arrive_as_text_inside_valid_json() {
        let decoration = Decoration {
            authorization: Some("Bearer \"k\""),
            escape_codes: true,
        };
        let chat = parse(
            &Answer {
                decoration,
                ..answer()
            }
            .chat(),
        );
        let text = chat["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("\u{1b}[31m") && text.contains('\u{9b}'));
        assert!(text.contains("authorization: Bearer \"k\""));
    }
}
