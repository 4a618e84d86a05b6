//! How an admitted request goes: its latency and what goes wrong with it.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::Server;
use super::admission::Admitted;
use crate::answer;
use crate::config::Charge;
use crate::draw::{self, Fault};
use crate::refusal::Refusal;
use crate::reply::{Action, Held, Reply, Ticket};

impl Server {
    /// Draws how the admitted request goes.
    pub(super) fn reply(
        &mut self,
        mut admitted: Admitted<'_>,
        authorization: Option<&str>,
    ) -> Reply {
        let fault = draw::fault(&self.config, &mut self.rng);
        let slowdown = draw::slowdown(&self.config, self.ledger.in_flight());
        let latency = draw::latency(&self.config, slowdown, &mut self.rng);
        let service =
            latency + draw::generation(&self.config, slowdown, admitted.held.output_tokens);
        let latency = latency + self.line.take(self.now, self.config.slots, service);
        if let Some(fault) = fault {
            self.ledger.failed(fault);
        }
        let held = &mut admitted.held;
        if matches!(fault, None | Some(Fault::Truncate | Fault::Garbage)) {
            // It was generated, whatever becomes of it on the way.
            self.generate(held, latency, slowdown);
        } else {
            held.failed = true;
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
                let headers = self.headers(&admitted.route, authorization);
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
                let headers = self.headers(&admitted.route, authorization);
                self.ledger.replied(StatusCode::OK);
                if admitted.endpoint.streams(admitted.body) {
                    self.stream(headers, &admitted, slowdown, cut)
                } else {
                    self.whole(headers, &admitted, slowdown, cut)
                }
            }
        };
        Reply {
            delay: latency.saturating_add(generation),
            first_byte: latency,
            action,
            ticket: Ticket {
                held: Some(admitted.held),
            },
        }
    }

    /// What generating an answer takes from the limits.
    fn generate(&mut self, held: &mut Held, latency: Duration, slowdown: f64) {
        let charge = self.config.charge;
        held.actual = charge
            .charges(held.input_tokens, Some(held.output_tokens))
            .scaled(self.config.charge_scale);
        if charge == Charge::Produced {
            let first_byte = self.now + latency;
            let generation = draw::generation(&self.config, slowdown, held.output_tokens);
            let (tokens, epoch) = (held.output_tokens, held.epoch);
            held.growing = self.production.start(first_byte, generation, tokens, epoch);
            self.wake_at(first_byte);
        }
    }

    fn break_down(
        &mut self,
        refusal: &Refusal,
        admitted: &Admitted<'_>,
        authorization: Option<&str>,
    ) -> (Duration, Action) {
        let headers = self.headers(&admitted.route, authorization);
        let model = admitted.answer.model;
        (
            Duration::ZERO,
            self.refuse(refusal, headers, &admitted.route, model, authorization),
        )
    }
}
