//! What went through one limit.

use brimful_core::Timestamp;
use serde::Serialize;

use crate::config::Measure;

/// The account of one rate limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LimitStats {
    /// The field that sets it (`rpm`), or its own name.
    pub name: String,
    /// What it counts.
    pub measure: Measure,
    /// How much of it a window allows.
    pub amount: u64,
    /// The window.
    pub window_ns: u64,
    /// Units taken by admitted requests, net of what they got back.
    pub taken: u64,
    /// (Units taken less those of the first admission) ÷ (what the limit allowed from the first to
    /// the last admission). `None` with fewer than two.
    pub utilisation: Option<f64>,
    /// The same with what foreign tenants took in that time.
    pub utilisation_with_foreign: Option<f64>,
    /// Requests that this limit refused; of several, the one with the longest wait.
    pub throttled: u64,
    /// Requests of foreign tenants that it admitted.
    pub foreign_admitted: u64,
    /// Requests of foreign tenants that it refused.
    pub foreign_refused: u64,
    /// Units that foreign tenants took.
    pub foreign_taken: u64,
}

/// The same, as it grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) throttled: u64,
    pub(super) foreign_admitted: u64,
    pub(super) foreign_refused: u64,
    pub(super) foreign_taken: u64,
    /// Admissions and what they took, before refunds: their mean is a foreign request's size.
    admissions: u64,
    asked: u64,
    taken: u64,
    /// What the first admission took, which utilisation leaves out.
    first_taken: u64,
    first: Option<Timestamp>,
    last: Timestamp,
    foreign_at_first: u64,
    foreign_at_last: u64,
    /// What was allowed, in units, from the first admission until the rate changed last.
    allowed: f64,
    /// The same until the last admission before that change.
    allowed_at_last: f64,
    changed: Timestamp,
}

impl Counts {
    pub(super) fn admitted(&mut self, now: Timestamp, units: u64) {
        if self.first.is_none() {
            self.first = Some(now);
            self.first_taken = units;
            self.foreign_at_first = self.foreign_taken;
        }
        self.last = now;
        self.foreign_at_last = self.foreign_taken;
        self.admissions += 1;
        self.asked = self.asked.saturating_add(units);
        self.taken = self.taken.saturating_add(units);
    }

    /// Corrects what an admission took; `first` when it was the account's first.
    pub(super) fn corrected(&mut self, from: u64, to: u64, first: bool) {
        let correct = |units: u64| units.saturating_sub(from).saturating_add(to);
        self.taken = correct(self.taken);
        if first {
            self.first_taken = correct(self.first_taken);
        }
    }

    pub(super) const fn produced(&mut self, units: u64) {
        self.taken = self.taken.saturating_add(units);
    }

    /// The mean of what was asked for at admission.
    pub(super) fn mean(&self) -> Option<u64> {
        self.asked.checked_div(self.admissions)
    }

    /// From `now` on another rate is allowed than `rate_per_ns`.
    pub(super) fn rate_changes(&mut self, now: Timestamp, rate_per_ns: f64) {
        self.allowed_at_last = self.allowed_at_last(rate_per_ns);
        self.allowed += self.allowed_since_change(now, rate_per_ns);
        self.changed = now;
    }

    pub(super) fn stats(
        &self,
        name: &str,
        measure: Measure,
        amount: u64,
        window_ns: u64,
    ) -> LimitStats {
        let rate_per_ns = amount as f64 / window_ns as f64;
        let allowed = self.allowed_at_last(rate_per_ns);
        let share = |units: u64| {
            let share = units as f64 / allowed;
            share.is_finite().then_some(share)
        };
        let own = self.taken.saturating_sub(self.first_taken);
        let foreign = self.foreign_at_last - self.foreign_at_first;
        LimitStats {
            name: name.to_owned(),
            measure,
            amount,
            window_ns,
            taken: self.taken,
            utilisation: share(own),
            utilisation_with_foreign: share(own.saturating_add(foreign)),
            throttled: self.throttled,
            foreign_admitted: self.foreign_admitted,
            foreign_refused: self.foreign_refused,
            foreign_taken: self.foreign_taken,
        }
    }

