//! What is left of a window that starts anew at an instant that the server names.

use std::time::Duration;

use super::mirror::JITTER;
use super::own::Mark;
use crate::time::Timestamp;

/// What is never used up of a window: what others take until it is noticed, as time at its rate.
const MARGIN: Duration = Duration::from_millis(1_200);

/// Of a short window neither the margin nor the variation of the delay is more than this part.
const PARTS: u32 = 10;

/// The window that the newest reply spoke of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The send whose reply spoke of it.
    at: Timestamp,
    sent: i64,
    /// What is left of it, less what was sent since.
    left: i64,
    edge: Timestamp,
    /// What is never used up, as time at the rate.
    margin: Duration,
}

impl Window {
    /// What a reply says of a window: what is left after the send at `mark`, of which `sent` had
    /// been sent up to then and `since` after, how long the window is and when it ends. `None` if
    /// `known` is of a later send.
    pub(super) fn seen(
        known: Option<&Self>,
        mark: &Mark,
        (sent, since): (i64, i64),
        left: i64,
        (window, reset): (Duration, Duration),
    ) -> Option<Self> {
        if known.is_some_and(|known| (mark.at, sent) < (known.at, known.sent)) {
            return None;
        }
        Some(Self {
            at: mark.at,
            sent,
            left: left.saturating_sub(since),
            edge: mark.at + reset + JITTER.min(window / PARTS),
            margin: MARGIN.min(window / PARTS),
        })
    }

    pub(super) fn take(&mut self, units: u64) {
        self.left = self
            .left
            .saturating_sub(i64::try_from(units).unwrap_or(i64::MAX));
    }

    /// When so many units fit: now, or when the next window begins, of which nothing is known.
    pub(super) fn earliest(&self, now: Timestamp, units: u64, per_s: f64) -> Timestamp {
        let margin = (per_s * self.margin.as_secs_f64()) as i64;
        let needs = i64::try_from(units)
            .unwrap_or(i64::MAX)
            .saturating_add(margin);
        if self.left >= needs {
            now
        } else {
            self.edge.max(now)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(secs: u64) -> Mark {
        Mark {
            at: Timestamp::from_secs(secs),
            ..Mark::default()
        }
    }

    #[test]
    fn what_is_used_up_waits_for_the_next_window_and_no_longer() {
        let reset = (Duration::from_secs(60), Duration::from_secs(20));
        let mut window = Window::seen(None, &mark(10), (5, 3), 30, reset).unwrap();
        let now = Timestamp::from_secs(11);
        assert_eq!(window.earliest(now, 10, 10.0), now);
        window.take(10);
        let edge = Timestamp::from_millis(30_300);
        assert_eq!(window.earliest(now, 10, 10.0), edge);
        let later = Timestamp::from_secs(31);
        assert_eq!(window.earliest(later, 10, 10.0), later);
    }

    #[test]
    fn an_older_reply_says_nothing() {
        let reset = (Duration::from_secs(60), Duration::from_secs(20));
        let known = Window::seen(None, &mark(10), (5, 0), 30, reset).unwrap();
        assert!(Window::seen(Some(&known), &mark(9), (4, 1), 600, reset).is_none());
    }

    #[test]
    fn nearly_all_of_a_short_window_may_be_used_and_the_next_one_soon() {
        let (second, reset) = (Duration::from_secs(1), Duration::from_secs(1));
        let mut window = Window::seen(None, &mark(10), (1, 0), 10, (second, reset)).unwrap();
        let now = Timestamp::from_secs(10);
        window.take(8);
        assert_eq!(window.earliest(now, 1, 10.0), now);
        window.take(1);
        assert_eq!(
            window.earliest(now, 1, 10.0),
            Timestamp::from_millis(11_100)
        );
    }
}
