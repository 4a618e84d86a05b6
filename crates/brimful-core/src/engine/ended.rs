//! What becomes of a request when one of its attempts is over, and what the attempt says of its
//! upstream.

use std::time::Duration;

use super::setup::upstream_id;
use super::{AttemptId, AttemptResult, Engine, Outcome, RequestId};
use crate::budget::Reservation;
use crate::charge::Lane;
use crate::event::Event;
use crate::outcome::{Class, Failure};
use crate::queue::Aged;
use crate::retry::{self, Verdict};
use crate::time::Timestamp;

/// An attempt that is over.
struct Ended {
    request: RequestId,
    aged: Aged,
    lane: Lane,
    upstream: usize,
    started: Timestamp,
    /// Failures of the request that count.
    failed: u32,
    /// Time since its first attempt.
    age: Duration,
    cancelled: bool,
}

impl Engine {
    pub(super) fn finished(&mut self, now: Timestamp, attempt: AttemptId, result: AttemptResult) {
        let request = attempt.request;
        let entry = self
            .entries
            .get_mut(request.0 as usize)
            .and_then(Option::as_mut);
        let Some(entry) = entry.filter(|entry| entry.attempts == attempt.number) else {
            debug_assert!(false, "{attempt:?} is not known");
            return;
        };
        let Some(reservation) = entry.reservation.take() else {
            debug_assert!(false, "{attempt:?} ended twice");
            return;
        };
        let upstream = entry.upstream;
        self.in_flight -= 1;
        self.upstreams[upstream].in_flight -= 1;
        let lane = entry.cost.lane;
        let sent = entry.sent;
        let charge = *reservation.charge();
        self.account(now, request, &result);
        let found = self.upstreams[upstream].found_mut();
        let unasked = found.ended(now, lane, (&sent, &charge), &result);
        match result {
            AttemptResult::Answered(usage) => {
                let state = &mut self.upstreams[upstream];
                let actual = state.actual(lane, reservation.charge(), usage);
                let is_well_again = state.answered(now);
                self.budget.settle(now, reservation, actual);
                self.retry_budget.answered();
                if is_well_again {
                    let upstream = upstream_id(upstream);
                    self.event(Event::UpstreamWell { upstream });
                }
                self.finish(request, Outcome::Answered);
            }
            AttemptResult::Aborted => {
                self.budget.settle(now, reservation, None);
                self.finish(request, Outcome::Abandoned);
            }
            AttemptResult::NotSent(failure) => {
                self.budget.refund(now, reservation);
                self.not_sent(now, request, failure);
            }
            AttemptResult::Failed(failure) => {
                self.failed(now, request, reservation, failure, unasked);
            }
        }
    }

    /// `counts`: whether the failure uses up one of the request's attempts.
    fn ended(
        &mut self,
        now: Timestamp,
        request: RequestId,
        failure: &Failure,
        counts: bool,
    ) -> Ended {
        let entry = self.entries[request.0 as usize]
            .as_mut()
            .expect("looked up by the caller");
        entry.failed += u32::from(counts);
        if failure.class != Class::Throttled {
            entry.avoid = Some(entry.upstream);
        }
        Ended {
            request,
            aged: (entry.age, request),
            lane: entry.cost.lane,
            upstream: entry.upstream,
            started: entry.started,
            failed: entry.failed,
            age: now.since(entry.first_attempt),
            cancelled: entry.cancelled,
        }
    }

    fn failed(
        &mut self,
        now: Timestamp,
        request: RequestId,
        reservation: Reservation,
        failure: Failure,
        unasked: Option<Duration>,
    ) {
        let class = failure.class;
        let ended = self.ended(now, request, &failure, retry::counts(&failure));
        let route = reservation.route();
        self.budget.settle(now, reservation, None);
        // What the upstream says of itself holds even when nobody wants the request any more.
        self.is_ill(now, &ended, class);
        if class == Class::Throttled {
            self.budget.drain_route(now, route);
            self.throttled(now, &ended, failure.retry_after, unasked);
        }
        let verdict = retry::decide(
            &self.retry,
            &failure,
            ended.failed,
            ended.age,
            &mut self.rng,
        );
        let wait = match verdict {
            Verdict::UpstreamOut => return self.upstream_out(now, &ended, &failure),
            _ if ended.cancelled => return self.finish(request, Outcome::Abandoned),
            Verdict::Dead => return self.finish(request, Outcome::Dead(failure)),
            _ if self.stopped.is_some() => return self.finish(request, Outcome::Abandoned),
            Verdict::WithTheModel => Duration::ZERO,
            Verdict::After(backoff) => backoff.max(self.retry_budget.take(now)),
        };
        let at_once = verdict == Verdict::WithTheModel;
        self.requeue(now, &ended, class, (!at_once).then_some(wait));
    }

