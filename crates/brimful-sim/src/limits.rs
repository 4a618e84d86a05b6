//! All limits of the server, tested together and charged in one step.

mod bucket;
mod counter;
mod counts;
mod foreign;
mod grid;
mod limit;
mod log;
mod model;
mod shape;
mod window;

use std::time::Duration;

use brimful_core::Timestamp;

pub use counts::LimitStats;
pub(crate) use limit::Level;
use limit::Limit;
use model::Verdict;

use crate::config::{Measure, ServerConfig};

/// The limits that are configured.
#[derive(Debug)]
pub(crate) struct Limits {
    rates: Vec<Limit>,
    concurrency: Option<u64>,
    refused_requests_count: bool,
    concurrency_throttled: u64,
    /// Refusals by limits that are no more.
    gone_throttled: Vec<(String, u64)>,
}

/// What a request takes from limits on each measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charges {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// A refusal for speed. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    /// What the limit counts; `None` for requests in flight.
    pub(crate) measure: Option<Measure>,
    /// Its window; zero for requests in flight.
    pub(crate) window: Duration,
    pub(crate) limit: u64,
    /// Such that for a bucket `used + requested − limit` is what has to be refilled first.
    pub(crate) used: u64,
    pub(crate) requested: u64,
    pub(crate) wait: Wait,
}

/// When a denied request would be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// After this long, if nobody else comes.
    Time(Duration),
    /// When another request ends.
    Slot,
    /// Never: it is larger than the limit.
    Forever,
}

impl Limits {
    pub(crate) fn new(config: &ServerConfig, seed: u64) -> Self {
        let rules = shape::rules(config).into_iter();
        let rates = rules.map(|rule| Limit::new(rule, config, seed, Timestamp::ZERO));
        Self {
            rates: rates.collect(),
            concurrency: config.concurrency,
            refused_requests_count: config.refused_requests_count,
            concurrency_throttled: 0,
            gone_throttled: Vec::new(),
        }
    }

    /// Goes on with the limits of `config`. Those that were there under the same name keep what was
    /// used, as [`Model::become_like`](model::Model::become_like) says; new ones start fresh.
    pub(crate) fn change(&mut self, now: Timestamp, config: &ServerConfig, seed: u64) {
        let mut old = std::mem::take(&mut self.rates);
        for rule in shape::rules(config) {
            let new = Limit::new(rule, config, seed, now);
            let place = old.iter().position(|limit| limit.name == new.name);
            self.rates.push(match place {
                Some(place) => {
                    let mut limit = old.swap_remove(place);
                    limit.become_like(new, now);
                    limit
                }
                None => new,
            });
        }
        let gone = old
            .into_iter()
            .map(|limit| (limit.name, limit.counts.throttled));
        self.gone_throttled
            .extend(gone.filter(|(_, count)| *count > 0));
        self.concurrency = config.concurrency;
        self.refused_requests_count = config.refused_requests_count;
    }

