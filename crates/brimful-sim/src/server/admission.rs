//! Charging a request to all limits, or refusing it.

use std::time::Duration;

use fastrand::Rng;

use super::Server;
use super::route::Refused;
use crate::answer::Answer;
use crate::config::{OUTPUT_TOKENS_MAX, RetryAfterStyle};
use crate::draw;
use crate::endpoint::{Endpoint, Route};
use crate::hash::hash64;
use crate::limits::{Charges, Wait};
use crate::prompt::{Body, Text};
use crate::rate_headers;
use crate::refusal::Refusal;
use crate::reply::{Held, IncomingRequest};

/// An admitted request on its way to a reply.
pub(super) struct Admitted<'a> {
    pub(super) route: Route<'a>,
    pub(super) endpoint: Endpoint,
    pub(super) body: &'a Body<'a>,
    pub(super) prompt: &'a Text,
    pub(super) answer: Answer<'a>,
    pub(super) held: Held,
}

impl Server {
    /// Charges the request to all limits, or refuses it.
    pub(super) fn admit<'a>(
        &mut self,
        endpoint: Endpoint,
        body: &'a Body<'a>,
        prompt: &'a Text,
        route: &Route<'a>,
        request: &IncomingRequest<'a>,
    ) -> Result<Admitted<'a>, Refused> {
        let model = route.model.unwrap_or_else(|| body.model());
        let input_tokens = prompt.tokens() + body.instruction_tokens();
        let output_max = match endpoint {
            Endpoint::Embeddings => 0,
            _ => body
                .max_output()
                .unwrap_or(self.config.default_output_tokens),
        };
        let output_max = (endpoint != Endpoint::Embeddings).then_some(output_max);
        let reserved = self
            .charge(input_tokens, output_max)
            .map_err(|refusal| Refused {
                refusal,
                model: model.to_owned(),
            })?;
        let first = self.ledger.admitted(self.now, reserved.tokens);
        let key = hash64(hash64(self.seed, route.path.as_bytes()), request.body);
        let (output_tokens, cut) = match endpoint {
            Endpoint::Embeddings => (0, false),
            _ => self.output_tokens(key, body.max_output()),
        };
        let held = Held {
            epoch: self.ledger.epoch,
            at: self.now,
            prompt: key,
            answers: false,
            failed: false,
            first,
            reserved,
            // Until something is generated: the request itself, and none of its tokens.
            actual: Charges {
                requests: 1,
                ..Charges::default()
            },
            input_tokens,
            output_tokens,
            growing: None,
        };
        let decoration = self.decoration(request.authorization);
        let tag = prompt.tag;
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
            route: *route,
            endpoint,
            body,
            prompt,
            answer,
            held,
        })
    }

    /// Takes what a request of so many tokens takes, of all limits or of none. `output_max` is
    /// `None` where there is no output by nature.
    fn charge(&mut self, input: u64, output_max: Option<u64>) -> Result<Charges, Refusal> {
        let charge = self.config.charge;
        let scale = self.config.charge_scale;
        let reserved = charge.charges(input, output_max).scaled(scale);
        let need = charge.needs(reserved, output_max.is_some());
        let in_flight = self.ledger.in_flight();
        let judged = self.limits.admit(self.now, need, reserved, in_flight);
        let outcome = judged.map_err(|denial| denial.wait);
        self.ledger.judged(self.now, reserved.tokens, outcome);
        judged.map(|()| reserved).map_err(|denial| {
            let told = match denial.wait {
                Wait::Time(wait) => {
                    rate_headers::told_wait(self.config.retry_after, wait, &mut self.rng)
                }
                Wait::Slot | Wait::Forever => Duration::ZERO,
            };
            let silent = self.config.retry_after == RetryAfterStyle::Silent;
            Refusal::Throttled {
                denial,
                told: (!silent).then_some(told),
            }
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
}
