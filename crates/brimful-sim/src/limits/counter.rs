//! Two counts in place of a list.

use std::time::Duration;

use brimful_core::Timestamp;

use super::grid::Grid;
use super::model::{Verdict, saturate};

/// Admits while this window's count, plus the share of the last window's that a window ending now
/// would still cover, is at most `amount`.
///
/// The comparison is exact: both sides are multiplied by the window's nanoseconds.
/// (<https://blog.cloudflare.com/counting-things-a-lot-of-different-things/>)
#[derive(Clone, Debug)]
pub(crate) struct SlidingCounter {
    amount: u64,
    grid: Grid,
    now: Timestamp,
    index: u64,
    current: u64,
    last: u64,
}

impl SlidingCounter {
    pub(super) const fn new(amount: u64, grid: Grid) -> Self {
        Self {
            amount,
            grid,
            now: Timestamp::ZERO,
            index: grid.index(Timestamp::ZERO),
            current: 0,
            last: 0,
        }
    }

    pub(super) const fn advance(&mut self, now: Timestamp) {
        self.now = now;
        let index = self.grid.index(now);
        if index == self.index {
            return;
        }
        let is_next = index == self.index + 1;
        self.last = if is_next { self.current } else { 0 };
        self.current = 0;
        self.index = index;
    }

    pub(super) fn verdict(&self, need: u64) -> Verdict {
        if need > self.amount {
            return Verdict::NeverFits;
        }
        let until_end = self.grid.until_end(self.now);
        let nanos = match self.fits_before_end(self.current, self.last, need) {
            Some(before_end) if before_end >= until_end => return Verdict::Fits,
            // A place before the end of zero is the end itself, where other counts are judged.
            Some(before_end) if before_end > 0 => until_end - before_end,
            _ => {
                let before_end = self.fits_before_end(0, self.current, need).unwrap_or(0);
                until_end.saturating_add(self.grid.length_ns() - before_end)
            }
        };
        Verdict::FitsAfter(Duration::from_nanos(nanos))
    }

    /// With these counts `need` fits from so many nanoseconds before the window's end; `None` when
    /// this window's count alone leaves no room.
    fn fits_before_end(&self, current: u64, last: u64, need: u64) -> Option<u64> {
        let room = self.amount.checked_sub(current)?.checked_sub(need)?;
        let length = self.grid.length_ns();
        if last == 0 {
            return Some(length);
        }
        let before_end = u128::from(room) * u128::from(length) / u128::from(last);
        Some(u64::try_from(before_end).map_or(length, |before_end| before_end.min(length)))
    }

    pub(super) const fn take(&mut self, units: u64) {
        self.current = self.current.saturating_add(units);
    }

    pub(super) const fn give_back(&mut self, units: u64, taken: Timestamp) {
        let index = self.grid.index(taken);
        if index == self.index {
            self.current = self.current.saturating_sub(units);
        } else if index + 1 == self.index {
            self.last = self.last.saturating_sub(units);
        }
    }

    pub(super) fn remaining(&self) -> i64 {
        let (length, until_end) = (self.grid.length_ns(), self.grid.until_end(self.now));
        let covered = (u128::from(self.last) * u128::from(until_end)).div_ceil(u128::from(length));
        let used = covered.saturating_add(u128::from(self.current));
        let used = i128::try_from(used).unwrap_or(i128::MAX);
        saturate(i128::from(self.amount).saturating_sub(used))
    }

    pub(super) fn until_full(&self) -> Duration {
        let until_end = self.grid.until_end(self.now);
        Duration::from_nanos(match (self.current, self.last) {
            (0, 0) => 0,
            (0, _) => until_end,
            _ => until_end.saturating_add(self.grid.length_ns()),
        })
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
}
