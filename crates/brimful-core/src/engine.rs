//! One state machine, owned by one task: wiring only. What is decided is decided in `budget`,
//! `retry` and `queue`.
//!
//! Contract: call [`Engine::handle_input`], then drain [`Engine::poll_output`], then wait for the
//! next input or for [`Engine::poll_timeout`], whichever comes first, and say [`Input::Tick`].
//! Calling too early is harmless.

mod cooldown;
mod reach;

use std::collections::VecDeque;
use std::time::Duration;

use crate::adapt::{Found, Sent};
use crate::budget::{Balance, Budget, LimitStatus, Reservation};
use crate::charge::{Charge, ChargeRule, Settlement};
use crate::event::Event;
use crate::limit::{Decision, LimitSpec, LimitSpecError, Never};
use crate::outcome::{Class, Failure, Usage};
use crate::queue::Queue;
use crate::retry::{self, RetryBudget, RetryPolicy, Verdict};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerTable};

use cooldown::Cooldown;
use reach::Reach;

/// A request as its driver numbers it. Numbers are kept small by reusing those of finished
/// requests: the engine keeps an array over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// One attempt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptId {
    /// The request.
    pub request: RequestId,
    /// 1 for the first attempt of the request.
    pub number: u32,
}

/// How the engine is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// All limits of the upstream.
    pub limits: Vec<LimitSpec>,
    /// How failures are answered.
    pub retry: RetryPolicy,
    /// How the provider turns tokens into a charge.
    pub charge_rule: ChargeRule,
    /// Whether it corrects the charge by usage.
    pub settlement: Settlement,
    /// Whether limits that the server does not tell are found out by what it refuses: how it counts
    /// where limits are declared, and how much it allows where none are. Default: no.
    pub finds_out: bool,
    /// Seed of every random choice. Default 0.
    pub seed: u64,
}

impl EngineConfig {
    /// These limits; everything else by default (charge `sum`, settled by nothing, seed 0).
    #[must_use]
    pub const fn new(limits: Vec<LimitSpec>) -> Self {
        Self {
            limits,
            retry: RetryPolicy::new(),
            charge_rule: ChargeRule::Sum,
            settlement: Settlement::None,
            finds_out: false,
            seed: 0,
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// An answer, with the usage that it reported.
    Answered(Option<Usage>),
    /// No answer, though the request was or may have been sent.
    Failed(Failure),
    /// No answer, and the request certainly never left: nothing was charged.
    NotSent(Failure),
    /// The driver gave the attempt up.
    Aborted,
}

/// What the driver tells the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request to be answered once. The queue is as long as the driver makes it: it looks ahead
    /// a bounded number of requests and submits the next when one finishes, never a whole file.
    Submit {
        /// Its number; must not be in use.
        request: RequestId,
        /// What an attempt will cost.
        charge: Charge,
    },
    /// An attempt is over.
    Finished {
        /// Which one.
        attempt: AttemptId,
        /// How.
        result: AttemptResult,
    },
    /// The caller no longer wants the answer.
    Cancel(RequestId),
    /// Start nothing more; what is in flight goes on.
    Stop,
    /// Time has passed.
    Tick,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It ended without an answer: a dead letter.
    Dead(Failure),
    /// It can never fit a limit: a dead letter that was never sent.
    NeverFits(Never),
    /// It was not answered because the run stops or the caller gave up; it may be sent again.
    Abandoned,
}

/// Why nothing starts any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The driver asked for it.
    Asked,
    /// The upstream answers every request the same way: wrong key, empty wallet.
    Upstream(Class),
    /// The upstream answered nothing but 429 for too long.
    OnlyThrottled,
    /// No connection could be made for too long.
    Unreachable,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this request now.
    Start {
        /// The attempt, to be named in [`Input::Finished`].
        attempt: AttemptId,
    },
    /// The request is over; its number is free again.
    Finish {
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Give this attempt up and report it as [`AttemptResult::Aborted`].
    Abort {
        /// The attempt.
        attempt: AttemptId,
    },
    /// For reporters.
    Event(Event),
}

/// What the engine is doing, for progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests that wait to start, backoff included.
    pub queued: usize,
    /// Of these, requests in backoff.
    pub backing_off: usize,
    /// Attempts in flight.
    pub in_flight: usize,
    /// Index of the limit that the head of the queue waits for.
    pub binding: Option<usize>,
    /// End of the cooldown, while there is one.
    pub cooldown_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry {
    /// Its place among all that were ever submitted.
    age: u64,
    charge: Charge,
    /// Attempts so far.
    attempts: u32,
    /// Failures that count against `max_attempts`.
    failed: u32,
    first_attempt: Timestamp,
    started: Timestamp,
    reservation: Option<Reservation>,
    sent: Sent,
    cancelled: bool,
}

/// The engine of one upstream.
#[derive(Debug)]
pub struct Engine {
    retry: RetryPolicy,
    charge_rule: ChargeRule,
    settlement: Settlement,
    budget: Budget,
    found: Option<Found>,
    retry_budget: RetryBudget,
    queue: Queue,
    timers: TimerTable,
    outputs: VecDeque<Output>,
    entries: Vec<Option<Entry>>,
    submitted: u64,
    in_flight: usize,
    binding: Option<usize>,
    cooldown: Cooldown,
    reach: Reach,
    stopped: Option<StopReason>,
    rng: fastrand::Rng,
}

impl Engine {
    /// An engine with nothing to do. Fails when a limit is out of range.
    pub fn new(config: EngineConfig) -> Result<Self, LimitSpecError> {
        Ok(Self {
            retry: config.retry,
            charge_rule: config.charge_rule,
            settlement: config.settlement,
            found: config
                .finds_out
                .then(|| Found::new(Timestamp::ZERO, &config.limits)),
            budget: Budget::new(config.limits)?,
            retry_budget: RetryBudget::new(),
            queue: Queue::default(),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            entries: Vec::new(),
            submitted: 0,
            in_flight: 0,
            binding: None,
            cooldown: Cooldown::default(),
            reach: Reach::default(),
            stopped: None,
            rng: fastrand::Rng::with_seed(config.seed),
        })
    }

