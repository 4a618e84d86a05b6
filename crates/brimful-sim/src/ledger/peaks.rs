//! The most events in any second and in any minute.

use std::collections::VecDeque;

use brimful_core::Timestamp;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;

/// Instants kept: a minute at 70,000 a second, in at most 32 MiB.
const STAMPS_MAX: usize = 1 << 22;

/// Counts events in windows that slide continuously: a window of length W that ends at `t` holds
/// the events in `(t − W, t]`. Exact, as long as no minute has more than [`STAMPS_MAX`] events.
#[derive(Debug)]
pub(crate) struct Peaks {
    /// Events of the last minute.
    stamps: VecDeque<u64>,
    /// How many of them, from the front, are older than a second.
    before_second: usize,
    stamps_max: usize,
    pub(crate) most_1s: u64,
    pub(crate) most_60s: u64,
    /// Whether an instant had to be forgotten too early, which makes `most_60s` (and beyond
    /// [`STAMPS_MAX`] a second also `most_1s`) a lower bound.
    pub(crate) forgot: bool,
}

impl Default for Peaks {
    fn default() -> Self {
        Self {
            stamps: VecDeque::new(),
            before_second: 0,
            stamps_max: STAMPS_MAX,
            most_1s: 0,
            most_60s: 0,
            forgot: false,
        }
    }
}

impl Peaks {
    /// Notes an event at `now`, which is not before the one noted last.
    pub(crate) fn note(&mut self, now: Timestamp) {
        let now = now.as_nanos();
        while self
            .stamps
            .front()
            .is_some_and(|&stamp| now - stamp >= MINUTE_NS)
        {
            self.forget_oldest();
        }
        if self.stamps.len() >= self.stamps_max {
            self.forget_oldest();
            self.forgot = true;
        }
        self.stamps.push_back(now);
        while now - self.stamps[self.before_second] >= SECOND_NS {
            self.before_second += 1;
        }
        self.most_60s = self.most_60s.max(self.stamps.len() as u64);
        self.most_1s = self
            .most_1s
            .max((self.stamps.len() - self.before_second) as u64);
    }

    fn forget_oldest(&mut self) {
        self.stamps.pop_front();
        self.before_second = self.before_second.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_counting_every_window(
            gaps_ms in prop::collection::vec(0u64..9_000, 1..80),
            scale in prop::sample::select(vec![1u64, 10, 1_000]),
        ) {
            let mut peaks = Peaks::default();
            let mut stamps = Vec::new();
            let mut now = 0;
            for gap in gaps_ms {
                now += gap * 1_000_000 / scale;
                stamps.push(now);
                peaks.note(Timestamp::from_nanos(now));
            }
            // A fullest window can always be moved until it ends at an event.
            let most = |width: u64| {
                let within = |end: u64| stamps.iter().filter(move |&&s| s <= end && end - s < width);
                stamps.iter().map(|&end| within(end).count()).max().unwrap() as u64
            };
            prop_assert_eq!(peaks.most_1s, most(SECOND_NS));
            prop_assert_eq!(peaks.most_60s, most(MINUTE_NS));
            prop_assert!(!peaks.forgot);
        }
    }

    #[test]
    fn a_window_is_open_at_its_start() {
        let mut peaks = Peaks::default();
        peaks.note(Timestamp::ZERO);
        peaks.note(Timestamp::from_secs(1));
        assert_eq!((peaks.most_1s, peaks.most_60s), (1, 2));
    }

    #[test]
    fn beyond_its_bound_it_says_that_it_is_a_lower_bound() {
        let mut peaks = Peaks {
            stamps_max: 3,
            ..Peaks::default()
        };
        for nanos in 0..10 {
            peaks.note(Timestamp::from_nanos(nanos));
        }
        assert_eq!((peaks.most_1s, peaks.most_60s, peaks.forgot), (3, 3, true));
    }
}
