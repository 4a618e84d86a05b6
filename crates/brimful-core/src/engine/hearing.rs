//! What replies say of limits, on its way to those who learn from it.

use super::{AttemptId, AttemptResult, Engine, Entry, Input, Output, RequestId};
use crate::limit::LimitSpec;
use crate::observation::Observation;
use crate::outcome::Class;
use crate::time::Timestamp;

impl Engine {
    /// Keeps what a reply said until it is known whether the reply is a refusal: as a rule the next
    /// input says so.
    pub(super) fn observed(&mut self, attempt: AttemptId, observation: Observation) {
        let entry = self
            .entries
            .get_mut(attempt.request.0 as usize)
            .and_then(Option::as_mut);
        let in_flight =
            |entry: &&mut Entry| entry.attempts == attempt.number && entry.reservation.is_some();
        let Some(entry) = entry.filter(in_flight) else {
            debug_assert!(false, "{attempt:?} is not in flight");
            return;
        };
        if self.upstreams[entry.upstream].learns() {
            entry.observation = Some(Box::new(observation));
            self.heard = Some(attempt);
        }
    }

    /// Takes in what was heard last, unless `input` is the end of that attempt.
    pub(super) fn take_in(&mut self, now: Timestamp, input: &Input) {
        let Some(heard) = self.heard.take() else {
            return;
        };
        if matches!(input, Input::Finished { attempt, .. } if *attempt == heard) {
            return;
        }
        let entry = self.entries.get_mut(heard.request.0 as usize);
        if let Some(Some(entry)) = entry
            && let Some(observation) = entry.observation.take()
        {
            let told = self.upstreams[entry.upstream].told_mut(entry.cost.lane);
            told.observed(now, &entry.mark, &entry.cost, &observation, false);
            told.register(now, &mut self.budget);
            self.outputs.extend(told.events().map(Output::Event));
        }
    }

    /// What an attempt took of the limits that were named, now that it is over.
    pub(super) fn account(&mut self, now: Timestamp, request: RequestId, result: &AttemptResult) {
        let Some(entry) = &mut self.entries[request.0 as usize] else {
            return;
        };
        let upstream = &mut self.upstreams[entry.upstream];
        if !upstream.learns() {
            return;
        }
        let refused = matches!(result, AttemptResult::Failed(failure) if failure.quota.is_some());
        let limits = upstream.limits.iter().filter(|_| refused);
        let declared: Vec<LimitSpec> = limits
            .map(|&limit| self.budget.spec(limit).clone())
            .collect();
        let usage = match result {
            AttemptResult::Answered(usage) => usage.map(|usage| upstream.weigh(usage)),
            _ => None,
        };
        let told = upstream.told_mut(entry.cost.lane);
        let (mark, cost) = (&entry.mark, &entry.cost);
        told.over();
        let refusal = match result {
            AttemptResult::Failed(failure) if failure.class == Class::Throttled => Some(failure),
            _ => None,
        };
        if refusal.is_some() || matches!(result, AttemptResult::NotSent(_)) {
            told.voided(now, mark, cost);
        }
        if let Some(observation) = entry.observation.take() {
            told.observed(now, mark, cost, &observation, refusal.is_some());
        }
        if let Some(failure) = refusal {
            told.refused(now, mark, cost, failure.quota.as_ref(), &declared);
        }
        if let Some(usage) = usage {
            told.ended(now, cost, &usage);
        }
        told.register(now, &mut self.budget);
        self.outputs.extend(told.events().map(Output::Event));
    }
}
