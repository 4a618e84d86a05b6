//! A count of what started in the last window, exact to a 4,000th of it, never too low.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// Starts within a 4,000th of the window are counted as one: the counted stretch is at most
/// 0.025 % longer than the window, and the count costs at most 64 KB however high the rate. What
/// starts less often is counted exactly.
const PARTS: u64 = 4000;

/// The most that is counted in one entry: twice the largest amount, so that an entry full of debt
/// blocks for a window like any other, and the sum of all cannot overflow.
pub(super) const UNITS_MAX: u64 = 1 << 51;

/// Admits no more than `amount` in any half-open stretch of `length`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    amount: u64,
    /// How long a start counts, in nanoseconds.
    length: u64,
    part: u64,
    /// Oldest first: the last of the starts that are counted as one, and their units. They count
    /// until `length` after it. Bounded by `PARTS` + 2.
    taken: VecDeque<(Timestamp, u64)>,
    /// Sum of `taken`.
    sum: u64,
    /// The first of the starts that the newest entry stands for.
    opened: Timestamp,
    /// What started up to then counts no more. `None` while everything counts.
    forgotten: Option<Timestamp>,
}

impl Window {
    /// `length` in nanoseconds.
    pub(super) fn new(amount: u64, length: u64) -> Self {
        Self {
            amount,
            length,
            part: part(length),
            taken: VecDeque::new(),
            sum: 0,
            opened: Timestamp::ZERO,
            forgotten: None,
        }
    }

    /// The instant from which `units` fit, or `now`.
    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        // Entries are dropped only when something is taken, so the sum may still hold old ones.
        if self.sum + units <= self.amount {
            return now;
        }
        self.earliest_slow(now, units)
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        while let Some(&(oldest, count)) = self.taken.front() {
            if elapsed(oldest, now) < self.length {
                break;
            }
            self.sum -= count;
            self.forgotten = Some(oldest);
            self.taken.pop_front();
        }
        let within = elapsed(self.opened, now) < self.part;
        match self.taken.back_mut() {
            // Should the clock step back, the newest entry goes on.
            Some((newest, count)) if within || now <= *newest => {
                *newest = now.max(*newest);
                let counted = units.min(UNITS_MAX - *count);
                *count += counted;
                self.sum += counted;
            }
            _ => {
                self.opened = now;
                let counted = units.min(UNITS_MAX);
                self.taken.push_back((now, counted));
                self.sum += counted;
            }
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
        if self.forgotten >= Some(taken_at) {
            return;
        }
        // The entry that stands for `taken_at`. Where the clock had stepped back it may be an older
        // one than that which counted it: the units then stay longer than they should, not shorter.
        let index = self.taken.partition_point(|&(last, _)| last < taken_at);
        if let Some((_, count)) = self.taken.get_mut(index) {
            let given_back = (reserved - actual).min(*count);
            *count -= given_back;
            self.sum -= given_back;
        }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.taken.len()
    }

    fn earliest_slow(&self, now: Timestamp, units: u64) -> Timestamp {
        let mut sum = self.sum;
        let mut free_from = now;
        for &(last, count) in &self.taken {
            if elapsed(last, now) < self.length {
                if sum + units <= self.amount {
                    break;
                }
                free_from = Timestamp::from_nanos(last.as_nanos().saturating_add(self.length));
            }
            sum -= count;
        }
        free_from.max(now)
    }
}

/// What the counted stretch may exceed a window of this length by, in nanoseconds.
pub(super) const fn part(length: u64) -> u64 {
    length / PARTS
}

#[inline]
const fn elapsed(since: Timestamp, now: Timestamp) -> u64 {
    now.as_nanos().saturating_sub(since.as_nanos())
}