    /// Charges a request to every limit, or nothing to any. `need` is what must be there, which may
    /// be more than what is taken; a limit of which nothing is needed is not asked.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        need: Charges,
        take: Charges,
        in_flight: u64,
    ) -> Result<(), Denial> {
        for limit in &mut self.rates {
            limit.model.advance(now);
        }
        let Some((place, mut denial)) = self.denial(need, in_flight) else {
            for limit in &mut self.rates {
                let units = take.of(limit.measure);
                limit.model.take(units);
                if need.of(limit.measure) > 0 {
                    limit.counts.admitted(now, units);
                }
            }
            return Ok(());
        };
        match place {
            Some(place) => self.rates[place].counts.throttled += 1,
            None => self.concurrency_throttled += 1,
        }
        if self.refused_requests_count {
            let requests = |limit: &&mut Limit| limit.measure == Measure::Requests;
            for limit in self.rates.iter_mut().filter(requests) {
                limit.model.take_refused();
            }
            if let Some((_, later)) = self.denial(need, in_flight) {
                denial = later;
            }
        }
        Err(denial)
    }

    /// Which limit refuses, and why: of several the one that is ready last, whose wait is true for
    /// all.
    fn denial(&self, need: Charges, in_flight: u64) -> Option<(Option<usize>, Denial)> {
        let mut found: Option<(Option<usize>, Denial)> = None;
        for (place, limit) in self.rates.iter().enumerate() {
            let requested = need.of(limit.measure);
            if requested == 0 {
                continue;
            }
            let wait = match limit.model.verdict(requested) {
                Verdict::Fits => continue,
                Verdict::FitsAfter(time) => Wait::Time(time),
                Verdict::NeverFits => Wait::Forever,
            };
            if found.is_some_and(|(_, denial)| !denial.wait.is_shorter_than(wait)) {
                continue;
            }
            let denial = Denial {
                measure: Some(limit.measure),
                window: limit.window,
                limit: limit.amount,
                used: limit.used(),
                requested,
                wait,
            };
            found = Some((Some(place), denial));
        }
        let full = self.concurrency.filter(|&limit| in_flight >= limit);
        found.or_else(|| {
            let denial = Denial {
                measure: None,
                window: Duration::ZERO,
                limit: full?,
                used: in_flight,
                requested: 1,
                wait: Wait::Slot,
            };
            Some((None, denial))
        })
    }

    /// Corrects at `now` what a request took at `at`. `counts` says whether it belongs to the
    /// present account, and `first` that it was the first of that.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        at: Timestamp,
        (from, to): (Charges, Charges),
        (counts, first): (bool, bool),
    ) {
        for limit in &mut self.rates {
            let (from, to) = (from.of(limit.measure), to.of(limit.measure));
            limit.settle(now, at, from, to);
            if counts {
                limit.counts.corrected(from, to, first);
            }
        }
    }

    /// Charges output that has just been generated.
    pub(crate) fn produce(&mut self, now: Timestamp, tokens: u64, counts: bool) {
        for limit in &mut self.rates {
            if matches!(limit.measure, Measure::Tokens | Measure::OutputTokens) {
                limit.settle(now, now, 0, tokens);
                if counts {
                    limit.counts.produced(tokens);
                }
            }
        }
    }

    /// When the next foreign request arrives.
    pub(crate) fn foreign_due(&self) -> Timestamp {
        let due = self.rates.iter().map(Limit::foreign_due).min();
        due.unwrap_or(Timestamp::NEVER)
    }

    /// Judges the foreign requests that arrive at `now`.
    pub(crate) fn foreign_arrives(&mut self, now: Timestamp) {
        for limit in &mut self.rates {
            if limit.foreign_due() <= now {
                limit.foreign_arrives();
            }
        }
    }

    /// After a long pause leaves out foreign requests that no level remembers.
    pub(crate) fn skip_foreign_towards(&mut self, now: Timestamp) {
        for limit in &mut self.rates {
            limit.skip_foreign_towards(now);
        }
    }

    /// The level at `now` of the first limit on `measure`.
    pub(crate) fn level(&mut self, now: Timestamp, measure: Measure) -> Option<Level> {
        let limit = self
            .rates
            .iter_mut()
            .find(|limit| limit.measure == measure)?;
        limit.model.advance(now);
        Some(limit.level())
    }

    /// The account of each rate limit.
    pub(crate) fn stats(&self) -> Vec<LimitStats> {
        self.rates.iter().map(Limit::stats).collect()
    }

    /// Refusals by the names of limits, those included that are no more.
    pub(crate) fn throttled(&self) -> impl Iterator<Item = (&str, u64)> {
        let rates = self.rates.iter();
        let rates = rates.map(|limit| (limit.name.as_str(), limit.counts.throttled));
        let gone = self.gone_throttled.iter();
        let gone = gone.map(|(name, count)| (name.as_str(), *count));
        let concurrency = [("concurrency", self.concurrency_throttled)];
        rates.chain(gone).chain(concurrency)
    }

    /// Starts new accounts. Levels stay.
    pub(crate) fn clear_counts(&mut self) {
        self.concurrency_throttled = 0;
        self.gone_throttled.clear();
        for limit in &mut self.rates {
            limit.counts = counts::Counts::default();
        }
    }
}

impl Charges {
    /// The same with so many times the tokens, rounded up.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        if scale == 1.0 {
            return self;
        }
        let times = |tokens: u64| (tokens as f64 * scale).ceil() as u64;
        Self {
            requests: self.requests,
            tokens: times(self.tokens),
            input: times(self.input),
            output: times(self.output),
        }
    }

    pub(crate) const fn of(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests => self.requests,
            Measure::Tokens => self.tokens,
            Measure::InputTokens => self.input,
            Measure::OutputTokens => self.output,
        }
    }
}

