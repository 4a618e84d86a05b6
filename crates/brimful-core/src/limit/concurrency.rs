//! Requests in flight.

use crate::time::Timestamp;

/// Counts what is in flight; admits while there is room.
#[derive(Clone, Debug)]
pub(super) struct Concurrency {
    amount: u64,
    in_flight: u64,
}

impl Concurrency {
    pub(super) const fn new(amount: u64) -> Self {
        Self {
            amount,
            in_flight: 0,
        }
    }

    pub(super) const fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units > self.amount {
            return Err(self.amount);
        }
        if self.in_flight + units <= self.amount {
            Ok(now)
        } else {
            Ok(Timestamp::NEVER)
        }
    }

    /// The same for `units`, after `first` have been taken.
    pub(super) const fn earliest_after(&self, now: Timestamp, first: u64, units: u64) -> Timestamp {
        if self.in_flight.saturating_add(first).saturating_add(units) <= self.amount {
            now
        } else {
            Timestamp::NEVER
        }
    }

    /// Goes on where `old` stands, of another amount.
    pub(super) const fn carry(&mut self, old: &Self) {
        self.in_flight = old.in_flight;
    }

    pub(super) const fn take(&mut self, units: u64) {
        self.in_flight += units;
    }

    pub(super) const fn release(&mut self, units: u64) {
        debug_assert!(self.in_flight >= units, "released more than was taken");
        self.in_flight = self.in_flight.saturating_sub(units);
    }
}