    /// Takes one input in. Drain [`Engine::poll_output`] before the next one.
    ///
    /// # Panics
    ///
    /// When a request is submitted under a number that is in use: its answer would be told to the
    /// wrong caller. Nothing that a server says leads to a panic.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Submit { request, charge } => self.submit(now, request, charge),
            Input::Finished { attempt, result } => self.finished(now, attempt, result),
            Input::Cancel(request) => self.cancel(request),
            Input::Stop => self.stop(StopReason::Asked),
            Input::Tick => {}
        }
        self.pump(now);
    }

    /// The next thing to do, until there is none.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to say [`Input::Tick`] if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        Status {
            queued: self.queue.len(),
            backing_off: self.queue.backing_off(),
            in_flight: self.in_flight,
            binding: self.binding,
            cooldown_until: self.cooldown.until(now),
        }
    }

    /// The limits and how well they are used.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitStatus> {
        self.budget.status()
    }

    /// What was reserved, settled and refunded.
    #[must_use]
    pub const fn balance(&self) -> &Balance {
        self.budget.balance()
    }

    /// Why nothing starts any more, if so.
    #[must_use]
    pub const fn stopped(&self) -> Option<&StopReason> {
        self.stopped.as_ref()
    }

    fn submit(&mut self, now: Timestamp, request: RequestId, charge: Charge) {
        let index = request.0 as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        assert!(self.entries[index].is_none(), "{request:?} is in use");
        if self.stopped.is_some() {
            self.finish(request, Outcome::Abandoned);
            return;
        }
        if let Decision::Never(never) = self.budget.decide(now, &charge) {
            self.finish(request, Outcome::NeverFits(never));
            return;
        }
        let age = self.submitted;
        self.submitted += 1;
        self.entries[index] = Some(Entry {
            age,
            charge,
            attempts: 0,
            failed: 0,
            first_attempt: now,
            started: now,
            reservation: None,
            sent: Sent::default(),
            cancelled: false,
        });
        self.queue.push_fresh((age, request));
    }

    fn finished(&mut self, now: Timestamp, attempt: AttemptId, result: AttemptResult) {
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
        self.in_flight -= 1;
        let (sent, charge) = (entry.sent, entry.charge);
        if let Some(found) = &mut self.found {
            match &result {
                AttemptResult::NotSent(_) => found.not_sent(&charge),
                AttemptResult::Failed(failure) if failure.class == Class::Throttled => {}
                _ => found.admitted(now, &sent),
            }
        }
        match result {
            AttemptResult::Answered(usage) => {
                let actual = match self.settlement {
                    Settlement::None => None,
                    Settlement::Usage => usage.map(|usage| self.charge_rule.actual(usage)),
                };
                self.budget.settle(now, reservation, actual);
                self.cooldown.answered();
                self.reach.reached(now);
                self.retry_budget.answered();
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
                self.budget.settle(now, reservation, None);
                self.reach.reached(now);
                if failure.class != Class::Throttled {
                    self.cooldown.interrupted();
                }
                self.failed(now, request, failure);
            }
        }
    }

    fn failed(&mut self, now: Timestamp, request: RequestId, failure: Failure) {
        let entry = self.entries[request.0 as usize]
            .as_mut()
            .expect("looked up by the caller");
        let class = failure.class;
        if class != Class::Throttled {
            entry.failed += 1;
        }
        let (cancelled, failed, started) = (entry.cancelled, entry.failed, entry.started);
        let aged = (entry.age, request);
        let age = now.since(entry.first_attempt);
        // What the upstream says of itself holds even when nobody wants the request any more.
        if class == Class::Throttled {
            let wait = failure.retry_after.filter(|wait| !wait.is_zero());
            let kind = failure.quota.and_then(|quota| quota.kind);
            let (sent, charge) = (entry.sent, entry.charge);
            let unasked = self
                .found
                .as_mut()
                .map(|found| found.refused(now, &sent, &charge, wait, kind));
            self.throttled(now, started, failure.retry_after, unasked);
        }
        let wait = match retry::decide(&self.retry, &failure, failed, age, &mut self.rng) {
            Verdict::StopRun => {
                self.finish(request, Outcome::Abandoned);
                self.stop(StopReason::Upstream(class));
                return;
            }
            _ if cancelled => return self.finish(request, Outcome::Abandoned),
            Verdict::Dead => return self.finish(request, Outcome::Dead(failure)),
            _ if self.stopped.is_some() => return self.finish(request, Outcome::Abandoned),
            Verdict::WithTheModel => {
                self.queue.push_due(aged);
                Duration::ZERO
            }
            Verdict::After(backoff) => {
                let wait = backoff.max(self.retry_budget.take(now));
                self.queue.push_later(aged, now + wait);
                wait
            }
        };
        self.event(Event::Retried {
            request,
            class,
            wait,
        });
    }

    /// The request never left. That is not its fault: it uses up no attempts.
    fn not_sent(&mut self, now: Timestamp, request: RequestId, failure: Failure) {
        let entry = self.entries[request.0 as usize]
            .as_ref()
            .expect("looked up by the caller");
        let (cancelled, started) = (entry.cancelled, entry.started);
        let aged = (entry.age, request);
        let age = now.since(entry.first_attempt);
        let pause = self.reach.not_sent(now, started, &self.retry);
        if let Some(pause) = pause
            && self.cooldown.pause(now + pause)
        {
            let until = now + pause;
            self.event(Event::CooldownStarted { until });
        }
        if self.reach.is_lost(now, &self.retry) {
            self.stop(StopReason::Unreachable);
        }
        // None of its attempts failed, so that not even a single one allowed is used up.
        let verdict = retry::decide(&self.retry, &failure, 0, age, &mut self.rng);
        let class = failure.class;
        let wait = match verdict {
            _ if cancelled || self.stopped.is_some() => {
                return self.finish(request, Outcome::Abandoned);
            }
            Verdict::After(wait) if pause.is_none() => wait,
            Verdict::After(_) | Verdict::WithTheModel => Duration::ZERO,
            Verdict::Dead | Verdict::StopRun => {
                return self.finish(request, Outcome::Dead(failure));
            }
        };
        if wait.is_zero() {
            self.queue.push_due(aged);
        } else {
            self.queue.push_later(aged, now + wait);
        }
        self.event(Event::Retried {
            request,
            class,
            wait,
        });
    }

    /// A 429 for speed: the whole upstream pauses, all waiting requests follow the one model.
    /// Where it did not say for how long, `unasked` does.
    fn throttled(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        retry_after: Option<Duration>,
        unasked: Option<Duration>,
    ) {
        self.budget.drain(now);
        let moved = self
            .cooldown
            .throttled(now, started, retry_after, unasked, &self.retry);
        if let Some(until) = moved {
            self.event(Event::CooldownStarted { until });
        }
        if self.cooldown.only_throttled() >= self.retry.max_throttled_time {
            self.stop(StopReason::OnlyThrottled);
        }
    }

    fn cancel(&mut self, request: RequestId) {
        let entry = self
            .entries
            .get_mut(request.0 as usize)
            .and_then(Option::as_mut);
        let Some(entry) = entry else { return };
        if entry.cancelled {
            return;
        }
        entry.cancelled = true;
        if entry.reservation.is_some() {
            let attempt = AttemptId {
                request,
                number: entry.attempts,
            };
            self.outputs.push_back(Output::Abort { attempt });
        } else {
            self.queue.remove(request);
            self.finish(request, Outcome::Abandoned);
        }
    }

    fn stop(&mut self, reason: StopReason) {
        // A reason of the upstream's is graver than a wish, and the first of them stands.
        let graver = self.stopped == Some(StopReason::Asked) && reason != StopReason::Asked;
        if self.stopped.is_some() && !graver {
            return;
        }
        self.stopped = Some(reason.clone());
        self.event(Event::Stopped { reason });
        for request in self.queue.drain() {
            self.finish(request, Outcome::Abandoned);
        }
    }

    /// Starts everything that may start, and sets the timers for what may not.
    fn pump(&mut self, now: Timestamp) {
        self.timers = TimerTable::new();
        self.binding = None;
        if let Some(found) = &mut self.found {
            found.advance(now);
        }
        if let Some(at) = self.queue.wake(now) {
            self.timers.set(Timer::Retry, at);
        }
        if self.queue.len() + self.in_flight == 0 {
            self.cooldown.interrupted();
        }
        if let Some(until) = self.cooldown.until(now) {
            if self.queue.head().is_some() {
                self.timers.set(Timer::Cooldown, until);
            }
            return;
        }
        if self.cooldown.ends() {
            self.budget.resume(now);
        }
        while let Some(request) = self.queue.head() {
            let entry = self.entries[request.0 as usize]
                .as_mut()
                .expect("queued requests are known");
            if let Some(found) = &self.found {
                let at = found.earliest(now);
                if at > now {
                    self.timers.set(Timer::Admission, at);
                    return;
                }
            }
            match self.budget.reserve(now, entry.charge) {
                Ok(reservation) => {
                    self.queue.pop_head();
                    entry.attempts += 1;
                    entry.started = now;
                    entry.reservation = Some(reservation);
                    if let Some(found) = &mut self.found {
                        entry.sent = found.sent(now, &entry.charge);
                    }
                    if entry.attempts == 1 {
                        entry.first_attempt = now;
                    }
                    self.in_flight += 1;
                    let attempt = AttemptId {
                        request,
                        number: entry.attempts,
                    };
                    self.outputs.push_back(Output::Start { attempt });
                }
                Err(refusal) => match refusal.decision {
                    Decision::Never(never) => {
                        self.queue.pop_head();
                        self.finish(request, Outcome::NeverFits(never));
                    }
                    Decision::WaitUntil(at) => {
                        self.binding = Some(refusal.limit);
                        self.timers.set(Timer::Admission, at);
                        return;
                    }
                    Decision::Go => unreachable!("a refusal is not a grant"),
                },
            }
        }
    }

    fn finish(&mut self, request: RequestId, outcome: Outcome) {
        if let Some(slot) = self.entries.get_mut(request.0 as usize) {
            let ended = slot.take();
            debug_assert!(
                ended.is_none_or(|entry| entry.reservation.is_none()),
                "{request:?} finished with an attempt in flight"
            );
        }
        self.outputs.push_back(Output::Finish { request, outcome });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
