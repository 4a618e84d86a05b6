//! What a run adds up to.

use std::collections::BTreeMap;
use std::time::Duration;

use brimful_core::{AttemptResult, Class, Timestamp, Usage};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::trace::class_name;

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Input tokens.
    pub input: f64,
    /// Output tokens.
    pub output: f64,
}

/// Everything that is counted while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Rows read in this run that had no answer yet.
    pub rows_read: u64,
    /// Requests answered in this run.
    pub answered: u64,
    /// Requests that ended without an answer in this run, bad rows included.
    pub dead: u64,
    /// Rows that could not be made into a request.
    pub bad_rows: u64,
    /// Attempts by class: `answered`, `aborted` and the failure classes.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Attempts that will be followed by another.
    pub retries: u64,
    /// Pauses of the whole upstream.
    pub cooldowns: u64,
    /// Tokens reported by answers.
    pub usage: Usage,
    /// Cost by the given price.
    pub cost_usd: Option<f64>,
}

impl Counts {
    /// Attempts that were throttled.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.attempts
            .get(Class::Throttled.as_str())
            .copied()
            .unwrap_or(0)
    }

    /// Attempts of all classes.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.values().sum()
    }
}

/// Codes that are counted apart; a provider may invent any number.
const FAILURES_MAX: usize = 50;

/// Requests that ended without an answer for the same reason.
#[derive(Clone, Debug, Serialize)]
pub struct FailureSum {
    /// The provider's or our own short code.
    pub code: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first_id: String,
    /// What was said of it.
    pub first_message: String,
}

/// Mean and quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// Times in microseconds, 1 µs to a day, two significant digits.
#[derive(Debug)]
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        let day_us = 24 * 3600 * 1_000_000;
        Self(Histogram::new_with_bounds(1, day_us, 2).expect("the bounds are valid"))
    }

    fn record(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn quantiles(&self) -> Option<Quantiles> {
        if self.0.is_empty() {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a day of microseconds is below 2^53"
        )]
        let ms = |micros: u64| micros as f64 / 1000.0;
        Some(Quantiles {
            mean_ms: (self.0.mean()).round() / 1000.0,
            p50_ms: ms(self.0.value_at_quantile(0.5)),
            p95_ms: ms(self.0.value_at_quantile(0.95)),
            p99_ms: ms(self.0.value_at_quantile(0.99)),
            max_ms: ms(self.0.max()),
        })
    }
}

/// Counts and times of one run, kept by its driver.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) rows_read: u64,
    pub(crate) bad_rows: u64,
    pub(crate) dead: u64,
    pub(crate) retries: u64,
    pub(crate) cooldowns: u64,
    answered: u64,
    failures: Vec<FailureSum>,
    attempts: BTreeMap<&'static str, u64>,
    usage: Usage,
    price: Option<Price>,
    wait: Times,
    service: Times,
    total: Times,
    binding: Option<usize>,
    binding_since: Timestamp,
    /// How long each limit kept the next request waiting; `usize::MAX` is the cooldown.
    bound: BTreeMap<usize, Duration>,
}

impl Tally {
    pub(crate) fn new(price: Option<Price>) -> Self {
        Self {
            rows_read: 0,
            bad_rows: 0,
            dead: 0,
            retries: 0,
            cooldowns: 0,
            answered: 0,
            failures: Vec::new(),
            attempts: BTreeMap::new(),
            usage: Usage::default(),
            price,
            wait: Times::new(),
            service: Times::new(),
            total: Times::new(),
            binding: None,
            binding_since: Timestamp::ZERO,
            bound: BTreeMap::new(),
        }
    }

    /// A request has ended without an answer.
    pub(crate) fn died(&mut self, code: &str, message: &str, id: &str) {
        self.dead += 1;
        if let Some(sum) = self.failures.iter_mut().find(|sum| sum.code == code) {
            sum.count += 1;
        } else if self.failures.len() < FAILURES_MAX {
            self.failures.push(FailureSum {
                code: code.to_owned(),
                count: 1,
                first_id: id.to_owned(),
                first_message: message.to_owned(),
            });
        }
    }

    /// Requests that ended without an answer in this run by their code, the most frequent first.
    pub(crate) fn failures(&self) -> Vec<FailureSum> {
        let mut failures = self.failures.clone();
        failures.sort_by_key(|sum| std::cmp::Reverse(sum.count));
        failures
    }

    pub(crate) const fn nothing_answered(&self) -> bool {
        self.answered == 0
    }

    pub(crate) fn attempt_ended(&mut self, result: &AttemptResult, service: Duration) {
        *self.attempts.entry(class_name(result)).or_default() += 1;
        if matches!(result, AttemptResult::Answered(_)) {
            self.service.record(service);
        }
    }

    pub(crate) fn answered(&mut self, wait: Duration, total: Duration, usage: Option<Usage>) {
        self.answered += 1;
        self.wait.record(wait);
        self.total.record(total);
        let usage = usage.unwrap_or_default();
        // A server may report anything.
        let sum = &mut self.usage;
        sum.input = sum.input.saturating_add(usage.input);
        sum.output = sum.output.saturating_add(usage.output);
        sum.cached = sum.cached.saturating_add(usage.cached);
    }

    /// From `now` on this limit keeps the next request waiting.
    pub(crate) fn binds(&mut self, now: Timestamp, limit: Option<usize>) {
        if limit == self.binding {
            return;
        }
        if let Some(before) = self.binding {
            *self.bound.entry(before).or_default() += now.since(self.binding_since);
        }
        self.binding = limit;
        self.binding_since = now;
    }

    pub(crate) fn bound(&self, limit: usize) -> Duration {
        self.bound.get(&limit).copied().unwrap_or_default()
    }

    pub(crate) fn cost_usd(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a cost is shown to the cent")]
        let cost = |price: Price| {
            (self.usage.input as f64 * price.input + self.usage.output as f64 * price.output) / 1e6
        };
        self.price.map(cost)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            rows_read: self.rows_read,
            answered: self.answered,
            dead: self.dead,
            bad_rows: self.bad_rows,
            attempts: self.attempts.clone(),
            retries: self.retries,
            cooldowns: self.cooldowns,
            usage: self.usage,
            cost_usd: self.cost_usd(),
        }
    }

    pub(crate) fn mean_service(&self) -> Option<Duration> {
        let micros = self.service.0.mean();
        Duration::try_from_secs_f64(micros / 1e6)
            .ok()
            .filter(|time| !time.is_zero())
    }

    pub(crate) fn times(&self) -> [Option<Quantiles>; 3] {
        [
            self.wait.quantiles(),
            self.service.quantiles(),
            self.total.quantiles(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_reports_absurd_usage_does_no_harm() {
        let mut tally = Tally::new(None);
        let usage = Usage {
            input: u64::MAX,
            output: u64::MAX - 1,
            cached: u64::MAX,
        };
        for _ in 0..3 {
            tally.answered(Duration::ZERO, Duration::ZERO, Some(usage));
        }
        assert_eq!(tally.counts().usage.output, u64::MAX);
        assert_eq!(tally.counts().usage.input, u64::MAX);
    }
}
