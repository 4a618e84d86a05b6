//! The curve on which a rate grows again after a loss: fast, then slowly around the rate at which
//! it was lost, then ever faster.

use std::time::Duration;

use crate::time::Timestamp;

/// Growth in parts of the lost rate for the cube of a second: 0.4 at 100 requests a second, which
/// is what the AWS SDKs ship (`SCALE_CONSTANT`), and the same curve at every rate.
const SCALE: f64 = 0.004;

/// What the AWS SDKs keep of a rate after a loss.
pub(super) const BETA: f64 = 0.7;

/// A curve from a rate at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cubic {
    from: Timestamp,
    lost_at: f64,
    /// Seconds from `from` until the lost rate is reached again.
    k: f64,
}

impl Cubic {
    /// From `rate` at `now`, around `lost_at`, which is no lower.
    pub(super) fn new(now: Timestamp, rate: f64, lost_at: f64) -> Self {
        Self {
            from: now,
            lost_at,
            k: cube_root((1.0 - rate / lost_at).max(0.0) / SCALE),
        }
    }

    /// The rate at `now`.
    pub(super) fn rate(&self, now: Timestamp) -> f64 {
        let t = now.since(self.from).as_secs_f64() - self.k;
        self.lost_at * (1.0 + SCALE * t * t * t)
    }

    /// The same curve in other units.
    pub(super) fn scale(&mut self, times: f64) {
        self.lost_at *= times;
    }

    /// Time that was of no use for growing: nothing wanted to start.
    pub(super) fn stood_still(&mut self, time: Duration) {
        self.from = self.from + time;
    }
}

/// By Newton's method: unlike the library's, the same on every machine. For 0 to a few hundred.
fn cube_root(of: f64) -> f64 {
    if of <= 0.0 {
        return 0.0;
    }
    let mut root = 4.0;
    for _ in 0..40 {
        root -= (root - of / (root * root)) / 3.0;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots_are_exact_over_their_range() {
        for root in [0.0, 0.01, 0.5, 1.0, 4.217, 6.3] {
            let found = cube_root(root * root * root);
            assert!((found - root).abs() < 1e-9, "{root}: {found}");
        }
    }

    #[test]
    fn the_curve_is_flat_around_the_rate_that_was_lost() {
        let cubic = Cubic::new(Timestamp::from_secs(10), 70.0, 100.0);
        let at = |seconds: f64| {
            let now = Timestamp::from_secs(10) + Duration::from_secs_f64(seconds);
            cubic.rate(now)
        };
        assert!((at(0.0) - 70.0).abs() < 1e-6);
        assert!((at(4.217) - 100.0).abs() < 0.01);
        assert!((at(3.2) - 99.6).abs() < 0.2 && (at(5.2) - 100.4).abs() < 0.2);
        assert!(at(10.5) > 190.0);
    }
}
