//! A count of what started in the last window, exact to a 4,000th of it, never too low.

use std::collections::VecDeque;
use std::time::Duration;

use super::Taken;
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
    /// Oldest first: until when starts that are counted as one count, which is `length` after the
    /// last of them, and their units. Bounded by `PARTS` + 3. Ends, not starts: what an earlier run
    /// has started lies before the origin of time.
    taken: VecDeque<(Timestamp, u64)>,
    /// Sum of `taken`.
    sum: u64,
    /// The first of the starts that the newest entry stands for.
    opened: Timestamp,
    /// What counted until then or less counts no more. `None` while everything counts.
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

    /// The instant from which `units` fit, or `now`. Where they never fit: from which nothing else
    /// counts.
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
        while let Some(&(until, count)) = self.taken.front() {
            if until > now {
                break;
            }
            self.sum -= count;
            self.forgotten = Some(until);
            self.taken.pop_front();
        }
        let within = elapsed(self.opened, now) < self.part;
        let until = self.until(now);
        match self.taken.back_mut() {
            // Should the clock step back, the newest entry goes on.
            Some((newest, count)) if within || until <= *newest => {
                *newest = until.max(*newest);
                let counted = units.min(UNITS_MAX - *count);
                *count += counted;
                self.sum += counted;
            }
            _ => {
                self.opened = now;
                let counted = units.min(UNITS_MAX);
                self.taken.push_back((until, counted));
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
        let until = self.until(taken_at);
        if self.forgotten >= Some(until) {
            return;
        }
        // The entry that stands for `taken_at`. Where the clock had stepped back it may be an older
        // one than that which counted it: the units then stay longer than they should, not shorter.
        let index = self.taken.partition_point(|&(end, _)| end < until);
        if let Some((_, count)) = self.taken.get_mut(index) {
            let given_back = (reserved - actual).min(*count);
            *count -= given_back;
            self.sum -= given_back;
        }
    }

    /// What counts at `now`, oldest first.
    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<Taken> {
        let counting = self.taken.iter().filter(|&&(until, _)| until > now);
        let counting = counting.map(|&(until, units)| Taken {
            age: Duration::from_nanos(self.length).saturating_sub(until.since(now)),
            units,
        });
        counting.filter(|taken| taken.units > 0).collect()
    }

    /// Counts what was taken before, besides what is counted already.
    pub(super) fn restore(&mut self, now: Timestamp, before: &[Taken]) {
        let (length, most) = (Duration::from_nanos(self.length), UNITS_MAX);
        let mut all: Vec<(Timestamp, u64)> = before
            .iter()
            .filter(|taken| taken.age < length)
            .map(|taken| (now + (length - taken.age), taken.units.min(most)))
            .chain(self.taken.iter().copied())
            .collect();
        all.sort_unstable();
        let (part, mut opened) = (Duration::from_nanos(self.part), None);
        self.taken.clear();
        for (until, units) in all {
            let within = opened.is_some_and(|opened| until.since(opened) < part);
            match self.taken.back_mut() {
                Some((last, count)) if within => {
                    (*last, *count) = (until, (*count + units).min(most))
                }
                _ => {
                    opened = Some(until);
                    self.taken.push_back((until, units));
                }
            }
        }
        // What is older than all that is told has left its window.
        self.forgotten = self.forgotten.max(Some(now));
        // What starts from now on must not prolong what is older.
        self.taken.push_back((self.until(now), 0));
        self.opened = now;
        self.sum = self.taken.iter().map(|&(_, units)| units).sum();
    }

    /// Goes on where `old`, of another length or amount, stands.
    pub(super) fn carry(&mut self, now: Timestamp, old: &Self) {
        self.restore(now, &old.snapshot(now));
        // What had left the shorter one is not told, and must not be given back by a longer one.
        let longer = self.length.saturating_sub(old.length);
        self.forgotten = Some(now + Duration::from_nanos(longer));
    }

    /// Until when counts what starts at `at`.
    #[inline]
    const fn until(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_nanos(at.as_nanos().saturating_add(self.length))
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.taken.len()
    }

    fn earliest_slow(&self, now: Timestamp, units: u64) -> Timestamp {
        let mut sum = self.sum;
        let mut free_from = now;
        for &(until, count) in &self.taken {
            if until > now {
                if sum + units <= self.amount {
                    break;
                }
                free_from = until;
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
