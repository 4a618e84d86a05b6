//! What replies look like: headers, bodies, streams.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::Server;
use super::admission::Admitted;
use super::route::Endpoint;
use crate::answer::Decoration;
use crate::draw;
use crate::hash::hash64;
use crate::json;
use crate::levels::Levels;
use crate::limits::Wait;
use crate::rate_headers;
use crate::refusal::Refusal;
use crate::reply::{Action, Chunk};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_ECHO_AUTHORIZATION: HeaderName = HeaderName::from_static("x-echo-authorization");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

impl Server {
    /// An answer in one piece, or the first half of it, and the time that its tokens take.
    pub(super) fn whole(
        &self,
        headers: HeaderMap,
        admitted: &Admitted<'_>,
        slowdown: f64,
        cut: bool,
    ) -> (Duration, Action) {
        let answer = &admitted.answer;
        let json = match admitted.endpoint {
            Endpoint::Chat => answer.chat(),
            Endpoint::Responses => answer.response(),
            Endpoint::Completions => answer.completion(),
            Endpoint::Embeddings => answer.embeddings(&admitted.prompt.each()),
        };
        let status = StatusCode::OK;
        let mut body = self.lay_out(json);
        let action = if cut {
            let announced_len = body.len();
            body.truncate(announced_len / 2);
            Action::Truncate {
                status,
                headers,
                body,
                announced_len,
            }
        } else {
            Action::Respond {
                status,
                headers,
                body,
            }
        };
        (
            draw::generation(&self.config, slowdown, answer.output_tokens),
            action,
        )
    }

    /// An answer in pieces, or the first half of them, and the time to the first piece.
    pub(super) fn stream(
        &self,
        mut headers: HeaderMap,
        admitted: &Admitted<'_>,
        slowdown: f64,
        cut: bool,
    ) -> (Duration, Action) {
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        let with_usage = admitted.body.wants_usage_chunk();
        let mut events = match admitted.endpoint {
            Endpoint::Completions => admitted.answer.completion_events(with_usage),
            _ => admitted.answer.chat_events(with_usage),
        };
        if cut {
            events.truncate(events.len().div_ceil(2));
            if let [(_, only)] = events.as_mut_slice() {
                only.truncate(only.len() / 2);
            }
        }
        let chunk = |(tokens, bytes)| Chunk {
            delay: draw::generation(&self.config, slowdown, tokens),
            bytes: Bytes::from(bytes),
        };
        let mut chunks: Vec<Chunk> = events.into_iter().map(chunk).collect();
        // The wait for the first piece is the reply's own delay.
        let first = chunks
            .first_mut()
            .map(|first| std::mem::take(&mut first.delay));
        let action = Action::Stream {
            status: StatusCode::OK,
            headers,
            chunks,
            complete: !cut,
        };
        (first.unwrap_or_default(), action)
    }

    /// A refusal with its place in the ledger.
    pub(super) fn refuse(
        &mut self,
        refusal: &Refusal,
        mut headers: HeaderMap,
        path: &str,
        model: &str,
        authorization: Option<&str>,
    ) -> Action {
        match refusal {
            Refusal::Throttled { denial, told } => {
                if matches!(denial.wait, Wait::Time(_)) {
                    rate_headers::append_retry_after(&mut headers, &self.config, self.now, *told);
                }
            }
            Refusal::Exhausted => self.ledger.exhausted(),
            _ => {}
        }
        let status = refusal.status();
        self.ledger.replied(status);
        let json = refusal.body(path, model, &self.decoration(authorization));
        Action::Respond {
            status,
            headers,
            body: self.lay_out(json),
        }
    }

    pub(super) fn lay_out(&self, json: Vec<u8>) -> Bytes {
        Bytes::from(if self.config.pretty {
            json::spread(&json)
        } else {
            json
        })
    }

    /// The headers of every reply.
    pub(super) fn headers(&mut self, authorization: Option<&str>) -> HeaderMap {
        let levels = self
            .snapshots
            .told(self.now, &mut self.limits, &self.config, &mut self.rng);
        let mut headers =
            HeaderMap::with_capacity(if levels == Levels::default() { 6 } else { 12 });
        headers.insert(CONTENT_TYPE, JSON);
        let mut id = Vec::with_capacity(20);
        id.extend_from_slice(b"req_");
        json::push_hex(&mut id, hash64(self.seed, &self.sequence.to_le_bytes()), 16);
        if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(id)) {
            headers.insert(X_REQUEST_ID, id);
        }
        let echoed = authorization.filter(|_| self.config.echo_headers);
        if let Some(Ok(value)) = echoed.map(HeaderValue::from_str) {
            headers.insert(X_ECHO_AUTHORIZATION, value);
        }
        rate_headers::append_levels(&mut headers, &levels);
        headers
    }

    pub(super) fn decoration<'a>(&self, authorization: Option<&'a str>) -> Decoration<'a> {
        Decoration {
            authorization: authorization.filter(|_| self.config.echo_headers),
            escape_codes: self.config.escape_codes,
        }
    }
}
