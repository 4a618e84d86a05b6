//! What goes in and out of the server.

use std::time::Duration;

use brimful_core::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::limits::Charges;

/// A whole request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct IncomingRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, with or without a query string: only `alt` and `key` of Gemini's are read.
    pub path: &'a str,
    /// The body; empty when there was none.
    pub body: &'a [u8],
    /// The value of the header that bears the key: Authorization, or Anthropic's `x-api-key` and
    /// Gemini's `x-goog-api-key`.
    pub authorization: Option<&'a str>,
}

/// What to do with a request.
#[derive(Debug)]
#[must_use]
pub struct Reply {
    /// Wait this long before doing it. Zero for what was not admitted.
    pub delay: Duration,
    /// When the first token of the answer exists, whether it is shown then or not. Zero for what
    /// was not admitted.
    pub first_byte: Duration,
    /// What to do.
    pub action: Action,
    /// To be handed back to [`Server::finished`](crate::Server::finished), exactly once and however
    /// it ended, or a slot of the concurrency limit stays taken.
    pub ticket: Ticket,
}

impl Reply {
    /// For what holds nothing.
    pub(crate) fn at_once(action: Action) -> Self {
        Self {
            delay: Duration::ZERO,
            first_byte: Duration::ZERO,
            action,
            ticket: Ticket::default(),
        }
    }
}

/// What the client gets to see.
#[derive(Debug)]
pub enum Action {
    /// A whole answer or a refusal.
    Respond {
        /// The status.
        status: StatusCode,
        /// All headers but those of the transport (`content-length`, `date`).
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
    /// An answer in pieces: server-sent events.
    Stream {
        /// The status.
        status: StatusCode,
        /// All headers but those of the transport.
        headers: HeaderMap,
        /// The pieces in order, at least one.
        chunks: Vec<Chunk>,
        /// Whether the stream ends properly. If not, the connection closes after the last piece.
        complete: bool,
    },
    /// An answer that breaks off: the headers announce more than is sent before the connection
    /// closes.
    Truncate {
        /// The status.
        status: StatusCode,
        /// All headers but those of the transport.
        headers: HeaderMap,
        /// What is sent.
        body: Bytes,
        /// The `content-length` that is announced.
        announced_len: usize,
    },
    /// The connection is reset without an answer.
    Reset,
    /// No answer is ever sent and the connection stays open until the client leaves.
    Hang,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Wait this long after the piece before; the first one is due with the headers.
    pub delay: Duration,
    /// One or more whole server-sent events.
    pub bytes: Bytes,
}

/// The server's memory of one request under way. Cannot be copied, so that nothing is settled
/// twice.
#[derive(Debug, Default)]
#[must_use]
pub struct Ticket {
    /// `None` for what was refused: it holds nothing.
    pub(crate) held: Option<Held>,
}

/// What an admitted request holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// The ledger's age: one that was cleared since does not count this end.
    pub(crate) epoch: u64,
    /// When it was admitted.
    pub(crate) at: Timestamp,
    /// Identifies path and body.
    pub(crate) prompt: u64,
    /// Whether what is sent is an answer and not a fault.
    pub(crate) answers: bool,
    /// Whether it failed: what is sent was not even generated.
    pub(crate) failed: bool,
    /// Whether it was the ledger's first admission.
    pub(crate) first: bool,
    /// What it took at admission.
    pub(crate) reserved: Charges,
    /// What it would have taken had its usage been known.
    pub(crate) actual: Charges,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// The answer that is charged as it grows.
    pub(crate) growing: Option<u64>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that the reply said was done.
    Sent,
    /// The client left before.
    Vanished,
}
