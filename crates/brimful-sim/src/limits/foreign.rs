//! Tenants who share a limit and do not know of us.

use std::time::Duration;

use brimful_core::Timestamp;
use fastrand::Rng;

/// Arrivals caught up with at a time: after a longer pause only the last ones matter to any level.
const CAUGHT_UP_MAX: f64 = 100_000.0;

/// A Poisson process, drawn from one arrival to the next as time comes to it.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    rng: Rng,
    next: Timestamp,
}

impl Foreign {
    pub(super) fn new(seed: u64, now: Timestamp, rate_per_ns: f64) -> Self {
        let mut foreign = Self {
            rng: Rng::with_seed(seed),
            next: now,
        };
        foreign.passed(rate_per_ns);
        foreign
    }

    /// The next arrival.
    pub(super) const fn next(&self) -> Timestamp {
        self.next
    }

    /// Draws the one after it.
    pub(super) fn passed(&mut self, rate_per_ns: f64) {
        // 1 − u is never zero, whose logarithm is not a number.
        let gap = -(1.0 - self.rng.f64()).ln() / rate_per_ns;
        // Two at one instant would be lost among the rest, but no time at all would never end.
        self.next = self.next + duration(gap.max(1.0));
    }

    /// Leaves out what lies too far before `now`.
    pub(super) fn skip_towards(&mut self, now: Timestamp, rate_per_ns: f64) {
        let behind = now.since(self.next).as_nanos() as f64;
        if behind * rate_per_ns > CAUGHT_UP_MAX {
            self.next = now - duration(CAUGHT_UP_MAX / rate_per_ns);
        }
    }
}

fn duration(nanos: f64) -> Duration {
    Duration::from_nanos(nanos as u64)
}
