//! What stretches between refusals tell beside the rate.

use std::collections::VecDeque;
use std::time::Duration;

use super::tally::Interval;

/// Windows that providers have, longest first.
const WINDOWS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(30),
    Duration::from_secs(15),
    Duration::from_secs(10),
    Duration::from_secs(5),
];
/// Stretches that it takes to tell what is counted.
pub(super) const TELLING_LEAST: usize = 3;
/// One way of counting must be so much steadier than another to be believed.
const TELLING: f64 = 2.0;

/// The window that a time is, to a twenty-fifth; `None` when it is none.
pub(super) fn whole_window(time: Duration) -> Option<Duration> {
    let mut windows = WINDOWS.into_iter();
    windows.find(|window| time.abs_diff(*window) <= *window / 25)
}

/// What is counted: the units whose rate differs least between refusals. `None` while that cannot
/// be told.
pub(super) fn inferred(seen: &VecDeque<Interval>) -> Option<usize> {
    if seen.len() < TELLING_LEAST {
        return None;
    }
    let spread = |place: usize| {
        let rates = || seen.iter().map(|interval| interval.rate(place));
        let mean = rates().sum::<f64>() / seen.len() as f64;
        let squares = rates()
            .map(|rate| (rate - mean) * (rate - mean))
            .sum::<f64>();
        squares.sqrt() / mean
    };
    let (requests, tokens) = (spread(0), spread(1));
    if tokens * TELLING < requests {
        Some(1)
    } else if requests * TELLING < tokens {
        Some(0)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_window_to_a_twenty_fifth() {
        let window = |millis| whole_window(Duration::from_millis(millis));
        assert_eq!(window(58_000), Some(Duration::from_secs(60)));
        assert_eq!(window(10_390), Some(Duration::from_secs(10)));
        assert_eq!(window(57_000), None);
        assert_eq!(window(20_000), None);
    }

    #[test]
    fn what_varies_less_is_counted_and_what_varies_alike_tells_nothing() {
        let seen = |units: [[u64; 2]; 3]| {
            let each = units.into_iter().map(|[requests, tokens]| Interval {
                seconds: 10.0,
                units: [requests, tokens, 0, 0],
            });
            inferred(&each.collect())
        };
        assert_eq!(seen([[100, 900], [90, 901], [115, 899]]), Some(1));
        assert_eq!(seen([[100, 900], [101, 700], [100, 1_100]]), Some(0));
        assert_eq!(seen([[100, 1_000], [90, 900], [110, 1_100]]), None);
    }
}