    /// The request never left. That is not its fault: it uses up no attempts.
    fn not_sent(&mut self, now: Timestamp, request: RequestId, failure: Failure) {
        let class = failure.class;
        let ended = self.ended(now, request, &failure, false);
        let state = &mut self.upstreams[ended.upstream];
        let pause = state.not_sent(now, ended.started, &self.retry);
        if let Some((until, true)) = pause {
            let upstream = upstream_id(ended.upstream);
            self.event(Event::CooldownStarted { upstream, until });
        }
        self.stop_if_none_is_left(now, ended.upstream);
        // None of its attempts failed, so that not even a single one allowed is used up.
        let verdict = retry::decide(&self.retry, &failure, 0, ended.age, &mut self.rng);
        let wait = match verdict {
            _ if ended.cancelled || self.stopped.is_some() => {
                return self.finish(request, Outcome::Abandoned);
            }
            Verdict::After(wait) if pause.is_none() => wait,
            Verdict::After(_) | Verdict::WithTheModel => Duration::ZERO,
            Verdict::Dead | Verdict::UpstreamOut => {
                return self.finish(request, Outcome::Dead(failure));
            }
        };
        self.requeue(now, &ended, class, (!wait.is_zero()).then_some(wait));
    }

    /// Puts a request back: in backoff for `wait`, or ready at once.
    fn requeue(&mut self, now: Timestamp, ended: &Ended, class: Class, wait: Option<Duration>) {
        if !self.is_served(ended.lane) {
            return self.finish(ended.request, Outcome::NoUpstream);
        }
        match wait {
            Some(wait) => self.queue.push_later(ended.lane, ended.aged, now + wait),
            None => self.queue.push_due(ended.lane, ended.aged),
        }
        self.event(Event::Retried {
            request: ended.request,
            class,
            wait: wait.unwrap_or_default(),
        });
    }

    fn is_ill(&mut self, now: Timestamp, ended: &Ended, class: Class) {
        let upstream = &mut self.upstreams[ended.upstream];
        if let Some(until) = upstream.failed(now, ended.started, class, &self.retry) {
            let upstream = upstream_id(ended.upstream);
            self.event(Event::UpstreamIll { upstream, until });
        }
    }

    /// A 429 for speed: the whole upstream pauses, all waiting requests follow the one model.
    /// Where it did not say for how long, `unasked` may.
    fn throttled(
        &mut self,
        now: Timestamp,
        ended: &Ended,
        retry_after: Option<Duration>,
        unasked: Option<Duration>,
    ) {
        let upstream = &mut self.upstreams[ended.upstream];
        let moved = upstream.throttled(now, ended.started, (retry_after, unasked), &self.retry);
        if let Some(until) = moved {
            let upstream = upstream_id(ended.upstream);
            self.event(Event::CooldownStarted { upstream, until });
        }
        self.stop_if_none_is_left(now, ended.upstream);
    }

    /// The upstream is of no use to any request, or at least not until a quota of its resets.
    fn upstream_out(&mut self, now: Timestamp, ended: &Ended, failure: &Failure) {
        let class = failure.class;
        // Who has no other upstream wants to hear of it now, and not after the night.
        let others = self.upstreams.iter().enumerate();
        let mut others = others.filter(|&(index, _)| index != ended.upstream);
        let has_others = others.any(|(_, other)| other.is_usable() && !other.is_parked(now));
        let state = &mut self.upstreams[ended.upstream];
        let upstream = upstream_id(ended.upstream);
        let reset = failure.retry_after.filter(|wait| {
            class == Class::Exhausted && has_others && *wait <= self.retry.max_request_time
        });
        if let Some(wait) = reset
            && state.park(now, ended.started, now + wait)
        {
            let until = now + wait;
            self.event(Event::UpstreamParked { upstream, until });
        } else {
            if state.out(class) {
                self.event(Event::UpstreamOut { upstream, class });
            }
            self.stop_if_none_is_left(now, ended.upstream);
        }
        if ended.cancelled || self.stopped.is_some() {
            return self.finish(ended.request, Outcome::Abandoned);
        }
        self.requeue(now, ended, class, None);
        self.abandon_what_nobody_serves();
    }

    /// Stops if nothing is to be hoped for from any upstream, for the reason of this one.
    fn stop_if_none_is_left(&mut self, now: Timestamp, upstream: usize) {
        let Some(reason) = self.upstreams[upstream].lost(now, &self.retry) else {
            return;
        };
        let mut left = self.upstreams.iter().filter(|other| !other.is_retired());
        if left.all(|other| other.lost(now, &self.retry).is_some()) {
            self.stop(reason);
        }
    }
}
