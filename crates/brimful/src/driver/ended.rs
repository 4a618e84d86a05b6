//! Attempts that are over: answers are kept, failures remembered, the engine is told.

use brimful_core::{AttemptResult, Input};

use super::{Driver, EndCause, Flight, WaitedFor};
use crate::attempt::{AttemptEnd, Report};
use crate::clock::Clock;
use crate::journal::Answer;
use crate::request::Request;
use crate::trace::AttemptRecord;

/// Attempts that a request remembers.
const TRAIL_MAX: usize = 100;

impl Driver<'_> {
    /// Takes in what ended in one turn. The answers are written together, and before anyone is told
    /// of any of them: a request is in flight until its line is written.
    pub(super) fn attempts_ended(&mut self, reports: &mut Vec<Report>) {
        let kept = self.keep_answers(reports);
        for ((slot, end), kept) in reports.drain(..).zip(kept) {
            self.attempt_ended(slot, end, kept);
        }
    }

    /// Says of each report whether it is an answer that is kept.
    fn keep_answers(&mut self, reports: &[Report]) -> Vec<bool> {
        let flights = &self.flights;
        let answers = reports.iter().enumerate().filter_map(|(at, (slot, end))| {
            let flight = flights[*slot].as_ref()?;
            let is_answer = matches!(end.result, AttemptResult::Answered(_));
            is_answer.then(|| (at, answer(&flight.request, end)))
        });
        let (places, answers): (Vec<_>, Vec<_>) = answers.unzip();
        let mut kept = vec![false; reports.len()];
        let mut written = Ok(());
        for (at, outcome) in places.into_iter().zip(self.outputs.keep(&answers)) {
            kept[at] = outcome.is_ok();
            written = written.and(outcome);
        }
        // Before the first of these requests ends: the engine would start another in its place.
        self.written(written);
        self.stop_if_there_is_cause(self.options.clock.now());
        kept
    }

    fn attempt_ended(&mut self, slot: usize, mut end: AttemptEnd, kept: bool) {
        let now = self.options.clock.now();
        let observation = end.observation.take();
        let Some(flight) = self.flights[slot].as_mut() else {
            return;
        };
        let Some(attempt) = flight.attempt.take() else {
            return;
        };
        flight.abort = None;
        let clock = &self.options.clock;
        let ended = clock.timestamp(end.ended);
        self.tally
            .attempt_ended(&end.result, ended.since(flight.started));
        let upstream = flight.upstream;
        self.upstreams[upstream].ended(&end.result);
        let place = self.upstream_names.get(upstream);
        let names = &self.limit_names;
        let mut result = end.result.clone();
        match &end.result {
            AttemptResult::Answered(usage) => {
                let request = &flight.request;
                let told = match kept {
                    true => self.outputs.answer(request, &answer(request, &end)),
                    false => Ok(()),
                };
                if kept && told.is_ok() {
                    if self.outputs.tells_of_attempts() {
                        let mut record = record(clock, names, flight, attempt.number, &end);
                        record.upstream = place.cloned();
                        self.outputs.attempt(request, &record);
                    }
                    let total = ended.since(flight.enqueued);
                    let first_wait = flight.started.since(flight.enqueued);
                    self.tally.answered(first_wait, total, *usage);
                } else {
                    self.unwritten_ids.push(request.id.clone());
                    // It was answered and paid, but nobody will ever see it: a rerun repeats it.
                    result = AttemptResult::Aborted;
                }
                self.written(told);
            }
            AttemptResult::Failed(_) | AttemptResult::NotSent(_) => {
                self.attempt_failed(slot, attempt.number, end);
            }
            AttemptResult::Aborted => {
                self.abandoned_ids.push(flight.request.id.clone());
            }
        }
        if self.spending_cap_reached() {
            self.stop_for(EndCause::SpendingCap);
        }
        // Before the engine hears of the free place: it would fill it.
        self.stop_if_there_is_cause(now);
        if let Some(observation) = observation {
            self.observed(now, attempt, observation);
        }
        self.input_at(now, Input::Finished { attempt, result });
    }

    /// Remembers a failure for its request, and what it says of the upstream.
    fn attempt_failed(&mut self, slot: usize, number: u32, end: AttemptEnd) {
        let (AttemptResult::Failed(failure) | AttemptResult::NotSent(failure)) = &end.result else {
            return;
        };
        let Some(flight) = self.flights[slot].as_mut() else {
            return;
        };
        let mut record = record(&self.options.clock, &self.limit_names, flight, number, &end);
        record.upstream = self.upstream_names.get(flight.upstream).cloned();
        self.outputs.attempt(&flight.request, &record);
        // The first attempts tell how it began, the last ones how it ended.
        if flight.trail.len() == TRAIL_MAX {
            flight.trail.remove(TRAIL_MAX / 2);
        }
        flight.trail.push(record);
        let failure = failure.clone();
        let end = flight.last.insert(end);
        let said = format!("{} ({})", end.message, end.code);
        let (status, unreachable) = (end.status, end.code == "cannot_connect");
        self.upstream_said(&failure, status, unreachable, said);
        self.written(Ok(()));
    }
}

fn answer<'a>(request: &'a Request, end: &'a AttemptEnd) -> Answer<'a> {
    Answer {
        fingerprint: request.fingerprint,
        custom_id: &request.id,
        status_code: end.status.unwrap_or(200),
        request_id: end.request_id.as_deref(),
        body: end.body.as_deref().unwrap_or(b"null"),
    }
}

/// What is told of attempt number `number`, which is over.
fn record(
    clock: &Clock,
    limit_names: &[String],
    flight: &Flight,
    number: u32,
    end: &AttemptEnd,
) -> AttemptRecord {
    let waited_for = match flight.waited_for {
        Some(WaitedFor::Limit(index)) => limit_names.get(index).cloned(),
        Some(WaitedFor::Cooldown) => Some("cooldown".to_owned()),
        Some(WaitedFor::Backoff) => Some("backoff".to_owned()),
        None => None,
    };
    let times = (flight.enqueued, flight.started, clock.timestamp(end.ended));
    let before = flight.trail.last();
    AttemptRecord::new(clock, number, times, waited_for, before, end)
}
