//! Starts everything that may start, and sets the timers for what may not.

use super::setup::upstream_id;
use super::{AttemptId, Engine, Outcome, Output};
use crate::charge::{Charge, Lane};
use crate::engine::RequestId;
use crate::time::Timestamp;
use crate::timer::{Timer, TimerTable};
use crate::upstream::{Asked, Choice, Way};

impl Engine {
    pub(super) fn pump(&mut self, now: Timestamp) {
        self.timers = TimerTable::new();
        self.binding = None;
        if let Some(at) = self.queue.wake(now) {
            self.timers.set(Timer::Retry, at);
        }
        self.wake_upstreams(now);
        self.budget.ramp_up(now);
        self.holds.clear();
        self.queue.begin_round();
        let mut waiting = false;
        while let Some((lane, request)) = self.queue.head() {
            let ways = &self.lanes[usize::from(lane.0)].ways;
            let next_since = match ways.len() {
                // Only where there is a choice it matters how long somebody waits.
                1 => now,
                _ => self.queue.next_since(now, lane),
            };
            let entry = self.entries[request.0 as usize]
                .as_ref()
                .expect("queued requests are known");
            let asked = Asked {
                now,
                cost: &entry.cost,
                ways,
                next_since,
                avoid: entry.avoid,
                holds: &self.holds,
            };
            match self
                .chooser
                .choose(&asked, &mut self.upstreams, &self.budget)
            {
                Choice::Start { way, charge } => self.start(now, lane, request, way, charge),
                Choice::Never(never) => self.give_up(lane, request, Outcome::NeverFits(never)),
                Choice::Nowhere => self.give_up(lane, request, Outcome::NoUpstream),
                Choice::Wait(wait) => {
                    self.timers.set(wait.timer, wait.until);
                    if !waiting {
                        self.binding = wait.limit();
                    }
                    waiting = true;
                    self.queue.set_aside(lane);
                    wait.tell(now, &mut self.budget);
                    if self.queue.others_are_ready() {
                        wait.hold(&self.budget, &mut self.holds);
                    }
                }
            }
        }
        if waiting && let Some(at) = self.budget.rises_at() {
            self.timers.set(Timer::Ramp, at);
        }
    }

    #[inline]
    fn wake_upstreams(&mut self, now: Timestamp) {
        let idle = self.queue.len() + self.in_flight == 0;
        for upstream in &mut self.upstreams {
            if idle {
                upstream.idle();
            }
            if upstream.wake(now) {
                self.budget.resume_limits(now, &upstream.limits);
                for told in upstream.each_told() {
                    told.resume(now);
                }
            }
        }
    }

    #[inline]
    fn start(&mut self, now: Timestamp, lane: Lane, request: RequestId, way: Way, charge: Charge) {
        self.queue.pop_head(lane);
        let entry = self.entries[request.0 as usize]
            .as_mut()
            .expect("queued requests are known");
        entry.attempts += 1;
        entry.started = now;
        entry.reservation = Some(self.budget.take(now, way.route, charge));
        if self.upstreams[way.upstream].learns() {
            let told = self.upstreams[way.upstream].told_mut(lane);
            entry.mark = told.sent(now, &entry.cost, &mut self.budget);
        }
        entry.upstream = way.upstream;
        if entry.attempts == 1 {
            entry.first_attempt = now;
        }
        let upstream = &mut self.upstreams[way.upstream];
        entry.sent = upstream.found_mut().sent(now, lane, &charge);
        upstream.in_flight += 1;
        self.in_flight += 1;
        let attempt = AttemptId {
            request,
            number: entry.attempts,
        };
        let upstream = upstream_id(way.upstream);
        self.outputs.push_back(Output::Start { attempt, upstream });
    }

    fn give_up(&mut self, lane: Lane, request: RequestId, outcome: Outcome) {
        self.queue.pop_head(lane);
        self.finish(request, outcome);
    }
}
