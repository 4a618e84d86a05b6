//! Even sending at a rate that changes all the time.

use std::time::Duration;

use crate::time::Timestamp;

/// What a late wake-up may make up for: timers are about a millisecond late.
const CATCH_UP: Duration = Duration::from_millis(5);
/// The least in units a second: whatever is computed, something starts again. A limit of less would
/// be one of hours.
const LEAST: f64 = 1.0 / 3_600.0;

/// Lets units start at a rate. What is large is paid for after it started.
#[derive(Clone, Debug)]
pub(in crate::adapt) struct Pacer {
    /// Nanoseconds for a unit.
    nanos: f64,
    next: Timestamp,
    /// What waiting earns at most.
    catch_up: Duration,
}

impl Pacer {
    /// At so many units a second, of which waiting saves up `burst`.
    pub(in crate::adapt) fn new(per_s: f64, burst: u64) -> Self {
        let mut pacer = Self {
            nanos: 0.0,
            next: Timestamp::ZERO,
            catch_up: CATCH_UP,
        };
        pacer.set(per_s, burst);
        pacer
    }

    /// Another rate and burst from the next start on.
    pub(in crate::adapt) fn set(&mut self, per_s: f64, burst: u64) {
        // What is no number becomes the least, too.
        self.nanos = 1e9 / per_s.max(LEAST);
        self.catch_up = CATCH_UP.max(self.time(burst));
    }

    fn time(&self, units: u64) -> Duration {
        Duration::from_nanos((self.nanos * units as f64) as u64)
    }

    /// The instant from which something may start.
    pub(in crate::adapt) const fn earliest(&self) -> Timestamp {
        self.next
    }

    pub(in crate::adapt) fn take(&mut self, now: Timestamp, units: u64) {
        self.next = self.next.max(now - self.catch_up) + self.time(units);
    }

    /// What took `from` units turns out to take `to`.
    pub(in crate::adapt) fn correct(&mut self, from: u64, to: u64) {
        let less = self.time(from.saturating_sub(to));
        self.next = self.next + self.time(to.saturating_sub(from)) - less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_evenly_and_little_is_made_up_for() {
        let mut pacer = Pacer::new(100.0, 0);
        let mut now = Timestamp::from_secs(1);
        let mut starts = Vec::new();
        for _ in 0..5 {
            now = now.max(pacer.earliest());
            pacer.take(now, 1);
            starts.push(now.as_nanos() / 1_000_000);
        }
        assert_eq!(starts, [1_000, 1_005, 1_015, 1_025, 1_035]);
        pacer.set(10.0, 0);
        pacer.take(Timestamp::from_secs(9), 2);
        assert_eq!(pacer.earliest(), Timestamp::from_millis(9_195));
    }
}
