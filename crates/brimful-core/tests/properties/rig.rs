//! An engine, a scripted server and a clock that only moves when nothing else is left to do.
//!
//! The rig checks the laws that hold in every run, whatever is tested: attempts are numbered and
//! never overlap, of all requests of a lane that are ready the oldest starts, none waits without a
//! limit, a pause or an attempt that it waits for, nothing starts at an upstream that pauses or is
//! out, nor after a stop, every request finishes
//! once, what is outstanding is what is in flight, and a tick at the promised instant makes
//! progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    AttemptId, AttemptResult, Cost, Engine, EngineConfig, Event, Input, Lane, Outcome, Output,
    RequestId, Timestamp, UpstreamId, UpstreamState,
};

/// Calls in a run after which it is taken for a livelock.
const STEPS_MAX: u32 = 2_000_000;

pub(super) struct Rig<S> {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    /// Everything that the engine said, and when.
    pub(super) trace: Vec<(Timestamp, Output)>,
    /// How late a timer fires.
    pub(super) late: Duration,
    pub(super) most_in_flight: usize,
    server: S,
    /// Results under way: by arrival, then by order of sending.
    pending: BTreeMap<(Timestamp, u64), (AttemptId, AttemptResult)>,
    sent: u64,
    open: BTreeSet<RequestId>,
    attempts: BTreeMap<RequestId, u32>,
    in_flight: BTreeSet<RequestId>,
    /// What is neither in flight nor finished: by lane and age, and from when it is ready.
    waiting: BTreeMap<(Lane, u64), (RequestId, Timestamp)>,
    /// Its lane, and how many were submitted before each. Numbers are reused, ages are not.
    ages: BTreeMap<RequestId, (Lane, u64)>,
    submitted: u64,
    stopped: bool,
}

