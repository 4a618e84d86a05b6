//! What replies look like: headers, bodies, streams.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::Server;
use super::admission::Admitted;
use crate::answer::Decoration;
use crate::draw;
use crate::endpoint::{Endpoint, Route};
use crate::json;
use crate::limits::Wait;
use crate::refusal::Refusal;
use crate::reply::{Action, Chunk};

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
            Endpoint::Messages => answer.message(),
            Endpoint::Generate | Endpoint::GenerateStream { .. } => answer.generated(),
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
        if admitted.endpoint != (Endpoint::GenerateStream { sse: false }) {
            headers.insert(CONTENT_TYPE, EVENT_STREAM);
        }
        let with_usage = admitted.body.wants_usage_chunk();
        let mut events = match admitted.endpoint {
            Endpoint::Completions => admitted.answer.completion_events(with_usage),
            Endpoint::Messages => admitted.answer.message_events(),
            Endpoint::GenerateStream { sse } => admitted.answer.generated_events(sse),
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
        route: &Route<'_>,
        model: &str,
        authorization: Option<&str>,
    ) -> Action {
        match refusal {
            Refusal::Throttled { denial, told } => {
                if let (Wait::Time(_), Some(told)) = (denial.wait, *told) {
                    self.append_retry_after(&mut headers, route.dialect, told);
                }
            }
            Refusal::Exhausted => self.ledger.exhausted(),
            _ => {}
        }
        let status = Self::status_of(route.dialect, refusal);
        self.ledger.replied(status);
        let json = self.error_body(refusal, route, model, authorization);
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

    pub(super) fn decoration<'a>(&self, authorization: Option<&'a str>) -> Decoration<'a> {
        Decoration {
            authorization: authorization.filter(|_| self.config.echo_headers),
            escape_codes: self.config.escape_codes,
        }
    }
}
