//! The window of a limit from what is used of it and the time until that is free again.

use std::time::Duration;

/// The windows that providers have.
const WINDOWS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(3_600),
    Duration::from_secs(86_400),
];

/// The window in which `limit` units refill continuously, if `limit - remaining` of them take
/// `reset`, known to `resolution`. `None` when nothing is used, or when the rounding of either
/// leaves more than one window open.
///
/// OpenAI calls the limits of a minute and of a day by the same name; `reset = (limit − remaining)
/// ÷ limit × window` tells them apart.
pub(super) fn inferred(
    limit: u64,
    remaining: u64,
    reset: Duration,
    resolution: Duration,
) -> Option<Duration> {
    let used = limit.checked_sub(remaining).filter(|used| *used > 0)?;
    // In halves of a unit: the level itself is no whole number, `remaining` is rounded.
    let window_nanos = |reset: Duration, used_halves: u64| {
        reset
            .as_nanos()
            .checked_mul(u128::from(limit) * 2)
            .map(|product| product / u128::from(used_halves))
    };
    let least = window_nanos(reset.saturating_sub(resolution), used.checked_mul(2)? + 1)?;
    let likely = window_nanos(reset, used * 2)?;
    let most = window_nanos(
        reset.checked_add(resolution)?,
        (used * 2).saturating_sub(2).max(1),
    )?;
    let window = nearest(likely)?;
    (nearest(least) == Some(window) && nearest(most) == Some(window)).then_some(window)
}

/// The window that is nearest by ratio and no further than a factor of 2½.
fn nearest(nanos: u128) -> Option<Duration> {
    WINDOWS.into_iter().find(|window| {
        let window = window.as_nanos();
        nanos <= window.saturating_mul(5) / 2 && window <= nanos.saturating_mul(5) / 2
    })
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
        assert_eq!(inferred(30_000, 29_999, Duration::from_millis(2), MS), None);
        assert_eq!(
            inferred(60, 59, Duration::from_secs(1), Duration::from_secs(1)),
            None
        );
    }

    #[test]
    fn an_unused_limit_or_an_odd_window_tells_none() {
        assert_eq!(inferred(60, 60, Duration::from_secs(1), MS), None);
        assert_eq!(inferred(60, 61, Duration::from_secs(1), MS), None);
        assert_eq!(inferred(1_000, 500, Duration::from_secs(400), MS), None);
        assert_eq!(inferred(u64::MAX, 0, Duration::MAX, MS), None);
    }
}
