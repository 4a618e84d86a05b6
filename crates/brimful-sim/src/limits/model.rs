//! One way of judging, whichever it is.

use std::time::Duration;

use brimful_core::Timestamp;

use super::bucket::Bucket;
use super::counter::SlidingCounter;
use super::log::SlidingLog;
use super::window::FixedWindow;

/// What a limit says of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It can be taken at once.
    Fits,
    /// It can be taken after exactly this time, if nobody else takes anything.
    FitsAfter(Duration),
    /// It is more than the whole limit.
    NeverFits,
}

/// The state of a limit.
///
/// Everything but [`advance`](Self::advance) speaks of the instant to which it was advanced last.
#[derive(Clone, Debug)]
pub(super) enum Model {
    Bucket(Bucket),
    Fixed(FixedWindow),
    Log(SlidingLog),
    Counter(SlidingCounter),
}

impl Model {
    /// Brings it to `now`, which is not before the instant it was brought to last.
    pub(super) fn advance(&mut self, now: Timestamp) {
        match self {
            Self::Bucket(bucket) => bucket.refill(now),
            Self::Fixed(window) => window.advance(now),
            Self::Log(log) => log.advance(now),
            Self::Counter(counter) => counter.advance(now),
        }
    }

    /// Whether and when `need` units can be taken.
    pub(super) fn verdict(&self, need: u64) -> Verdict {
        match self {
            Self::Bucket(bucket) => bucket.verdict(need),
            Self::Fixed(window) => window.verdict(need),
            Self::Log(log) => log.verdict(need),
            Self::Counter(counter) => counter.verdict(need),
        }
    }

    /// Takes `units`, whatever is left.
    pub(super) fn take(&mut self, units: u64) {
        match self {
            Self::Bucket(bucket) => bucket.take(units),
            Self::Fixed(window) => window.take(units),
            Self::Log(log) => log.take(units),
            Self::Counter(counter) => counter.take(units),
        }
    }

    /// Takes a unit for a request that was refused. Counts simply rise; a bucket has no debt from
    /// what it did not let in.
    pub(super) fn take_refused(&mut self) {
        match self {
            Self::Bucket(bucket) => bucket.take_what_is_there(1),
            _ => self.take(1),
        }
    }

    /// Gives back `units` of what was taken at `taken`. A window that has passed keeps them.
    pub(super) fn give_back(&mut self, units: u64, taken: Timestamp) {
        match self {
            Self::Bucket(bucket) => bucket.give_back(units),
            Self::Fixed(window) => window.give_back(units, taken),
            Self::Log(log) => log.give_back(units, taken),
            Self::Counter(counter) => counter.give_back(units, taken),
        }
    }

    /// Whole units that could be taken; negative while there is a debt.
    pub(super) fn remaining(&self) -> i64 {
        match self {
            Self::Bucket(bucket) => bucket.remaining(),
            Self::Fixed(window) => window.remaining(),
            Self::Log(log) => log.remaining(),
            Self::Counter(counter) => counter.remaining(),
        }
    }

    /// Time until nothing is used any more, if nobody takes anything.
    pub(super) fn until_full(&self) -> Duration {
        match self {
            Self::Bucket(bucket) => bucket.until_full(),
            Self::Fixed(window) => window.until_full(),
            Self::Log(log) => log.until_full(),
            Self::Counter(counter) => counter.until_full(),
        }
    }

    /// Goes on as `other`, a fresh model of another amount. A bucket stays as full as it was in
    /// proportion, a count and a list keep what they hold. Where the two judge differently, or
    /// windows have another length or begin elsewhere, `other` starts fresh.
    pub(super) fn become_like(&mut self, mut other: Self) {
        match (&mut other, &*self) {
            (Self::Bucket(new), Self::Bucket(old)) => new.fill_like(old),
            (Self::Fixed(new), Self::Fixed(old)) => new.count_like(old),
            (Self::Log(new), Self::Log(old)) => new.list_like(old),
            (Self::Counter(new), Self::Counter(old)) => new.count_like(old),
            _ => {}
        }
        *self = other;
    }
}

/// Whole units as headers and texts name them.
pub(super) fn saturate(units: i128) -> i64 {
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}
