//! The laws that hold in every run, whatever is measured.
//!
//! 1. What a shape promises of the sent process (`promise`).
//! 2. Every request has exactly one outcome; its attempts are numbered and never overlap.
//! 3. Nothing starts in a cooldown or after a stop.
//! 4. Nobody is overtaken: of all that are ready, due retries included, the oldest starts.
//! 5. No request waits longer than what went before it, and itself, take at the rate of its limits:
//!    work is conserved and waiting is bounded, in one inequality.
//! 6. At the end nothing is outstanding, neither in the engine's balance nor at the server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use brimful_core::{Charge, Engine, LimitKind, LimitSpec, Timestamp, UpstreamConfig};

use super::promise::Promise;

/// Violations that are kept; what follows the first ones is seldom news.
const KEPT_MAX: usize = 20;
/// What a wait may exceed its bound by: wake-ups that are late, the resolution of counting.
const WAIT_SLACK: Duration = Duration::from_secs(1);

/// Lateness that pacing makes up for even when it comes again and again; it can 50 ms at once.
const MADE_UP_FOR: Duration = Duration::from_millis(10);

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, on the client's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.at, self.what)
    }
}

/// Where a request stood when it was submitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    order: u64,
    at: Timestamp,
    /// What waited then, itself included.
    queue: Charge,
    /// What ever started besides first attempts.
    again: Charge,
    paused: Duration,
}

/// What the checks remember of a run.
#[derive(Debug)]
pub(super) struct Checks {
    promises: Vec<Vec<(String, Promise)>>,
    /// Whether the rates of the promises are only upper bounds.
    learns: bool,
    submitted: u64,
    /// The order number after that of the last first attempt.
    next_first: u64,
    /// What waits to be tried again, by order number, and from when on.
    retries: BTreeMap<u64, Timestamp>,
    queue: Charge,
    again: Charge,
    largest: Charge,
    /// Time in which nothing could start, ever.
    paused: Duration,
    paused_until: Timestamp,
    /// The end of each upstream's last pause.
    cooldowns: Vec<Timestamp>,
    stopped: bool,
    pub(super) longest_wait: Duration,
    pub(super) violations: Vec<Violation>,
    pub(super) violated: u64,
}

impl Checks {
    /// Each upstream by its own limits; what several share is not looked at.
    pub(super) fn new(upstreams: &[UpstreamConfig], learns: bool) -> Self {
        let promise = |spec: &LimitSpec| (spec.name.clone(), Promise::new(spec));
        let promises = upstreams.iter();
        let promises = promises.map(|upstream| upstream.limits.iter().map(promise).collect());
        Self {
            promises: promises.collect(),
            cooldowns: vec![Timestamp::ZERO; upstreams.len()],
            learns: learns || upstreams.len() > 1,
            submitted: 0,
            next_first: 0,
            retries: BTreeMap::new(),
            queue: NOTHING,
            again: NOTHING,
            largest: NOTHING,
            paused: Duration::ZERO,
            paused_until: Timestamp::ZERO,
            stopped: false,
            longest_wait: Duration::ZERO,
            violations: Vec::new(),
            violated: 0,
        }
    }

    pub(super) fn submitted(&mut self, now: Timestamp, charge: &Charge) -> Mark {
        self.submitted += 1;
        each(&mut self.queue, charge, u64::saturating_add);
        each(&mut self.largest, charge, u64::max);
        Mark {
            order: self.submitted,
            at: now,
            queue: self.queue,
            again: self.again,
            paused: self.paused - self.paused_until.since(now),
        }
    }

    /// The request will be tried again, no sooner than after `wait`.
    pub(super) fn retried(&mut self, now: Timestamp, mark: &Mark, wait: Duration) {
        self.retries.insert(mark.order, now + wait);
    }

    /// The request is over, however it ended.
    pub(super) fn finished(&mut self, mark: &Mark) {
        self.retries.remove(&mark.order);
    }

