//! The fake provider: a request in, a reply out.

use std::time::Duration;

use brimful_core::Timestamp;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::answer::{self, Answer, Decoration};
use crate::config::{ConfigError, OUTPUT_TOKENS_MAX, ServerConfig};
use crate::draw::{self, Fault};
use crate::hash::hash64;
use crate::json;
use crate::ledger::{Ledger, Stats};
use crate::limits::{Limits, Wait};
use crate::prompt::{Body, INPUTS_MAX, Text};
use crate::rate_headers;
use crate::refusal::Refusal;
use crate::reply::{Action, Chunk, Ending, Held, IncomingRequest, Reply, Ticket};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_ECHO_AUTHORIZATION: HeaderName = HeaderName::from_static("x-echo-authorization");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// A provider that exists only in memory.
///
/// [`handle`](Self::handle) decides everything about a request at once: whether it is admitted,
/// what it is answered, when, and what goes wrong. The caller carries it out and then calls
/// [`finished`](Self::finished).
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    seed: u64,
    rng: Rng,
    limits: Limits,
    ledger: Ledger,
    /// The latest instant seen: callers on several threads may arrive with earlier ones.
    now: Timestamp,
    /// Requests handled ever; names them.
    sequence: u64,
    /// Answers promised ever, for `quota_after`.
    promised: u64,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Chat,
    Responses,
    Completions,
    Embeddings,
}

/// A refusal and the model that it speaks of.
struct Refused {
    refusal: Refusal,
    model: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            model: String::new(),
        }
    }
}

/// An admitted request on its way to a reply.
struct Admitted<'a> {
    endpoint: Endpoint,
    body: &'a Body<'a>,
    prompt: &'a Text,
    answer: Answer<'a>,
    held: Held,
}

