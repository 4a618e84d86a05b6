//! Streamed answers.

use brimful_providers::reply::{Outcome, read_broken_stream, read_reply};
use brimful_providers::stream::{Assembler, StreamError};
use http::HeaderMap;
use serde_json::Value;

use crate::is_one_line;

/// The first byte is the size of the pieces in which the rest arrives a second time.
pub fn hold(data: &[u8]) {
    let (size, events) = data
        .split_first()
        .map_or((1, data), |(size, rest)| (*size, rest));
    let whole = assembled([events].into_iter());
    let pieces = assembled(events.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces, "pieces make a difference");
    match &whole {
        Ok(document) => is_a_reply(document),
        Err(error) => is_explained(error),
    }
    keep_alives_say_nothing(events, &whole);
    what_comes_after_the_end_says_nothing(events, &whole);
}

fn assembled<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, StreamError> {
    let mut assembler = Assembler::default();
    let mut has_begun = false;
    for piece in pieces {
        let was_over = assembler.is_over();
        assembler.push(piece);
        assert!(!was_over || assembler.is_over());
        assert!(!has_begun || assembler.has_begun());
        has_begun = assembler.has_begun();
    }
    assembler.finish()
}

/// It is one object, and read as any other body: an answer, or the failure that the stream told.
fn is_a_reply(document: &[u8]) {
    let value: Value = serde_json::from_slice(document).expect("a document is JSON");
    assert!(value.is_object(), "{value}");
    let reply = read_reply(200, &HeaderMap::new(), document, 0);
    if let Outcome::Failure(failed) = reply.outcome {
        assert!(!["not_json", "not_an_object", "event_stream"].contains(&failed.code.as_str()));
    }
}

fn is_explained(error: &StreamError) {
    let Outcome::Failure(failed) = read_broken_stream(error, &HeaderMap::new()).outcome else {
        panic!("{error} is an answer");
    };
    assert!(is_one_line(&failed.message), "{:?}", failed.message);
}

fn keep_alives_say_nothing(events: &[u8], whole: &Result<Vec<u8>, StreamError>) {
    // Before a byte order mark it would make it a part of a line.
    if !events.starts_with(b"\xEF") {
        let more: [&[u8]; 2] = [b": keep-alive\n\n\r\n", events];
        assert_eq!(&assembled(more.into_iter()), whole);
    }
}

fn what_comes_after_the_end_says_nothing(events: &[u8], whole: &Result<Vec<u8>, StreamError>) {
    let mut assembler = Assembler::default();
    assembler.push(events);
    if assembler.is_over() {
        assembler.push(b"\n\ndata: {\"error\":{\"message\":\"m\"}}\n\ndata: {garbage\n\n");
        assert_eq!(&assembler.finish(), whole);
    }
}