    /// The request is over without ever having started.
    pub(super) fn never_started(&mut self, charge: &Charge) {
        each(&mut self.queue, charge, u64::saturating_sub);
    }

    pub(super) fn started(&mut self, now: Timestamp, attempt: &Attempt<'_>) {
        let Attempt {
            serial,
            upstream,
            charge,
            ..
        } = *attempt;
        for index in 0..self.promises[upstream].len() {
            let (name, promise) = &mut self.promises[upstream][index];
            let said = promise.started(now, serial, promise.kind.units(charge));
            if let Some(said) = said {
                let what = format!("limit `{name}`: {said}");
                self.violation(now, what);
            }
        }
        if self.stopped {
            self.violation(now, "something started after the stop".to_owned());
        }
        if now < self.cooldowns[upstream] {
            self.violation(now, "something started in a cooldown".to_owned());
        }
        self.in_turn(now, attempt);
        if attempt.number > 1 {
            each(&mut self.again, charge, u64::saturating_add);
            return;
        }
        each(&mut self.queue, charge, u64::saturating_sub);
        self.first_started(now, attempt.mark);
    }

    /// Nothing older is ready. What was never tried is younger than what was, and first attempts
    /// start in the order of submission (see `first_started`), so only retries can be passed.
    fn in_turn(&mut self, now: Timestamp, attempt: &Attempt<'_>) {
        let order = attempt.mark.order;
        if attempt.number > 1 {
            match self.retries.remove(&order) {
                Some(ready) if ready > now => {
                    let what = format!("request {} started in its backoff", order - 1);
                    self.violation(now, what);
                }
                Some(_) => {}
                None => {
                    let what = format!("request {} was not to be tried again", order - 1);
                    self.violation(now, what);
                }
            }
        }
        let mut older = self.retries.range(..order);
        if let Some((passed, _)) = older.find(|(_, ready)| **ready <= now) {
            let what = format!("the retry of request {} was overtaken", passed - 1);
            self.violation(now, what);
        }
    }

    fn first_started(&mut self, now: Timestamp, mark: &Mark) {
        if mark.order < self.next_first {
            let what = format!("request {} was overtaken", mark.order - 1);
            self.violation(now, what);
        }
        self.next_first = mark.order + 1;
        let wait = now.since(mark.at);
        self.longest_wait = self.longest_wait.max(wait);
        let paused = self.paused.saturating_sub(mark.paused);
        let bound = self.wait_bound(now, mark).saturating_add(paused);
        if wait > bound && !self.learns {
            let what = format!(
                "request {} waited {wait:?}, longer than {bound:?}, which is what went before it",
                mark.order - 1
            );
            self.violation(now, what);
        }
    }

    /// What the queue before a request, and what was tried again meanwhile, take at the rate of
    /// the limits, and in the places that there are. Limits may bind by turns, so their times add
    /// up.
    fn wait_bound(&self, now: Timestamp, mark: &Mark) -> Duration {
        let mut ahead = mark.queue;
        each(&mut ahead, &self.again, u64::saturating_add);
        each(&mut ahead, &mark.again, u64::saturating_sub);
        let mut bound = WAIT_SLACK;
        for (_, promise) in self.promises.iter().flatten() {
            if promise.kind == LimitKind::Concurrency {
                bound += promise.served_within(now, ahead.requests) + promise.rest();
                continue;
            }
            let units = promise.kind.units(&ahead) + promise.kind.units(&self.largest);
            let seconds = units as f64 / promise.floor_per_s;
            bound += Duration::from_secs_f64(seconds) + promise.rest();
        }
        bound
    }

    /// An attempt is over; `actual` is what it took.
    pub(super) fn ended(
        &mut self,
        now: Timestamp,
        (upstream, serial): (usize, u64),
        charge: &Charge,
        actual: &Charge,
    ) {
        for (_, promise) in &mut self.promises[upstream] {
            let (reserved, actual) = (promise.kind.units(charge), promise.kind.units(actual));
            promise.ended(now, serial, reserved, actual);
        }
        // What was used beyond its reservation is paid for by those that wait.
        let mut beyond = *actual;
        each(&mut beyond, charge, u64::saturating_sub);
        each(&mut self.again, &beyond, u64::saturating_add);
    }

