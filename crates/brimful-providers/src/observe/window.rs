//! The window of a limit from what is used of it and the time until that is free again.

use std::time::Duration;

/// The windows of limits whose names do not tell them.
const WINDOWS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(86_400)];

/// The window in which `limit` units refill continuously, if `limit - remaining` of them take
/// `reset`, known to `resolution`. `None` when nothing is used, or when the numbers are not those
/// of a bucket that holds a whole window: a window that starts anew gives any quotient, and would
/// be taken for one of hours while little of it is used.
///
/// OpenAI calls the limits of a minute and of a day by the same name; `reset = (limit − remaining)
/// ÷ limit × window` tells them apart, and does so to the millisecond.
pub(super) fn inferred(
    limit: u64,
    remaining: u64,
    reset: Duration,
    resolution: Duration,
) -> Option<Duration> {
    let used = limit.checked_sub(remaining).filter(|used| *used > 0)?;
    let window_nanos = |reset: Duration| {
        let product = reset.as_nanos().checked_mul(u128::from(limit))?;
        Some(product / u128::from(used))
    };
    // Levels are rounded as well.
    let least = window_nanos(reset.saturating_sub(resolution))?.saturating_mul(98) / 100;
    let most = window_nanos(reset.checked_add(resolution)?)?.saturating_mul(102) / 100;
    let mut fitting = WINDOWS
        .into_iter()
        .filter(|window| (least..=most).contains(&window.as_nanos()));
    let window = fitting.next()?;
    fitting.next().is_none().then_some(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// providers.md §1.3.
    #[test]
    fn real_headers_tell_minutes_from_days() {
        for (limit, remaining, reset_ms, window_s) in [
            (160_000, 159_976, 9, 60),
            (5_000, 4_999, 12, 60),
            (10_000, 9_481, 3_114, 60),
            (10_000, 9_999, 8_640, 86_400),
            (1_500_000, 1_495_621, 252_172, 86_400),
        ] {
            let window = inferred(limit, remaining, Duration::from_millis(reset_ms), MS);
            assert_eq!(
                window,
                Some(Duration::from_secs(window_s)),
                "{limit}/{remaining}"
            );
        }
    }

    #[test]
    fn rounding_that_leaves_several_windows_open_tells_none() {
        let second = Duration::from_secs(1);
        assert_eq!(inferred(86_400, 86_399, second, second), None);
        assert_eq!(inferred(1_440, 1_430, 300 * second, 300 * second), None);
    }

    #[test]
    fn a_window_that_starts_anew_is_not_taken_for_one_of_a_day() {
        let reset = Duration::from_millis(52_700);
        assert_eq!(inferred(20_000, 19_968, reset, MS), None);
        assert_eq!(inferred(60_000, 59_979, Duration::from_secs(58), MS), None);
    }

    #[test]
    fn an_unused_limit_or_an_odd_window_tells_none() {
        assert_eq!(inferred(60, 60, Duration::from_secs(1), MS), None);
        assert_eq!(inferred(60, 61, Duration::from_secs(1), MS), None);
        assert_eq!(inferred(1_000, 500, Duration::from_secs(400), MS), None);
        assert_eq!(inferred(u64::MAX, 0, Duration::MAX, MS), None);
    }
}
