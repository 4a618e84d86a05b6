//! A count that starts anew with each window.

use std::time::Duration;

use brimful_core::Timestamp;

use super::grid::Grid;
use super::model::{Verdict, saturate};

/// Admits `amount` units in each window of its grid.
#[derive(Clone, Debug)]
pub(crate) struct FixedWindow {
    amount: u64,
    grid: Grid,
    now: Timestamp,
    /// Where the window of `now` begins and ends.
    start_ns: u64,
    end_ns: u64,
    used: u64,
}

impl FixedWindow {
    pub(super) fn new(amount: u64, grid: Grid) -> Self {
        let end_ns = grid.end_ns(grid.index(Timestamp::ZERO));
        Self {
            amount,
            grid,
            now: Timestamp::ZERO,
            start_ns: 0,
            end_ns,
            used: 0,
        }
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = now;
        if now.as_nanos() < self.end_ns {
            return;
        }
        self.end_ns = self.grid.end_ns(self.grid.index(now));
        self.start_ns = self.end_ns.saturating_sub(self.grid.length_ns());
        self.used = 0;
    }

    pub(super) fn verdict(&self, need: u64) -> Verdict {
        if need > self.amount {
            Verdict::NeverFits
        } else if self.used.saturating_add(need) <= self.amount {
            Verdict::Fits
        } else {
            Verdict::FitsAfter(self.until_end())
        }
    }

    pub(super) const fn take(&mut self, units: u64) {
        self.used = self.used.saturating_add(units);
    }

    pub(super) const fn give_back(&mut self, units: u64, taken: Timestamp) {
        if taken.as_nanos() >= self.start_ns {
            self.used = self.used.saturating_sub(units);
        }
    }

    pub(super) fn remaining(&self) -> i64 {
        saturate(i128::from(self.amount) - i128::from(self.used))
    }

    pub(super) const fn until_full(&self) -> Duration {
        if self.used == 0 {
            return Duration::ZERO;
        }
        self.until_end()
    }

    pub(super) fn count_like(&mut self, old: &Self) {
        if self.grid == old.grid {
            *self = Self {
                amount: self.amount,
                ..old.clone()
            };
        } else {
            self.advance(old.now);
        }
    }

    const fn until_end(&self) -> Duration {
        Duration::from_nanos(self.end_ns.saturating_sub(self.now.as_nanos()))
    }
}