    /// Nothing starts before `until`: a cooldown, by the client's clock.
    pub(super) fn cooldown(&mut self, now: Timestamp, upstream: usize, until: Timestamp) {
        let end = &mut self.cooldowns[upstream];
        *end = until.max(*end);
        let from = self.paused_until.max(now);
        // At its end, one goes first and the rest at pace: up to 50 ms of catching up are lost.
        self.paused += until.since(from) + Duration::from_millis(50);
        self.paused_until = self.paused_until.max(until);
    }

    /// The client got no time for so long by its own clock.
    pub(super) fn suspended(&mut self, length: Duration) {
        self.paused += length;
    }

    /// A wake-up came so late. What little is missed is made up for, more is given up.
    pub(super) fn woke_late(&mut self, late: Duration) {
        if late > MADE_UP_FOR {
            self.paused += late;
        }
    }

    /// The server has named a limit: from now on that says how fast, not what was declared.
    pub(super) const fn learns(&mut self) {
        self.learns = true;
    }

    pub(super) const fn stopped(&mut self) {
        self.stopped = true;
    }

    /// Looks at what is left at the end.
    pub(super) fn ended_run(
        &mut self,
        now: Timestamp,
        engine: &Engine,
        open: usize,
        at_server: u64,
    ) {
        if open > 0 {
            self.violation(now, format!("{open} requests have no outcome"));
        }
        let outstanding = engine.balance().outstanding();
        if outstanding != Default::default() {
            self.violation(now, format!("outstanding in the balance: {outstanding:?}"));
        }
        if at_server > 0 {
            let what = format!("{at_server} still in flight at the server");
            self.violation(now, what);
        }
    }

    pub(super) fn violation(&mut self, at: Timestamp, what: String) {
        self.violated += 1;
        if self.violations.len() < KEPT_MAX {
            self.violations.push(Violation { at, what });
        }
    }
}

/// An attempt that starts.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    /// Unlike any other attempt's and larger than those before.
    pub(super) serial: u64,
    /// Where it goes.
    pub(super) upstream: usize,
    /// 1 for the first of its request.
    pub(super) number: u32,
    pub(super) charge: &'a Charge,
    pub(super) mark: &'a Mark,
}

const NOTHING: Charge = Charge {
    requests: 0,
    ..Charge::request()
};

