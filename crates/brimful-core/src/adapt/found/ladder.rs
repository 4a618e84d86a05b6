//! A declared limit under suspicion: the server refuses what should fit. Step by step the model of
//! the server becomes a stricter one, and only at the end the rate itself is doubted.

use std::time::Duration;

use crate::learned::LearnedRate;
use crate::limit::LimitSpec;
use crate::time::Timestamp;

use super::tally::{KINDS, Moment, place};

/// A variation of the delay of windows of 10 s: what delays between machines vary by.
const JITTER_10: Duration = Duration::from_millis(100);
/// The same of windows of 1 s. Of a hundred requests in a second, the number that arrive in a
/// window scatters by about one and a half; 4.5 % are three times that.
const JITTER_1: Duration = Duration::from_millis(45);
/// A pause longer than a window says that it is not that window.
const SLACK: f64 = 1.3;
/// A refusal so soon after a pause says that a step did not help.
const SOON: Duration = Duration::from_secs(3);
/// A pause of such a length is that of no window that is looked for.
const LONG: Duration = Duration::from_secs(13);
/// What a single refusal costs where no stricter model is left, as a part of the rate, and how far
/// that goes, as a part of the declared one.
const EASE: f64 = 0.99;
const EASED_LEAST: f64 = 0.88;
/// As many of those in a row say that no model will.
const SOON_MOST: u32 = 3;
/// Without a refusal for so long, a stricter model is given up bit by bit; doubles whenever that
/// turns out to be wrong.
const CLEAN: Duration = Duration::from_secs(600);
/// What is then given back each time, as a part of the declared rate.
const RECOVERY: f64 = 0.002;
const RECOVERY_EVERY: Duration = Duration::from_secs(60);

/// The models, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Model {
    /// As declared.
    Declared,
    /// As declared, without any burst: half of it at a time.
    Burst(u64),
    /// Windows of 10 s.
    Tens,
    /// Windows of 1 s.
    Seconds,
}

impl Model {
    const fn window(self) -> Option<Duration> {
        match self {
            Self::Declared | Self::Burst(_) => None,
            Self::Tens => Some(Duration::from_secs(10)),
            Self::Seconds => Some(Duration::from_secs(1)),
        }
    }

    fn of(window: Duration) -> Option<Self> {
        let models = [Self::Tens, Self::Seconds];
        models
            .into_iter()
            .find(|model| model.window() == Some(window))
    }
}

/// One declared limit.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    place: usize,
    amount: u64,
    window: Duration,
    burst: u64,
    model: Model,
    /// Units a second, below what the model allows when it was just left; `None` as declared.
    rate: f64,
    soon: u32,
    last: Timestamp,
    clean: Duration,
    recovered: Timestamp,
}

/// What to do after a refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Send under the model of now.
    Go,
    /// No model helps: search the rate.
    Search,
}

/// Whether a limit has a rate: neither concurrency nor an allowance of an hour and more.
pub(super) fn has_rate(spec: &LimitSpec) -> bool {
    place(spec.kind).is_some() && spec.window < Duration::from_secs(3_600)
}

impl Ladder {
    /// `None` for what has no rate: concurrency, and allowances of an hour and more. Begins where
    /// an earlier run has ended.
    pub(super) fn new(spec: &LimitSpec, learned: &[LearnedRate]) -> Option<Self> {
        let place = place(spec.kind).filter(|_| has_rate(spec))?;
        let mut ladder = Self {
            place,
            amount: spec.amount,
            window: spec.window,
            burst: spec.burst.unwrap_or(0),
            model: Model::Declared,
            rate: f64::INFINITY,
            soon: 0,
            last: Timestamp::ZERO,
            clean: CLEAN,
            recovered: Timestamp::ZERO,
        };
        let known = learned.iter().find(|rate| rate.kind == spec.kind);
        let known = known.and_then(|rate| Some((rate, Model::of(rate.window?)?)));
        // The limit may have been another one then.
        let known = known.filter(|(_, model)| model.window().is_some_and(|w| ladder.can_be(w)));
        if let Some((rate, model)) = known {
            let least = ladder.declared() * EASED_LEAST;
            ladder.model = model;
            ladder.rate = (rate.per_hour as f64 / 3_600.0).max(least);
            ladder.rate = ladder.rate.min(ladder.allowed(model));
        }
        Some(ladder)
    }