impl Server {
    /// A server with full buckets and an empty ledger. Equal seeds and equal calls give equal
    /// replies.
    pub fn new(config: ServerConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            limits: Limits::new(&config),
            ledger: Ledger::new(config.detailed_ledger),
            seed,
            rng: Rng::with_seed(seed),
            now: Timestamp::ZERO,
            sequence: 0,
            promised: 0,
            config,
        })
    }

    /// Decides about a request that has arrived whole. An instant earlier than one seen before is
    /// taken for the latest.
    pub fn handle(&mut self, now: Timestamp, request: IncomingRequest<'_>) -> Reply {
        self.advance(now);
        self.count_request();
        let path = request
            .path
            .split_once('?')
            .map_or(request.path, |(path, _)| path);
        match self.decide(path, &request) {
            Ok(reply) => reply,
            Err(Refused { refusal, model }) => {
                // What was refused before it came to the limits tells their levels all the same.
                self.limits.refill(self.now);
                let headers = self.headers(request.authorization);
                let authorization = request.authorization;
                Reply::at_once(self.refuse(&refusal, headers, path, &model, authorization))
            }
        }
    }

    /// The reply to a request whose body is larger than the caller is willing to read.
    pub fn refuse_too_long(&mut self, now: Timestamp) -> Reply {
        self.advance(now);
        self.count_request();
        let headers = self.headers(None);
        Reply::at_once(self.refuse(&Refusal::TooLong, headers, "", "", None))
    }

    /// Takes back what a request held: to be called once the reply has been carried out or the
    /// client has gone.
    pub fn finished(&mut self, now: Timestamp, ticket: Ticket, ending: Ending) {
        self.advance(now);
        let Some(held) = ticket.held else { return };
        if self.config.refund {
            self.limits
                .settle_tokens(self.now, held.tokens_reserved, held.tokens_actual);
        }
        self.ledger.finished(&held, ending, self.config.refund);
    }

    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.ledger.stats(&self.config)
    }

    /// Starts a new account. Levels, requests in flight and `quota_after`'s count stay.
    pub fn clear_ledger(&mut self) {
        self.ledger.clear();
    }

    /// What the server was made with.
    #[must_use]
    pub const fn config(&self) -> &ServerConfig {
        &self.config
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    const fn count_request(&mut self) {
        self.sequence += 1;
        self.ledger.requested();
    }

    fn decide(&mut self, path: &str, request: &IncomingRequest<'_>) -> Result<Reply, Refused> {
        self.authorize(request.authorization)?;
        if path == "/v1/models" {
            return self.models(request);
        }
        let endpoint = match path {
            "/v1/chat/completions" => Endpoint::Chat,
            "/v1/responses" => Endpoint::Responses,
            "/v1/completions" => Endpoint::Completions,
            "/v1/embeddings" => Endpoint::Embeddings,
            _ => return Err(Refusal::UnknownPath.into()),
        };
        if request.method != Method::POST {
            return Err(Refusal::WrongMethod.into());
        }
        self.ledger.arrived(self.now);
        let body = Body::parse(request.body).map_err(|error| {
            let reason = format!("We could not parse the JSON body of your request: {error}.");
            Refused::from(Refusal::BadRequest(reason))
        })?;
        let prompt = endpoint.prompt(&body)?;
        if self
            .config
            .quota_after
            .is_some_and(|answers| self.promised >= answers)
        {
            return Err(Refusal::Exhausted.into());
        }
        let admitted = self.admit(endpoint, &body, prompt, path, request)?;
        Ok(self.reply(admitted, request.authorization))
    }

    fn authorize(&self, authorization: Option<&str>) -> Result<(), Refusal> {
        let Some(key) = &self.config.auth else {
            return Ok(());
        };
        if authorization.is_some_and(|given| key.admits(given)) {
            return Ok(());
        }
        Err(Refusal::Unauthorized {
            key_given: authorization.is_some(),
        })
    }

    fn models(&mut self, request: &IncomingRequest<'_>) -> Result<Reply, Refused> {
        if request.method != Method::GET {
            return Err(Refusal::WrongMethod.into());
        }
        let headers = self.headers(request.authorization);
        self.ledger.replied(StatusCode::OK);
        let body = self.lay_out(answer::models());
        Ok(Reply::at_once(Action::Respond {
            status: StatusCode::OK,
            headers,
            body,
        }))
    }

    /// Charges the request to all limits, or refuses it.
    fn admit<'a>(
        &mut self,
        endpoint: Endpoint,
        body: &'a Body<'a>,
        prompt: &'a Text,
        path: &str,
        request: &IncomingRequest<'a>,
    ) -> Result<Admitted<'a>, Refused> {
        let instructions = body.instructions.as_ref().map_or(0, Text::tokens);
        let input_tokens = prompt.tokens() + instructions;
        let output_max = match endpoint {
            Endpoint::Embeddings => 0,
            _ => body
                .max_output()
                .unwrap_or(self.config.default_output_tokens),
        };
        let tokens_reserved = self.config.charge.tokens(input_tokens, output_max);
        let in_flight = self.ledger.in_flight();
        if let Err(denial) = self.limits.admit(self.now, tokens_reserved, in_flight) {
            let told = match denial.wait {
                Wait::Time(wait) => {
                    rate_headers::told_wait(self.config.retry_after, wait, &mut self.rng)
                }
                Wait::Slot | Wait::Forever => Duration::ZERO,
            };
            let refusal = Refusal::Throttled { denial, told };
            return Err(Refused {
                refusal,
                model: body.model().to_owned(),
            });
        }
        let first = self.ledger.admitted(self.now, tokens_reserved);
        let key = hash64(hash64(self.seed, path.as_bytes()), request.body);
        let (output_tokens, cut) = match endpoint {
            Endpoint::Embeddings => (0, false),
            _ => self.output_tokens(key, body.max_output()),
        };
        let held = Held {
            epoch: self.ledger.epoch,
            prompt: key,
            answers: false,
            first,
            tokens_reserved,
            tokens_actual: 0,
            input_tokens,
            output_tokens,
        };
        let decoration = self.decoration(request.authorization);
        let (model, tag) = (body.model(), prompt.tag);
        let answer = Answer {
            key,
            model,
            tag,
            input_tokens,
            output_tokens,
            cut,
            decoration,
        };
        Ok(Admitted {
            endpoint,
            body,
            prompt,
            answer,
            held,
        })
    }

    /// How long the answer to the prompt `key` is, and whether `max` cut it.
    fn output_tokens(&self, key: u64, max: Option<u64>) -> (u64, bool) {
        let (median, sigma) = (
            self.config.output_tokens_median,
            self.config.output_tokens_sigma,
        );
        let drawn = draw::log_normal(median, sigma, &mut Rng::with_seed(!key));
        let wanted = (drawn.round() as u64).clamp(1, OUTPUT_TOKENS_MAX);
        let given = wanted.min(max.unwrap_or(u64::MAX)).max(1);
        (given, given < wanted)
    }

    /// Draws how the admitted request goes.
    fn reply(&mut self, mut admitted: Admitted<'_>, authorization: Option<&str>) -> Reply {
        let fault = draw::fault(&self.config, &mut self.rng);
        let latency = draw::latency(&self.config, &mut self.rng);
        if let Some(fault) = fault {
            self.ledger.failed(fault);
        }
        let held = &mut admitted.held;
        if matches!(fault, None | Some(Fault::Truncate | Fault::Garbage)) {
            // It was generated, whatever becomes of it on the way.
            held.tokens_actual = self
                .config
                .charge
                .tokens(held.input_tokens, held.output_tokens);
        }
        if fault.is_none() {
            held.answers = true;
            self.promised += 1;
        }
        let (generation, action) = match fault {
            Some(Fault::Hang) => (Duration::ZERO, Action::Hang),
            Some(Fault::Reset) => (Duration::ZERO, Action::Reset),
            Some(Fault::Error) => self.break_down(&Refusal::Broken, &admitted, authorization),
            Some(Fault::Overload) => {
                self.break_down(&Refusal::Overloaded, &admitted, authorization)
            }
            Some(Fault::Garbage) => {
                let body = Bytes::from(answer::garbage(&admitted.answer.decoration));
                let headers = self.headers(authorization);
                self.ledger.replied(StatusCode::OK);
                (
                    Duration::ZERO,
                    Action::Respond {
                        status: StatusCode::OK,
                        headers,
                        body,
                    },
                )
            }
            None | Some(Fault::Truncate) => {
                let cut = fault.is_some();
                let headers = self.headers(authorization);
                self.ledger.replied(StatusCode::OK);
                if admitted.body.streams() && admitted.endpoint.can_stream() {
                    self.stream(headers, &admitted, cut)
                } else {
                    self.whole(headers, &admitted, cut)
                }
            }
        };
        Reply {
            delay: latency.saturating_add(generation),
            action,
            ticket: Ticket {
                held: Some(admitted.held),
            },
        }
    }

    fn break_down(
        &mut self,
        refusal: &Refusal,
        admitted: &Admitted<'_>,
        authorization: Option<&str>,
    ) -> (Duration, Action) {
        let headers = self.headers(authorization);
        let model = admitted.answer.model;
        (
            Duration::ZERO,
            self.refuse(refusal, headers, "", model, authorization),
        )
    }

    /// An answer in one piece, or the first half of it, and the time that its tokens take.
    fn whole(&self, headers: HeaderMap, admitted: &Admitted<'_>, cut: bool) -> (Duration, Action) {
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
        (draw::generation(&self.config, answer.output_tokens), action)
    }

    /// An answer in pieces, or the first half of them, and the time to the first piece.
    fn stream(
        &self,
        mut headers: HeaderMap,
        admitted: &Admitted<'_>,
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
            delay: draw::generation(&self.config, tokens),
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
    fn refuse(
        &mut self,
        refusal: &Refusal,
        mut headers: HeaderMap,
        path: &str,
        model: &str,
        authorization: Option<&str>,
    ) -> Action {
        match refusal {
            Refusal::Throttled { denial, told } => {
                self.ledger.throttled(denial.kind);
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

    fn lay_out(&self, json: Vec<u8>) -> Bytes {
        Bytes::from(if self.config.pretty {
            json::spread(&json)
        } else {
            json
        })
    }

    /// The headers of every reply.
    fn headers(&self, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(if self.limits.any_told() { 12 } else { 6 });
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
        rate_headers::append_levels(&mut headers, &self.limits);
        headers
    }

    fn decoration<'a>(&self, authorization: Option<&'a str>) -> Decoration<'a> {
        Decoration {
            authorization: authorization.filter(|_| self.config.echo_headers),
            escape_codes: self.config.escape_codes,
        }
    }
}

impl Endpoint {
    const fn can_stream(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// The prompt of a body for this endpoint, or what is wrong with it.
    fn prompt<'a>(self, body: &'a Body<'_>) -> Result<&'a Text, Refusal> {
        let (name, prompt) = match self {
            Self::Chat => ("messages", &body.messages),
            Self::Completions => ("prompt", &body.prompt),
            Self::Responses | Self::Embeddings => ("input", &body.input),
        };
        let Some(prompt) = prompt else {
            let reason = format!("Missing required parameter: '{name}'.");
            return Err(Refusal::BadRequest(reason));
        };
        if self == Self::Responses && body.streams() {
            let reason = "This server does not stream responses: leave out 'stream'.";
            return Err(Refusal::BadRequest(reason.to_owned()));
        }
        if self == Self::Embeddings && prompt.tags.len() > INPUTS_MAX {
            let reason = format!("'input' has too many elements: at most {INPUTS_MAX}.");
            return Err(Refusal::BadRequest(reason));
        }
        Ok(prompt)
    }
}

#[cfg(test)]
mod tests;
