//! One state machine, owned by one task: wiring only. What is decided is decided in `budget`,
//! `upstream`, `retry` and `queue`.
//!
//! Contract: call [`Engine::handle_input`], then drain [`Engine::poll_output`], then wait for the
//! next input or for [`Engine::poll_timeout`], whichever comes first, and say [`Input::Tick`].
//! Calling too early is harmless.

mod config;
mod ended;
mod hearing;
mod pump;
mod setup;

use crate::adapt::{Mark, Sent};
use crate::budget::{Balance, Budget, LimitStatus, Reservation};
use crate::charge::{Cost, Lane};
use crate::event::Event;
use crate::learned::Learned;
use crate::limit::{Never, Taken};
use crate::observation::Observation;
use crate::outcome::{Class, Failure, Usage};
use crate::queue::Queue;
use crate::retry::{RetryBudget, RetryPolicy};
use crate::time::Timestamp;
use crate::timer::{Timer, TimerTable};
use crate::upstream::{Chooser, Hold, Upstream, UpstreamId, UpstreamStatus, Way};
use std::collections::VecDeque;

pub use config::{EngineConfig, EngineConfigError};

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
        /// What an attempt will cost, and the lane that it goes in.
        cost: Cost,
    },
    /// The first byte of a streamed answer has come; to be said at once. Nothing else needs it than
    /// an upstream whose places are searched ([`Learning::Concurrency`](crate::Learning)).
    FirstByte(AttemptId),
    /// The reply to an attempt has named levels of limits. To be given before [`Input::Finished`],
    /// as soon as the headers are read.
    Observed {
        /// Which attempt.
        attempt: AttemptId,
        /// What they say.
        observation: Observation,
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
    /// Other upstreams and limits from now on. Upstreams are known again by their names, limits by
    /// name and kind within theirs; what was taken stays counted, what is in flight goes on. The
    /// policy of retries and the seed stay as they are. A configuration that is not valid changes
    /// nothing: [`Event::Reconfigured`] says which it was.
    Reconfigure(Box<EngineConfig>),
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
    /// It can never fit a limit of any upstream that serves it: a dead letter that was never sent.
    NeverFits(Never),
    /// No upstream that serves its lane is left: wrong keys, empty wallets, or none ever did.
    /// Others go on; it may be sent again.
    NoUpstream,
    /// It was not answered because the run stops or the caller gave up; it may be sent again.
    Abandoned,
}

