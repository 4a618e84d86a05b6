//! A list of everything that was admitted.

use std::collections::VecDeque;
use std::time::Duration;

use brimful_core::Timestamp;

use super::model::{Verdict, saturate};

/// Different instants kept: 64 MiB.
const INSTANTS_MAX: usize = 1 << 22;

/// Admits `amount` units in any window: one that ends at `t` holds what was taken in
/// `(t − length, t]`. Exact up to [`INSTANTS_MAX`] different instants in a window; beyond, what is
/// taken last counts for longer than it should.
#[derive(Clone, Debug)]
pub(crate) struct SlidingLog {
    amount: u64,
    length_ns: u64,
    now_ns: u64,
    /// Instants of the last window with what was taken at each.
    taken: VecDeque<(u64, u64)>,
    sum: u64,
    instants_max: usize,
}

impl SlidingLog {
    pub(super) const fn new(amount: u64, length_ns: u64) -> Self {
        Self {
            amount,
            length_ns,
            now_ns: 0,
            taken: VecDeque::new(),
            sum: 0,
            instants_max: INSTANTS_MAX,
        }
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now_ns = now.as_nanos();
        while let Some(&(at, units)) = self.taken.front() {
            if self.now_ns - at < self.length_ns {
                break;
            }
            self.sum -= units;
            self.taken.pop_front();
        }
    }

    pub(super) fn verdict(&self, need: u64) -> Verdict {
        if need > self.amount {
            return Verdict::NeverFits;
        }
        let mut excess = self.sum.saturating_add(need).saturating_sub(self.amount);
        if excess == 0 {
            return Verdict::Fits;
        }
        let mut leaves = self.now_ns;
        for &(at, units) in &self.taken {
            leaves = at.saturating_add(self.length_ns);
            if units >= excess {
                break;
            }
            excess -= units;
        }
        Verdict::FitsAfter(Duration::from_nanos(leaves.saturating_sub(self.now_ns)))
    }

    pub(super) fn take(&mut self, units: u64) {
        // What does not fit into the sum would break it when it leaves.
        let units = units.min(u64::MAX - self.sum);
        if units == 0 {
            return;
        }
        self.sum += units;
        let full = self.taken.len() >= self.instants_max;
        match self.taken.back_mut() {
            Some((at, already)) if *at == self.now_ns || full => {
                *at = self.now_ns;
                *already += units;
            }
            _ => self.taken.push_back((self.now_ns, units)),
        }
    }

    pub(super) fn give_back(&mut self, units: u64, taken: Timestamp) {
        let at = taken.as_nanos();
        let place = self.taken.partition_point(|&(earlier, _)| earlier < at);
        if let Some((found, already)) = self.taken.get_mut(place)
            && *found == at
        {
            let units = units.min(*already);
            *already -= units;
            self.sum -= units;
        }
    }

    pub(super) fn remaining(&self) -> i64 {
        saturate(i128::from(self.amount) - i128::from(self.sum))
    }

    pub(super) fn until_full(&self) -> Duration {
        let last = self.taken.iter().rev().find(|(_, units)| *units > 0);
        let leaves = last.map_or(0, |&(at, _)| at.saturating_add(self.length_ns));
        Duration::from_nanos(leaves.saturating_sub(self.now_ns))
    }

    pub(super) fn list_like(&mut self, old: &Self) {
        if self.length_ns == old.length_ns {
            *self = Self {
                amount: self.amount,
                ..old.clone()
            };
        } else {
            self.now_ns = old.now_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_bound_it_errs_on_the_strict_side() {
        let mut log = SlidingLog {
            instants_max: 3,
            ..SlidingLog::new(100, 10)
        };
        for at in 0..6 {
            log.advance(Timestamp::from_nanos(at));
            log.take(1);
        }
        assert_eq!((log.taken.len(), log.remaining()), (3, 94));
        log.advance(Timestamp::from_nanos(14));
        assert_eq!(log.remaining(), 96);
        log.advance(Timestamp::from_nanos(15));
        assert_eq!(log.remaining(), 100);
    }
}
