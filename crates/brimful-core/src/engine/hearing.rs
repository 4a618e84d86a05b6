//! What replies say of limits, on its way to those who learn from it.

use super::{AttemptId, AttemptResult, Engine, Entry, Output, RequestId};
use crate::observation::Observation;
use crate::outcome::Class;
use crate::time::Timestamp;

impl Engine {
    pub(super) fn observed(
        &mut self,
        now: Timestamp,
        attempt: AttemptId,
        observation: Observation,
    ) {
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
        let told = self.upstreams[entry.upstream].told_mut(entry.cost.lane);
        told.observed(now, &entry.mark, &entry.cost, &observation, false);
        told.register(now, &mut self.budget);
        self.outputs.extend(told.events().map(Output::Event));
        entry.observation = Some(Box::new(observation));
    }

    /// What an attempt took of the limits that were named, now that it is over.
    pub(super) fn account(&mut self, now: Timestamp, request: RequestId, result: &AttemptResult) {
        let Some(entry) = &mut self.entries[request.0 as usize] else {
            return;
        };
        let told = self.upstreams[entry.upstream].told_mut(entry.cost.lane);
        let (mark, cost) = (&entry.mark, &entry.cost);
        told.over();
        let observation = entry.observation.take();
        match result {
            AttemptResult::Answered(Some(usage)) => told.ended(now, cost, usage),
            AttemptResult::NotSent(_) => told.voided(now, mark, cost),
            AttemptResult::Failed(failure) if failure.class == Class::Throttled => {
                told.voided(now, mark, cost);
                // Only now it is known that the request took nothing.
                if let Some(observation) = observation {
                    told.observed(now, mark, cost, &observation, true);
                }
                told.refused(now, mark, cost, failure.quota.as_ref());
                told.register(now, &mut self.budget);
            }
            _ => {}
        }
        self.outputs.extend(told.events().map(Output::Event));
    }
}
