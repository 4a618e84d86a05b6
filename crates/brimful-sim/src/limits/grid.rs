//! Windows one after the other.

use std::time::Duration;

use brimful_core::Timestamp;

/// Windows of equal length, of which one begins at `phase`. The first one is cut off by the start
/// of time unless `phase` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    length_ns: u64,
    phase_ns: u64,
}

impl Grid {
    pub(super) fn new(length: Duration, phase: Duration) -> Self {
        let length_ns = nanos(length).max(1);
        Self {
            length_ns,
            phase_ns: nanos(phase) % length_ns,
        }
    }

    pub(super) const fn length_ns(self) -> u64 {
        self.length_ns
    }

    /// The number of the window that holds `at`; each window includes its start and not its end.
    pub(super) const fn index(self, at: Timestamp) -> u64 {
        let shifted = at.as_nanos().saturating_add(self.length_ns - self.phase_ns);
        shifted / self.length_ns
    }

    /// Where the window `index` ends and the next one begins.
    pub(super) const fn end_ns(self, index: u64) -> u64 {
        let end = index.saturating_mul(self.length_ns);
        end.saturating_add(self.phase_ns)
    }

    /// Time from `now` to the end of its window.
    pub(super) const fn until_end(self, now: Timestamp) -> u64 {
        self.end_ns(self.index(now)).saturating_sub(now.as_nanos())
    }
}

/// Nanoseconds, at most as many as an instant can have.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_at_their_ends() {
        let grid = Grid::new(Duration::from_nanos(10), Duration::from_nanos(23));
        for (at, end) in [(0, 3), (2, 3), (3, 13), (12, 13), (13, 23), (1_000, 1_003)] {
            let index = grid.index(Timestamp::from_nanos(at));
            assert_eq!(grid.end_ns(index), end, "at {at}");
        }
        let aligned = Grid::new(Duration::from_nanos(10), Duration::ZERO);
        assert_eq!(aligned.until_end(Timestamp::ZERO), 10);
        assert_eq!(aligned.until_end(Timestamp::from_nanos(10)), 10);
        assert_eq!(aligned.until_end(Timestamp::from_nanos(19)), 1);
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let grid = Grid::new(Duration::MAX, Duration::MAX);
        assert_eq!(grid.until_end(Timestamp::NEVER), 0);
        let short = Grid::new(Duration::ZERO, Duration::MAX);
        assert!(short.until_end(Timestamp::NEVER) <= 1);
    }
}