impl Wait {
    fn is_shorter_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time(a), Self::Time(b)) => a < b,
            (Self::Time(_), _) => true,
            (Self::Slot | Self::Forever, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(change: impl FnOnce(&mut ServerConfig)) -> Limits {
        let mut config = ServerConfig::default();
        change(&mut config);
        Limits::new(&config, 7)
    }

    fn charges(tokens: u64) -> Charges {
        Charges {
            requests: 1,
            tokens,
            ..Charges::default()
        }
    }

    fn ask(limits: &mut Limits, tokens: u64, in_flight: u64) -> Result<(), Denial> {
        let charges = charges(tokens);
        limits.admit(Timestamp::ZERO, charges, charges, in_flight)
    }

    fn remaining(limits: &mut Limits, measure: Measure) -> u64 {
        limits.level(Timestamp::ZERO, measure).unwrap().remaining
    }

    #[test]
    fn a_refused_request_takes_nothing_from_the_limits_that_would_have_admitted_it() {
        let mut limits = limits(|c| {
            c.rpm = Some(600);
            c.tpm = Some(6_000);
        });
        assert_eq!(ask(&mut limits, 100, 0), Ok(()));
        let denial = ask(&mut limits, 100, 1).unwrap_err();
        assert_eq!(denial.measure, Some(Measure::Tokens));
        assert_eq!(denial.wait, Wait::Time(SECOND));
        assert_eq!(remaining(&mut limits, Measure::Requests), 9);
        assert_eq!(remaining(&mut limits, Measure::Tokens), 0);
    }

    #[test]
    fn the_longest_wait_is_the_one_named() {
        let mut limits = limits(|c| {
            c.rpm = Some(60);
            c.rps = Some(100);
            c.tpm = Some(600);
        });
        assert_eq!(ask(&mut limits, 9, 0), Ok(()));
        let denial = ask(&mut limits, 10, 1).unwrap_err();
        assert_eq!(
            (denial.measure, denial.window, denial.wait),
            (Some(Measure::Requests), 60 * SECOND, Wait::Time(SECOND))
        );
        assert_eq!((denial.limit, denial.used, denial.requested), (60, 60, 1));
    }

    #[test]
    fn a_full_house_says_that_a_slot_must_be_freed() {
        let mut limits = limits(|c| c.concurrency = Some(2));
        assert_eq!(ask(&mut limits, 1, 1), Ok(()));
        let denial = ask(&mut limits, 1, 2).unwrap_err();
        assert_eq!((denial.measure, denial.wait), (None, Wait::Slot));
    }

    #[test]
    fn a_charge_corrected_upwards_becomes_a_debt() {
        let mut limits = limits(|c| c.tpm = Some(600));
        assert_eq!(ask(&mut limits, 10, 0), Ok(()));
        let settled = (charges(10), charges(15));
        limits.settle(Timestamp::ZERO, Timestamp::ZERO, settled, (true, true));
        let denial = ask(&mut limits, 1, 0).unwrap_err();
        assert_eq!(denial.wait, Wait::Time(Duration::from_millis(600)));
    }

    proptest! {
        /// A client that knows no more than the reply's text computes the server's own instant.
        #[test]
        fn the_text_formula_gives_the_wait_within_one_unit(
            tpm in 60u64..100_000,
            burst_ms in 1u64..60_000,
            asked in prop::collection::vec((1u64..500, 0u64..1_000), 1..30),
        ) {
            let mut limits = limits(|c| {
                c.tpm = Some(tpm);
                c.burst = Duration::from_millis(burst_ms);
            });
            let capacity = (tpm * burst_ms / 60_000).max(1);
            let mut now = Timestamp::ZERO;
            for (charge, gap_ms) in asked {
                now = now + Duration::from_millis(gap_ms);
                let all = charges(charge);
                let Err(denial) = limits.admit(now, all, all, 0) else { continue };
                let Wait::Time(wait) = denial.wait else { continue };
                if charge > capacity {
                    continue;
                }
                let units = (denial.used + denial.requested - denial.limit) as f64;
                let computed = units * 60.0 / tpm as f64;
                prop_assert!(computed >= wait.as_secs_f64() - 1e-6);
                prop_assert!(computed <= wait.as_secs_f64() + 60.0 / tpm as f64 + 1e-6);
            }
        }
    }
}
