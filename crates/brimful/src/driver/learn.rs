//! What replies say of limits, on its way to the engine, and what is learnt, on its way to people.

use brimful_core::{AttemptId, Event, Input, Observation, Timestamp};
use serde_json::json;

use super::Driver;
use crate::attempt::{EarlyReport, Told};
use crate::limits;
use crate::progress::Notice;

/// Notices that a run gives at most; a server may name another limit in each reply.
const NOTICES_MAX: usize = 200;

impl Driver<'_> {
    /// A stream has begun.
    pub(super) fn told_early(&mut self, (slot, told): EarlyReport) {
        let flight = self.flights[slot].as_ref();
        let Some(attempt) = flight.and_then(|flight| flight.attempt) else {
            return;
        };
        let now = self.options.clock.now();
        match told {
            Told::Limits(observation) => self.observed(now, attempt, observation),
            Told::FirstEvent => self.input_at(now, Input::FirstByte(attempt)),
        }
    }

    pub(super) fn observed(
        &mut self,
        now: Timestamp,
        attempt: AttemptId,
        observation: Observation,
    ) {
        self.input_at(
            now,
            Input::Observed {
                attempt,
                observation,
            },
        );
    }

    /// Tells people, once.
    pub(super) fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES_MAX {
            self.notices.push(notice);
        }
    }

    /// Tells of what was learnt about limits: in the trace, to the log, to people.
    pub(super) fn learnt(&mut self, now: Timestamp, event: &Event) {
        let Some((what, text)) = told(event) else {
            return;
        };
        // Limits that are learnt come after those that were known.
        self.name_limits();
        let mut line = what;
        line["at_ms"] = self.options.clock.unix_ms(now).into();
        self.outputs.event(&line);
        self.notice(Notice::info(text));
    }
}

/// What happened, for programs and for people; `None` for what concerns no limit.
fn told(event: &Event) -> Option<(serde_json::Value, String)> {
    Some(match event {
        Event::LimitLearned {
            limit,
            kind,
            amount,
            window,
            ..
        } => {
            let (counts, window_s) = (limits::counts(*kind), window.as_secs_f64());
            (
                json!({
                    "event": "limit_learned", "limit": limit, "counts": counts,
                    "amount": amount, "window_s": window_s,
                }),
                format!("learnt limit {limit}: {amount} {counts} in {window_s} s"),
            )
        }
        Event::LimitChanged {
            limit, from, to, ..
        } => (
            json!({ "event": "limit_changed", "limit": limit, "from": from, "to": to }),
            format!("limit {limit} has changed from {from} to {to}"),
        ),
        Event::ForeignUse {
            limit, permille, ..
        } => {
            let percent = f64::from(*permille) / 10.0;
            (
                json!({ "event": "foreign_use", "limit": limit, "percent": percent }),
                format!("others take {percent} % of limit {limit}"),
            )
        }
        Event::ChargeLearned {
            kind,
            rule,
            permille,
            ..
        } => {
            let (counts, factor) = (limits::counts(*kind), f64::from(*permille) / 1000.0);
            let rule = limits::charge_name(*rule);
            (
                json!({
                    "event": "charge_learned", "counts": counts, "rule": rule, "factor": factor,
                }),
                format!("the server counts {counts} by {rule}, times {factor}"),
            )
        }
        Event::HeadersDoubted { limit, doubted, .. } => (
            json!({ "event": "headers_doubted", "limit": limit, "doubted": doubted }),
            match doubted {
                true => format!(
                    "what the server says of limit {limit} contradicts itself and is passed over"
                ),
                false => format!("what the server says of limit {limit} is believed again"),
            },
        ),
        _ => return None,
    })
}
