//! One rate limit: its state, its account, and who else uses it.

use std::time::Duration;

use brimful_core::Timestamp;

use super::counts::{Counts, LimitStats};
use super::foreign::Foreign;
use super::grid::nanos;
use super::model::{Model, Verdict};
use super::shape;
use crate::config::{LimitRule, Measure, ServerConfig};
use crate::hash::hash64;

#[derive(Debug)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) measure: Measure,
    pub(super) amount: u64,
    pub(super) window: Duration,
    pub(super) model: Model,
    pub(super) counts: Counts,
    foreign: Option<Foreign>,
    /// Share of the rate that foreign tenants ask for.
    foreign_share: f64,
    /// Units of a foreign request; by the mean of ours when `None`, and before there was one
    /// `foreign_size_at_first`.
    foreign_size: Option<u64>,
    foreign_size_at_first: u64,
}

/// A level as headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// The limit's amount.
    pub(crate) limit: u64,
    /// What could be taken.
    pub(crate) remaining: u64,
    /// Time until nothing is used any more.
    pub(crate) until_full: Duration,
}

impl Limit {
    pub(super) fn new(rule: LimitRule, config: &ServerConfig, seed: u64, now: Timestamp) -> Self {
        let mut model = shape::model(&rule, config, seed);
        model.advance(now);
        let (foreign_size, foreign_size_at_first) = match rule.measure {
            Measure::Requests => (Some(1), 1),
            _ => (config.foreign_tokens, config.default_output_tokens.max(1)),
        };
        let mut limit = Self {
            model,
            counts: Counts::default(),
            foreign: None,
            foreign_share: config.foreign_share,
            foreign_size,
            foreign_size_at_first,
            name: rule.name,
            measure: rule.measure,
            amount: rule.amount,
            window: rule.window,
        };
        if config.foreign_share > 0.0 {
            let seed = hash64(!seed, limit.name.as_bytes());
            limit.foreign = Some(Foreign::new(seed, now, limit.foreign_rate_per_ns()));
        }
        limit
    }

    /// Goes on as `new`, whose rule has the same name.
    pub(super) fn become_like(&mut self, mut new: Self, now: Timestamp) {
        self.model.advance(now);
        self.model.become_like(new.model);
        new.model = self.model.clone();
        if new.measure == self.measure {
            let changes = (new.amount, new.window) != (self.amount, self.window);
            new.counts = std::mem::take(&mut self.counts);
            if changes {
                new.counts.rate_changes(now, self.rate_per_ns());
            }
        }
        if new.foreign_share == self.foreign_share && new.foreign_size == self.foreign_size {
            new.foreign = self.foreign.take();
        }
        *self = new;
    }

    /// When the next foreign request arrives.
    pub(super) fn foreign_due(&self) -> Timestamp {
        self.foreign
            .as_ref()
            .map_or(Timestamp::NEVER, Foreign::next)
    }

    pub(super) fn skip_foreign_towards(&mut self, now: Timestamp) {
        let rate = self.foreign_rate_per_ns();
        if let Some(foreign) = &mut self.foreign {
            foreign.skip_towards(now, rate);
        }
    }

    /// Judges the foreign request that is due.
    pub(super) fn foreign_arrives(&mut self) {
        let (size, rate) = (self.foreign_size(), self.foreign_rate_per_ns());
        let Some(foreign) = &mut self.foreign else {
            return;
        };
        let now = foreign.next();
        foreign.passed(rate);
        self.model.advance(now);
        if self.model.verdict(size) == Verdict::Fits {
            self.model.take(size);
            self.counts.foreign_admitted += 1;
            self.counts.foreign_taken = self.counts.foreign_taken.saturating_add(size);
        } else {
            self.counts.foreign_refused += 1;
        }
    }

    /// Gives back or takes more until what was taken at `at` as `from` is `to`.
    pub(super) fn settle(&mut self, now: Timestamp, at: Timestamp, from: u64, to: u64) {
        if from == to {
            return;
        }
        self.model.advance(now);
        if to < from {
            self.model.give_back(from - to, at);
        } else {
            self.model.take(to - from);
        }
    }

    pub(super) fn level(&self) -> Level {
        Level {
            limit: self.amount,
            remaining: u64::try_from(self.model.remaining()).unwrap_or(0),
            until_full: self.model.until_full(),
        }
    }

    /// Real providers report the level from the top: a full bucket has used nothing. For what holds
    /// less than a window's amount this counts what it cannot hold as used, which for a bucket
    /// keeps `wait = (used + requested − limit) ÷ rate` true, the formula that clients compute
    /// with.
    pub(super) fn used(&self) -> u64 {
        let used = i128::from(self.amount) - i128::from(self.model.remaining());
        u64::try_from(used).unwrap_or(if used < 0 { 0 } else { u64::MAX })
    }

    pub(super) fn stats(&self) -> LimitStats {
        let window_ns = nanos(self.window);
        self.counts
            .stats(&self.name, self.measure, self.amount, window_ns)
    }

    fn rate_per_ns(&self) -> f64 {
        self.amount as f64 / nanos(self.window) as f64
    }

    fn foreign_rate_per_ns(&self) -> f64 {
        self.foreign_share * self.rate_per_ns() / self.foreign_size() as f64
    }

    fn foreign_size(&self) -> u64 {
        let size = self.foreign_size.or_else(|| self.counts.mean());
        size.unwrap_or(self.foreign_size_at_first).max(1)
    }
}
