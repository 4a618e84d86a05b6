//! How an admitted request goes: its latency and what goes wrong with it.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::Server;
use super::admission::Admitted;
use crate::answer;
use crate::draw::{self, Fault};
use crate::refusal::Refusal;
use crate::reply::{Action, Reply, Ticket};

impl Server {
    /// Draws how the admitted request goes.
    pub(super) fn reply(
        &mut self,
        mut admitted: Admitted<'_>,
        authorization: Option<&str>,
    ) -> Reply {
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
}
