//! What sources yield and the driver sends.

use std::sync::Arc;

use brimful_core::{CUSTOM_KINDS, Cost, Lane};
use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::source::Row;

/// One request, ready to be sent.
#[derive(Debug)]
pub struct Request {
    /// 1-based row number in the input; a CSV header is not a row.
    pub row: u64,
    /// 1-based line of the input on which the row starts; 0 when there is no input file.
    pub line: u64,
    /// The id shown to the user: `custom_id`, the id column, or the row number.
    pub id: String,
    /// Identity for resume.
    pub fingerprint: Fingerprint,
    /// HTTP method.
    pub method: http::Method,
    /// URL path (and query), checked: begins with one `/`, has no host, backslash or dot segment.
    pub path: Arc<str>,
    /// JSON body, sent as it is.
    pub body: Bytes,
    /// Whether the answer comes as a stream of events: the body or the path asks for it.
    pub streams: bool,
    /// Estimated input tokens.
    pub input_tokens: u64,
    /// Units of each custom kind that it costs.
    pub custom: [u64; CUSTOM_KINDS],
    /// The lane that it goes in, by its model.
    pub lane: Lane,
    /// Most output tokens that the request asks for (`max_tokens` × `n`); `None` when it does not
    /// say.
    pub max_output_tokens: Option<u64>,
    /// The row's own columns, kept only when rows are streamed out as they are answered.
    pub columns: Option<Box<Row>>,
}

impl Request {
    /// What it costs. `default_output_tokens` are assumed where it does not say how many it may
    /// produce.
    #[must_use]
    pub fn cost(&self, default_output_tokens: u64) -> Cost {
        let output = self.max_output_tokens.unwrap_or(default_output_tokens);
        let mut cost = Cost::tokens(self.input_tokens, output).lane(self.lane);
        cost.custom = self.custom;
        cost
    }
}

/// A row that cannot be sent. It becomes a dead letter; the others go on.
#[derive(Debug)]
pub struct BadRow {
    /// 1-based row number in the input.
    pub row: u64,
    /// 1-based line of the input on which the row starts.
    pub line: u64,
    /// The id shown to the user, where one could be read; else the row number.
    pub id: String,
    /// Identity for resume: over the raw bytes of the row.
    pub fingerprint: Fingerprint,
    /// What is wrong with it and what to do, in one line, without the file name and line.
    pub reason: String,
    /// The row's own columns, as far as they could be read, kept only when rows are streamed out.
    pub columns: Option<Box<Row>>,
}

/// What a source yields.
#[derive(Debug)]
pub enum Item {
    /// A request to send.
    Request(Request),
    /// A row that cannot be sent.
    Bad(BadRow),
}