/// Why nothing starts any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The driver asked for it.
    Asked,
    /// Every upstream answers all requests the same way: wrong key, empty wallet.
    Upstream(Class),
    /// No upstream is left, and the last one answered nothing but 429 for too long.
    OnlyThrottled,
    /// No upstream is left, and to the last one no connection could be made for too long.
    Unreachable,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this request now.
    Start {
        /// The attempt, to be named in [`Input::Finished`].
        attempt: AttemptId,
        /// Where to.
        upstream: UpstreamId,
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
    /// Index in [`Engine::limits`] of the limit that the oldest request waits for where it can
    /// start first.
    pub binding: Option<usize>,
    /// The earliest end of a pause, while all upstreams that are of use pause.
    pub cooldown_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry {
    /// Its place among all that were ever submitted.
    age: u64,
    cost: Cost,
    /// Attempts so far.
    attempts: u32,
    /// Failures that count against `max_attempts`.
    failed: u32,
    first_attempt: Timestamp,
    started: Timestamp,
    reservation: Option<Reservation>,
    /// Its last attempt, as what is found out remembers it.
    sent: Sent,
    /// Where the attempt in flight stands among all that was sent.
    mark: Mark,
    /// What its reply has said of the limits.
    observation: Option<Box<Observation>>,
    /// Where its last attempt went.
    upstream: usize,
    /// Where its last attempt failed, if that may be the upstream's fault.
    avoid: Option<usize>,
    cancelled: bool,
}

/// The ways of a lane.
#[derive(Debug, Default)]
struct LaneWays {
    known: bool,
    ways: Vec<Way>,
}

/// The engine: all upstreams, all limits, everything that waits.
#[derive(Debug)]
pub struct Engine {
    retry: RetryPolicy,
    budget: Budget,
    upstreams: Vec<Upstream>,
    lanes: Vec<LaneWays>,
    chooser: Chooser,
    holds: Vec<Hold>,
    retry_budget: RetryBudget,
    queue: Queue,
    timers: TimerTable,
    outputs: VecDeque<Output>,
    entries: Vec<Option<Entry>>,
    submitted: u64,
    in_flight: usize,
    /// The attempt whose reply's levels are not taken in yet.
    heard: Option<AttemptId>,
    binding: Option<usize>,
    stopped: Option<StopReason>,
    rng: fastrand::Rng,
}

impl Engine {
    /// An engine with nothing to do. Fails when the configuration is not valid.
    pub fn new(config: EngineConfig) -> Result<Self, EngineConfigError> {
        config.check()?;
        let none = Budget::new(Vec::new()).expect("no limits are valid limits");
        let mut engine = Self {
            retry: config.retry.clone(),
            budget: none,
            upstreams: Vec::new(),
            lanes: Vec::new(),
            chooser: Chooser::default(),
            holds: Vec::new(),
            retry_budget: RetryBudget::new(),
            queue: Queue::default(),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            entries: Vec::new(),
            submitted: 0,
            in_flight: 0,
            heard: None,
            binding: None,
            stopped: None,
            rng: fastrand::Rng::with_seed(config.seed),
        };
        engine.set_up(Timestamp::ZERO, &config);
        Ok(engine)
    }

    /// Takes one input in. Drain [`Engine::poll_output`] before the next one.
    ///
    /// # Panics
    ///
    /// When a request is submitted under a number that is in use: its answer would be told to the
    /// wrong caller. Nothing that a server says leads to a panic.
    pub fn handle_input(&mut self, now: Timestamp, input: Input) {
        self.take_in(now, &input);
        match input {
            Input::Submit { request, cost } => self.submit(now, request, cost),
            Input::FirstByte(attempt) => self.first_byte(now, attempt),
            Input::Observed {
                attempt,
                observation,
            } => self.observed(attempt, observation),
            Input::Finished { attempt, result } => self.finished(now, attempt, result),
            Input::Cancel(request) => self.cancel(request),
            Input::Reconfigure(config) => self.reconfigure(now, &config),
            Input::Stop => self.stop(StopReason::Asked),
            Input::Tick => {}
        }
        self.pump(now);
        if self.heard.is_some() {
            self.timers.set(Timer::Heard, now);
        }
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
            cooldown_until: self.all_paused_until(now),
        }
    }

    /// The upstreams and whether they may be used, by their numbers.
    #[must_use]
    pub fn upstreams(&self, now: Timestamp) -> Vec<UpstreamStatus> {
        let upstreams = (0..).map(UpstreamId).zip(&self.upstreams);
        upstreams
            .map(|(id, upstream)| upstream.status(now, id))
            .collect()
    }

    /// The limits and how well they are used, those included that servers have named. A limit keeps
    /// its index.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitStatus> {
        self.budget.status()
    }

    /// What was learnt of an upstream for a lane so far, for the configuration of the next run.
    #[must_use]
    pub fn learned(&self, upstream: UpstreamId, lane: Lane) -> Learned {
        let upstream = self.upstreams.get(upstream.index());
        upstream.map_or_else(Learned::new, |upstream| upstream.learned(lane))
    }

    /// What a limit counts at `now`, oldest first, to be counted on by a later run: for windows
    /// that outlive one. Nothing for concurrency, for buckets of unknown capacity, and for limits
    /// that do not exist.
    #[must_use]
    pub fn level(&self, now: Timestamp, limit: usize) -> Vec<Taken> {
        match limit < self.budget.len() {
            true => self.budget.limit(limit).snapshot(now),
            false => Vec::new(),
        }
    }

    /// Counts what was taken from a limit before, oldest first, besides what it counts already.
    /// What is older than its window is left out.
    pub fn restore_level(&mut self, now: Timestamp, limit: usize, taken: &[Taken]) {
        if limit < self.budget.len() {
            self.budget.restore(now, limit, taken);
        }
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

    fn submit(&mut self, now: Timestamp, request: RequestId, cost: Cost) {
        let index = request.0 as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        assert!(self.entries[index].is_none(), "{request:?} is in use");
        if self.stopped.is_some() {
            self.finish(request, Outcome::Abandoned);
            return;
        }
        self.know_lane(cost.lane);
        if let Err(outcome) = self.fits(&cost) {
            self.finish(request, outcome);
            return;
        }
        let age = self.submitted;
        self.submitted += 1;
        self.entries[index] = Some(Entry {
            age,
            cost,
            attempts: 0,
            failed: 0,
            first_attempt: now,
            started: now,
            reservation: None,
            sent: Sent::default(),
            mark: Mark::default(),
            observation: None,
            upstream: 0,
            avoid: None,
            cancelled: false,
        });
        self.queue.push_fresh(cost.lane, (age, request));
    }

    fn first_byte(&mut self, now: Timestamp, attempt: AttemptId) {
        let entry = self.entries.get(attempt.request.0 as usize);
        let entry = entry.and_then(Option::as_ref);
        if let Some(entry) = entry.filter(|entry| entry.attempts == attempt.number) {
            let found = self.upstreams[entry.upstream].found_mut();
            found.first_byte(now, entry.cost.lane, &entry.sent);
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
        // A reason of the upstreams' is graver than a wish, and the first of them stands.
        let graver = self.stopped == Some(StopReason::Asked) && reason != StopReason::Asked;
        if self.stopped.is_some() && !graver {
            return;
        }
        self.stopped = Some(reason.clone());
        self.event(Event::Stopped { reason });
        for request in self.queue.drain(|_| true) {
            self.finish(request, Outcome::Abandoned);
        }
    }

    /// The earliest end of a pause, while all upstreams that are of use pause.
    fn all_paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let usable = self
            .upstreams
            .iter()
            .filter(|upstream| upstream.is_usable());
        let ends = usable.map(|upstream| upstream.paused_until(now));
        ends.reduce(|first, end| Some(first?.min(end?))).flatten()
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
