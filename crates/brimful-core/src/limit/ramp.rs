//! Growing into a limit: providers that ask for it judge how fast traffic rises.
//!
//! The amount rises in equal steps within each period and compounds from period to period. A step
//! is only taken when at least half of what was allowed since the last one was used, so that an
//! idle hour earns no leap; or when a request waits that is larger than what is reached, which
//! nothing that can be sent would ever change.

use std::time::Duration;

use super::LimitSpec;
use crate::time::Timestamp;

/// Steps in a period: small ones, because a leap of half at once is what providers object to.
const STEPS: u64 = 10;
const PERIOD_MIN: Duration = Duration::from_secs(1);
const PERIOD_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// How fast a limit may be grown into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The amount that it begins with, in units of the limit's kind in its window; at least 1.
    pub start: u64,
    /// How much more each period may bring, in per cent of what its beginning had; at least 1.
    pub percent: u32,
    /// The period, 1 s to 31 days.
    pub period: Duration,
}

impl Ramp {
    /// From `start` by at most 50 % in 15 minutes, which is what OpenAI and Anthropic advise.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self {
            start,
            percent: 50,
            period: Duration::from_secs(15 * 60),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.start > 0 && self.percent > 0 && self.period >= PERIOD_MIN && self.period <= PERIOD_MAX
    }
}

/// A ramp under way.
#[derive(Clone, Debug)]
pub(super) struct Ramping {
    ramp: Ramp,
    /// The amount at the beginning of the period.
    base: u64,
    /// Steps since then.
    step: u64,
    amount: u64,
    /// The amount at its end.
    full: u64,
    /// When it may rise next. [`Timestamp::NEVER`] before anything was taken.
    next: Timestamp,
    /// What had been admitted at the last step.
    admitted: u64,
    /// Whether a request waits that is larger than what is reached.
    awaited: bool,
}

impl Ramping {
    /// `None` where there is nothing to grow into.
    pub(super) fn new(spec: &LimitSpec) -> Option<Self> {
        let ramp = spec.ramp.filter(|ramp| ramp.start < spec.amount)?;
        Some(Self {
            ramp,
            base: ramp.start,
            step: 0,
            amount: ramp.start,
            full: spec.amount,
            next: Timestamp::NEVER,
            admitted: 0,
            awaited: false,
        })
    }

    /// Goes on where `old` stands.
    pub(super) fn carry(self, old: &Self, spec: &LimitSpec) -> Option<Self> {
        let reached = self.beyond(old.amount, spec)?;
        Some(Self {
            next: old.next,
            admitted: old.admitted,
            ..reached
        })
    }

    /// Goes on from an amount that was already in use.
    pub(super) fn beyond(mut self, amount: u64, spec: &LimitSpec) -> Option<Self> {
        self.base = self.base.max(amount);
        self.amount = self.base;
        (self.amount < spec.amount).then_some(self)
    }

    /// The limit as it is for now. Its burst shrinks with it.
    pub(super) fn apply(&self, spec: &LimitSpec) -> LimitSpec {
        let scaled = |units: u64| {
            let scaled = u128::from(units) * u128::from(self.amount) / u128::from(spec.amount);
            u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
        };
        LimitSpec {
            amount: self.amount,
            burst: spec.burst.map(scaled),
            ramp: None,
            ..spec.clone()
        }
    }

    /// A request waits that fits only once it has risen: from now on time alone counts.
    pub(super) fn awaits(&mut self, now: Timestamp) {
        self.awaited = true;
        if self.next == Timestamp::NEVER {
            self.next = now + self.length();
        }
    }

    /// How long a step lasts.
    fn length(&self) -> Duration {
        self.ramp.period / STEPS as u32
    }

    /// Whether the amount changed.
    pub(super) fn step(&mut self, now: Timestamp, admitted: u64, spec: &LimitSpec) -> bool {
        let length = self.length();
        if self.next == Timestamp::NEVER {
            if admitted > 0 {
                self.next = now + length;
                self.admitted = 0;
            }
            return false;
        }
        if now < self.next {
            return false;
        }
        let used = admitted.saturating_sub(self.admitted);
        self.admitted = admitted;
        self.next = now + length;
        // In windows of a step: what a step allows, by the time that it lasts.
        let allowed = u128::from(self.amount) * length.as_nanos();
        let is_used = u128::from(used) * 2 * spec.window.as_nanos() >= allowed;
        // Whoever still waits says so again.
        if !std::mem::take(&mut self.awaited) && !is_used {
            return false;
        }
        self.step += 1;
        let more = u128::from(self.base) * u128::from(self.ramp.percent) * u128::from(self.step)
            / u128::from(100 * STEPS);
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.amount = self.base.saturating_add(more).min(self.full);
        if self.step == STEPS {
            self.step = 0;
            // Less than a unit of growth would be none for ever.
            self.base = self.amount.max(self.base + 1);
            self.amount = self.base.min(self.full);
        }
        true
    }

    pub(super) const fn is_over(&self) -> bool {
        self.amount >= self.full
    }

    pub(super) const fn next(&self) -> Timestamp {
        self.next
    }
}