fn each(to: &mut Charge, by: &Charge, change: impl Fn(u64, u64) -> u64) {
    to.requests = change(to.requests, by.requests);
    to.input = change(to.input, by.input);
    to.output = change(to.output, by.output);
    to.total = change(to.total, by.total);
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPM_60: u64 = 60;

    fn checks() -> Checks {
        let spec = LimitSpec::new("rpm", LimitKind::Requests, RPM_60, Duration::from_secs(60));
        Checks::new(&[UpstreamConfig::new("", vec![spec])], false)
    }

    fn start(checks: &mut Checks, secs: u64, serial: u64, mark: &Mark) {
        let attempt = Attempt {
            serial,
            upstream: 0,
            number: 1,
            charge: &Charge::request(),
            mark,
        };
        checks.started(Timestamp::from_secs(secs), &attempt);
    }

    fn said(checks: &Checks) -> String {
        let all: Vec<String> = checks.violations.iter().map(Violation::to_string).collect();
        all.join("; ")
    }

    #[test]
    fn an_idle_while_something_waits_is_found() {
        for (second, fine) in [(11, true), (20, false)] {
            let mut checks = checks();
            let marks: Vec<Mark> = (0..2)
                .map(|_| checks.submitted(Timestamp::from_secs(10), &Charge::request()))
                .collect();
            start(&mut checks, 10, 1, &marks[0]);
            start(&mut checks, second, 2, &marks[1]);
            assert_eq!(checks.violations.is_empty(), fine, "{}", said(&checks));
        }
    }

    #[test]
    fn a_cooldown_excuses_an_idle_but_no_start() {
        let mut checks = checks();
        let mark = checks.submitted(Timestamp::from_secs(10), &Charge::request());
        checks.cooldown(Timestamp::from_secs(10), 0, Timestamp::from_secs(40));
        start(&mut checks, 40, 1, &mark);
        assert_eq!(said(&checks), "");
        let mark = checks.submitted(Timestamp::from_secs(42), &Charge::request());
        checks.cooldown(Timestamp::from_secs(42), 0, Timestamp::from_secs(50));
        start(&mut checks, 45, 2, &mark);
        assert!(
            said(&checks).contains("started in a cooldown"),
            "{}",
            said(&checks)
        );
    }

    #[test]
    fn a_retry_that_is_due_goes_before_all_that_is_younger() {
        let retry = |ready_s: u64, started_s: u64| {
            let mut checks = checks();
            let mut submit = || checks.submitted(Timestamp::ZERO, &Charge::request());
            let (first, second) = (submit(), submit());
            start(&mut checks, 1, 1, &first);
            let wait = Duration::from_secs(ready_s - 2);
            checks.retried(Timestamp::from_secs(2), &first, wait);
            start(&mut checks, 4, 2, &second);
            let again = Attempt {
                serial: 3,
                upstream: 0,
                number: 2,
                charge: &Charge::request(),
                mark: &first,
            };
            checks.started(Timestamp::from_secs(started_s), &again);
            said(&checks)
        };
        assert_eq!(retry(5, 6), "");
        let passed = retry(3, 6);
        assert!(
            passed.contains("retry of request 0 was overtaken"),
            "{passed}"
        );
        let early = retry(8, 6);
        assert!(early.contains("started in its backoff"), "{early}");
    }

    #[test]
    fn a_retry_that_is_over_is_passed_by_nobody() {
        let mut checks = checks();
        let mut submit = || checks.submitted(Timestamp::ZERO, &Charge::request());
        let (first, second) = (submit(), submit());
        start(&mut checks, 1, 1, &first);
        checks.retried(Timestamp::from_secs(2), &first, Duration::ZERO);
        checks.finished(&first);
        start(&mut checks, 3, 2, &second);
        assert_eq!(said(&checks), "");
    }

    #[test]
    fn a_place_that_is_left_empty_while_something_waits_is_found() {
        for (second, fine) in [(6, true), (40, false)] {
            let mut checks = Checks::new(
                &[UpstreamConfig::new("", vec![LimitSpec::concurrency(1)])],
                false,
            );
            let charge = Charge::request();
            let mut submit = || checks.submitted(Timestamp::ZERO, &charge);
            let (first, second_mark) = (submit(), submit());
            start(&mut checks, 0, 1, &first);
            checks.ended(Timestamp::from_secs(5), (0, 1), &charge, &charge);
            start(&mut checks, second, 2, &second_mark);
            assert_eq!(checks.violations.is_empty(), fine, "{}", said(&checks));
        }
    }

    #[test]
    fn overtaking_and_starts_after_the_stop_are_found() {
        let mut checks = checks();
        let first = checks.submitted(Timestamp::ZERO, &Charge::request());
        let second = checks.submitted(Timestamp::ZERO, &Charge::request());
        start(&mut checks, 1, 1, &second);
        start(&mut checks, 2, 2, &first);
        assert!(
            said(&checks).contains("request 0 was overtaken"),
            "{}",
            said(&checks)
        );
        let third = checks.submitted(Timestamp::from_secs(3), &Charge::request());
        checks.stopped();
        start(&mut checks, 3, 3, &third);
        assert!(
            said(&checks).contains("after the stop"),
            "{}",
            said(&checks)
        );
    }
}
