//! A count of what started in the last window, exact to a 512th of it, never too low.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// Slots to a window. 512 make the counted stretch at most 0.2 % longer than the window and cost
/// at most 16 KB.
pub(super) const SLOTS: u64 = 512;

/// The most that is counted in one slot: several times the largest amount, so that a slot full of
/// debt blocks for a window like any other, and the sum of all slots stays far from overflow.
const SLOT_MAX: u64 = 1 << 53;

/// Admits no more than `amount` in any stretch of `slots` + 1 consecutive slots, which contains
/// every window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    amount: u64,
    slot_nanos: u64,
    /// Slots that something started in, oldest first: (slot number, units). Bounded by `SLOTS` + 1.
    taken: VecDeque<(u64, u64)>,
    /// Sum of `taken`.
    sum: u64,
}

impl Window {
    pub(super) fn new(amount: u64, window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            amount,
            slot_nanos: nanos.div_ceil(SLOTS),
            taken: VecDeque::new(),
            sum: 0,
        }
    }

    /// The start of the first slot, or `now`, from which `units` fit.
    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        // Slots are dropped only when something is taken, so the sum may still hold old ones.
        if self.sum + units <= self.amount {
            return now;
        }
        self.earliest_slow(now, units)
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        // Should the clock step back, the newest slot goes on.
        let newest = self.taken.back().map_or(0, |&(slot, _)| slot);
        let slot = (now.as_nanos() / self.slot_nanos).max(newest);
        while let Some(&(oldest, count)) = self.taken.front() {
            if oldest + SLOTS >= slot {
                break;
            }
            self.sum -= count;
            self.taken.pop_front();
        }
        if newest != slot || self.taken.is_empty() {
            self.taken.push_back((slot, 0));
        }
        if let Some((_, count)) = self.taken.back_mut() {
            let counted = units.min(SLOT_MAX - *count);
            *count += counted;
            self.sum += counted;
        }
    }

    /// Changes what started at `taken_at` from `reserved` to `actual`. What has left the window
    /// since then counts no more; what was used beyond the reservation counts from `now`.
    pub(super) fn correct(
        &mut self,
        now: Timestamp,
        taken_at: Timestamp,
        reserved: u64,
        actual: u64,
    ) {
        if actual > reserved {
            self.take(now, actual - reserved);
            return;
        }
        let slot = taken_at.as_nanos() / self.slot_nanos;
        if let Ok(index) = self.taken.binary_search_by_key(&slot, |&(slot, _)| slot) {
            let count = &mut self.taken[index].1;
            let given_back = (reserved - actual).min(*count);
            *count -= given_back;
            self.sum -= given_back;
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.taken.len()
    }

    fn earliest_slow(&self, now: Timestamp, units: u64) -> Timestamp {
        let slot = now.as_nanos() / self.slot_nanos;
        let mut sum = self.sum;
        let mut free_from = now;
        for &(oldest, count) in &self.taken {
            if oldest + SLOTS >= slot {
                if sum + units <= self.amount {
                    break;
                }
                let free_slot = oldest + SLOTS + 1;
                free_from = Timestamp::from_nanos(free_slot.saturating_mul(self.slot_nanos));
            }
            sum -= count;
        }
        free_from.max(now)
    }
}