    /// What was found out, for the next run.
    pub(super) fn learned(&self) -> Option<LearnedRate> {
        let window = self.model.window()?;
        Some(LearnedRate {
            window: Some(window),
            ..LearnedRate::new(KINDS[self.place], (self.rate * 3_600.0) as u64)
        })
    }

    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// Units a second that were declared.
    pub(super) fn declared(&self) -> f64 {
        self.amount as f64 / self.window.as_secs_f64()
    }

    /// Units a second that may be sent; `None` while everything is as declared.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.model > Model::Declared).then_some(self.rate)
    }

    /// A pause that began with a refusal is over.
    pub(super) fn resumed(&mut self, now: Timestamp, onset: Moment, end: Moment) -> Step {
        let length = end.at.since(onset.at);
        let soon = self.last > Timestamp::ZERO && onset.at.since(self.last) < SOON;
        self.soon = if soon { self.soon + 1 } else { 0 };
        if self.recovered > Timestamp::ZERO {
            // What was given back was too much.
            self.clean *= 2;
            self.recovered = Timestamp::ZERO;
        }
        self.last = now;
        let (eased, least) = (self.rate * EASE, self.declared() * EASED_LEAST);
        if self.soon >= SOON_MOST || length >= LONG {
            return Step::Search;
        }
        if let Some(model) = self.next(length) {
            self.model = model;
            self.rate = self.allowed(model);
        } else if eased >= least {
            self.rate = eased;
        } else {
            return Step::Search;
        }
        Step::Go
    }

    /// The next stricter model that a pause of this length does not rule out.
    fn next(&self, length: Duration) -> Option<Model> {
        let fits = |window: Duration| length <= window.mul_f64(SLACK) && self.can_be(window);
        match self.model {
            Model::Declared if self.burst > 1 => return Some(Model::Burst(self.burst / 2)),
            Model::Burst(left) if left > 1 => return Some(Model::Burst(left / 2)),
            Model::Declared => return Some(Model::Burst(0)),
            Model::Burst(_) | Model::Tens | Model::Seconds => {}
        }
        let stricter = |model: &Model| *model > self.model && model.window().is_some_and(fits);
        [Model::Tens, Model::Seconds].into_iter().find(stricter)
    }

    /// Whether the limit can be judged by such a window: one that is its own is no stricter, and of
    /// less than two units nothing would be left.
    fn can_be(&self, window: Duration) -> bool {
        window < self.window && self.in_window(window) >= 2.0
    }

    fn in_window(&self, window: Duration) -> f64 {
        self.declared() * window.as_secs_f64()
    }

    /// (N − 1) / (W + J), and no more than even sending at 99.1 %.
    fn allowed(&self, model: Model) -> f64 {
        let over = |window: Duration, jitter: Duration| {
            (self.in_window(window) - 1.0) / (window + jitter).as_secs_f64()
        };
        let even = self.declared() * 0.991;
        match model {
            Model::Declared => f64::INFINITY,
            Model::Burst(_) => even,
            Model::Tens => even.min(over(Duration::from_secs(10), JITTER_10)),
            Model::Seconds => even.min(over(Duration::from_secs(1), JITTER_1)),
        }
    }

    /// Units that may start at once; `None` while everything is as declared.
    pub(super) const fn burst(&self) -> Option<u64> {
        match self.model {
            Model::Declared => None,
            Model::Burst(burst) => Some(burst),
            Model::Tens | Model::Seconds => Some(0),
        }
    }

    /// Lets time pass while nothing is refused.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if self.model == Model::Declared || now.since(self.last) < self.clean {
            return;
        }
        if now.since(self.recovered) >= RECOVERY_EVERY {
            self.recovered = now;
            let even = self.declared() * 0.991;
            self.rate = (self.rate + self.declared() * RECOVERY).min(even);
        }
    }
}