impl<S> Rig<S>
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    pub(super) fn new(config: EngineConfig, server: S) -> Self {
        Self {
            engine: Engine::new(config).expect("the limits are valid"),
            now: Timestamp::from_secs(1),
            trace: Vec::new(),
            late: Duration::ZERO,
            most_in_flight: 0,
            server,
            pending: BTreeMap::new(),
            sent: 0,
            open: BTreeSet::new(),
            attempts: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            waiting: BTreeMap::new(),
            ages: BTreeMap::new(),
            submitted: 0,
            stopped: false,
        }
    }

    pub(super) fn submit(&mut self, request: u32, cost: Cost) {
        let request = RequestId(request);
        assert!(self.open.insert(request), "the test reuses {request:?}");
        self.attempts.insert(request, 0);
        let age = (cost.lane, self.submitted);
        self.submitted += 1;
        self.ages.insert(request, age);
        self.waiting.insert(age, (request, self.now));
        self.input(Input::Submit { request, cost });
    }

    pub(super) fn input(&mut self, input: Input) {
        self.engine.handle_input(self.now, input);
        let mut aborted = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match &output {
                Output::Start { attempt, upstream } => self.started(*attempt, *upstream),
                Output::Finish { request, .. } => {
                    assert!(self.open.remove(request), "{request:?} finished twice");
                    self.waiting.remove(&self.ages[request]);
                    assert!(
                        !self.in_flight.contains(request),
                        "{request:?} is in flight"
                    );
                }
                Output::Abort { attempt } => {
                    assert!(self.in_flight.contains(&attempt.request));
                    aborted.push(*attempt);
                }
                Output::Event(Event::Stopped { .. }) => self.stopped = true,
                Output::Event(Event::Retried { request, wait, .. }) => {
                    let ready = (*request, self.now + *wait);
                    self.waiting.insert(self.ages[request], ready);
                }
                Output::Event(_) => {}
            }
            self.trace.push((self.now, output));
        }
        self.check_levels();
        for attempt in aborted {
            self.pending.retain(|_, (other, _)| *other != attempt);
            self.finished(attempt, AttemptResult::Aborted);
        }
    }

    /// Runs until nothing is left to do, or until `until`.
    pub(super) fn run_until(&mut self, until: Timestamp) {
        let mut steps = 0;
        loop {
            let arrival = self.pending.first_key_value().map(|(&(at, _), _)| at);
            let timeout = self.engine.poll_timeout().map(|at| at + self.late);
            let (Some(next), tick) = (match (arrival, timeout) {
                (Some(arrival), Some(timeout)) if timeout < arrival => (Some(timeout), true),
                (None, timeout) => (timeout, true),
                (arrival, _) => (arrival, false),
            }) else {
                break;
            };
            if next > until {
                break;
            }
            steps += 1;
            assert!(steps <= STEPS_MAX, "no end in sight");
            self.now = self.now.max(next);
            if tick {
                self.tick();
            } else if let Some((_, (attempt, result))) = self.pending.pop_first() {
                self.finished(attempt, result);
            }
        }
        if until != Timestamp::NEVER {
            self.now = self.now.max(until);
        }
    }

    /// Runs until every request is finished.
    pub(super) fn run(&mut self) {
        self.run_until(Timestamp::NEVER);
        assert!(self.open.is_empty(), "still open: {:?}", self.open);
        let outstanding = self.engine.balance().outstanding();
        assert_eq!(outstanding, Default::default(), "everything was settled");
    }

    pub(super) fn starts(&self) -> Vec<(Timestamp, AttemptId)> {
        let starts = self.trace.iter().filter_map(|(at, output)| match output {
            Output::Start { attempt, .. } => Some((*at, *attempt)),
            _ => None,
        });
        starts.collect()
    }

    pub(super) fn outcome(&self, request: u32) -> Option<&Outcome> {
        self.trace.iter().find_map(|(_, output)| match output {
            Output::Finish {
                request: id,
                outcome,
            } if id.0 == request => Some(outcome),
            _ => None,
        })
    }

    fn started(&mut self, attempt: AttemptId, upstream: UpstreamId) {
        let AttemptId { request, number } = attempt;
        assert!(!self.stopped, "{attempt:?} started after the stop");
        let state = self.engine.upstreams(self.now)[upstream.index()].state;
        let takes = match state {
            UpstreamState::Ready | UpstreamState::Returning(_) | UpstreamState::Ill(_) => true,
            UpstreamState::Paused(_) | UpstreamState::Out(_) | UpstreamState::Retired => false,
        };
        assert!(takes, "{attempt:?} started where nothing may: {state:?}");
        assert!(
            self.open.contains(&request),
            "{attempt:?} of a finished request"
        );
        assert!(
            self.in_flight.insert(request),
            "{attempt:?} overlaps another"
        );
        self.most_in_flight = self.most_in_flight.max(self.in_flight.len());
        let age = self.ages[&request];
        let mut older = self.waiting.range((age.0, 0)..age);
        let passed = older.find(|(_, (_, ready))| *ready <= self.now);
        assert_eq!(
            passed, None,
            "{attempt:?} of age {age:?} passed an older one"
        );
        let (_, ready) = self.waiting.remove(&age).expect("it was waiting");
        assert!(ready <= self.now, "{attempt:?} started in its backoff");
        let before = self.attempts.insert(request, number);
        assert_eq!(before, Some(number - 1), "attempts are numbered from 1");
        let (latency, result) = (self.server)(self.now, attempt, upstream);
        self.sent += 1;
        self.pending
            .insert((self.now + latency, self.sent), (attempt, result));
    }

    fn finished(&mut self, attempt: AttemptId, result: AttemptResult) {
        self.in_flight.remove(&attempt.request);
        self.input(Input::Finished { attempt, result });
    }

    fn tick(&mut self) {
        let promised = self.engine.poll_timeout().expect("that is why it ticks");
        let waiting = self.engine.status(self.now).backing_off;
        let before = self.trace.len();
        self.input(Input::Tick);
        let moved = self
            .engine
            .poll_timeout()
            .is_none_or(|next| next > promised);
        let woken = self.engine.status(self.now).backing_off < waiting;
        let started = self.trace.len() > before;
        assert!(
            moved || woken || started,
            "a tick at {promised:?} did nothing"
        );
        let next = self.engine.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "a timeout in the past"
        );
    }

    fn check_levels(&self) {
        let status = self.engine.status(self.now);
        let mut waiting = self.waiting.values();
        if waiting.any(|(_, ready)| *ready <= self.now) {
            let waits = match self.engine.upstreams(self.now).len() {
                1 => status.binding.is_some() || status.cooldown_until.is_some(),
                _ => status.in_flight > 0 || self.engine.poll_timeout().is_some(),
            };
            assert!(waits, "something is ready and waits for nothing");
        }
        assert_eq!(status.in_flight, self.in_flight.len());
        assert_eq!(status.queued + status.in_flight, self.open.len());
        let outstanding = self.engine.balance().outstanding();
        assert_eq!(outstanding.requests, self.in_flight.len() as u128);
    }
}
