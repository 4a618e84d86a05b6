//! A streamed answer on its way in.

use std::time::Instant;

use brimful_providers::stream::Assembler;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::{Protocol, Response, SendError};

/// Whether a reply is a stream of events.
pub(super) fn is_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_events = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes().trim_ascii_start();
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii_end()
            .eq_ignore_ascii_case(b"text/event-stream")
    });
    status.is_success() && is_events
}

/// Whether its bytes are the events as they are.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_none_or(|encoding| {
        encoding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    })
}

/// Events as they come in, of a bounded number of bytes.
#[derive(Debug)]
pub(super) struct Incoming {
    assembler: Assembler,
    bytes: usize,
    bytes_max: usize,
    first_event: Option<Instant>,
}

impl Incoming {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            assembler: Assembler::default(),
            bytes: 0,
            bytes_max,
            first_event: None,
        }
    }

    /// Takes the next part in. Says whether the first event came with it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<bool, SendError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.bytes_max {
            return Err(SendError::TooLarge(self.bytes_max));
        }
        self.assembler.push(bytes);
        let begins = self.first_event.is_none() && self.assembler.has_begun();
        if begins {
            self.first_event = Some(Instant::now());
        }
        Ok(begins)
    }

    /// Whether nothing that may follow matters.
    pub(super) const fn is_over(&self) -> bool {
        self.assembler.is_over()
    }

    /// The reply whose body this was.
    pub(super) fn into_response(
        self,
        status: StatusCode,
        headers: HeaderMap,
        first_byte: Instant,
    ) -> Response {
        let first_event = self.first_event;
        let (body, broken_stream) = match self.assembler.finish() {
            Ok(document) => (Bytes::from(document), None),
            Err(error) => (Bytes::new(), Some(error)),
        };
        Response {
            status: status.as_u16(),
            headers,
            body,
            broken_stream,
            first_byte,
            first_event,
            protocol: Protocol::default(),
        }
    }
}