    fn allowed_at_last(&self, rate_per_ns: f64) -> f64 {
        if self.last < self.changed {
            return self.allowed_at_last;
        }
        self.allowed + self.allowed_since_change(self.last, rate_per_ns)
    }

    fn allowed_since_change(&self, until: Timestamp, rate_per_ns: f64) -> f64 {
        let since = self.first.map(|first| first.max(self.changed));
        let time = since.map_or(0, |since| until.since(since).as_nanos());
        time as f64 * rate_per_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;

    fn utilisation(counts: &Counts, amount: u64) -> Option<f64> {
        let stats = counts.stats("a", Measure::Requests, amount, MINUTE_NS);
        stats.utilisation.map(|share| (share * 1e6).round() / 1e6)
    }

    fn rate(amount: u64) -> f64 {
        amount as f64 / MINUTE_NS as f64
    }

    #[test]
    fn utilisation_leaves_out_the_first_admission_and_the_start_burst() {
        let mut counts = Counts::default();
        // 601 requests of 10 tokens, one each 100 ms: exactly 600 a minute.
        for tick in 0..=600 {
            counts.admitted(Timestamp::from_millis(100 * tick + 5_000), 10);
        }
        assert_eq!(utilisation(&counts, 6_000), Some(1.0));
        assert_eq!(utilisation(&counts, 12_000), Some(0.5));
        counts.produced(6_000);
        assert_eq!(utilisation(&counts, 12_000), Some(1.0));
    }

    #[test]
    fn one_admission_has_no_utilisation() {
        let mut counts = Counts::default();
        assert_eq!(utilisation(&counts, 1), None);
        counts.admitted(Timestamp::from_secs(1), 10);
        assert_eq!(utilisation(&counts, 1), None);
    }

    #[test]
    fn corrections_change_what_counts_the_first_ones_too() {
        let mut counts = Counts::default();
        counts.admitted(Timestamp::ZERO, 100);
        counts.admitted(Timestamp::from_secs(60), 100);
        counts.corrected(100, 30, true);
        counts.corrected(100, 50, false);
        assert_eq!((counts.taken, counts.first_taken), (80, 30));
        assert_eq!(utilisation(&counts, 100), Some(0.5));
        assert_eq!(counts.mean(), Some(100));
    }

    #[test]
    fn a_rate_that_changes_counts_each_part_by_its_own() {
        let mut counts = Counts::default();
        counts.rate_changes(Timestamp::from_secs(5), rate(1));
        counts.admitted(Timestamp::from_secs(10), 1);
        counts.admitted(Timestamp::from_secs(40), 15);
        counts.rate_changes(Timestamp::from_secs(70), rate(60));
        assert_eq!(utilisation(&counts, 60), Some(0.5));
        // At 60 a minute 30 until the last admission, another 30 until the change; at 600 then 60.
        counts.admitted(Timestamp::from_secs(76), 45);
        assert_eq!(utilisation(&counts, 600), Some(0.5));
    }

    #[test]
    fn foreign_use_counts_from_the_first_to_the_last_admission() {
        let mut counts = Counts::default();
        let stats = |counts: &Counts| counts.stats("a", Measure::Requests, 60, MINUTE_NS);
        counts.foreign_taken = 5;
        counts.admitted(Timestamp::ZERO, 1);
        counts.foreign_taken = 25;
        counts.admitted(Timestamp::from_secs(60), 30);
        counts.foreign_taken = 99;
        let stats = stats(&counts);
        assert_eq!(
            (utilisation(&counts, 60), stats.foreign_taken),
            (Some(0.5), 99)
        );
        let both = stats.utilisation_with_foreign.unwrap();
        assert!((both - 50.0 / 60.0).abs() < 1e-9, "{both}");
    }
}
