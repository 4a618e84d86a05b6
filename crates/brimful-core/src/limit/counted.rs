//! Even sending together with a count over a window: what `paced` and `sliding` consist of.

use std::time::Duration;

use super::Taken;
use super::pace::Pace;
use super::window::Window;
use crate::time::Timestamp;

/// Limits of an hour and longer are not paced, only counted: whoever may send 10,000 requests a day
/// does not want one every 8.6 s, and such limits exist beside a faster one, which paces.
const PACED_BELOW: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub(super) struct Counted {
    amount: u64,
    pace: Option<Pace>,
    window: Window,
}

impl Counted {
    pub(super) const fn new(amount: u64, pace: Option<Pace>, window: Window) -> Self {
        Self {
            amount,
            pace,
            window,
        }
    }

    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units > self.amount {
            return Err(self.amount);
        }
        let by_pace = self.pace.as_ref().map_or(now, |pace| pace.earliest(now));
        Ok(by_pace.max(self.window.earliest(now, units)))
    }

    /// The same for `units`, after `first` have been taken at `now`.
    pub(super) fn earliest_after(&self, now: Timestamp, first: u64, units: u64) -> Timestamp {
        let both = first.saturating_add(units);
        if both > self.amount {
            return Timestamp::NEVER;
        }
        let pace = self.pace.as_ref();
        let by_pace = pace.map_or(now, |pace| pace.earliest_after(now, first));
        by_pace.max(self.window.earliest(now, both))
    }

    /// Goes on where `old` stands, whose numbers were others.
    pub(super) fn carry(&mut self, now: Timestamp, old: &Self) {
        if let (Some(pace), Some(old)) = (&mut self.pace, &old.pace) {
            pace.carry(now, old);
        }
        self.window.carry(now, &old.window);
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<Taken> {
        self.window.snapshot(now)
    }

    pub(super) fn restore(&mut self, now: Timestamp, before: &[Taken]) {
        self.window.restore(now, before);
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        if let Some(pace) = &mut self.pace {
            pace.take(now, units);
        }
        self.window.take(now, units);
    }

    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        taken_at: Timestamp,
        reserved: u64,
        actual: u64,
    ) {
        if let Some(pace) = &mut self.pace {
            pace.correct(now, i128::from(reserved) - i128::from(actual));
        }
        self.window.correct(now, taken_at, reserved, actual);
    }

    pub(super) fn resume(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.resume(now);
        }
    }

    pub(super) fn drain(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.drain(now);
        }
    }
}

/// Whether starts within a window of this length are spread over it.
pub(super) fn is_paced(window: Duration) -> bool {
    window < PACED_BELOW
}
