//! The level of a bucket that others use too.

use std::time::Duration;

use crate::limit::{Pace, time_to_earn};
use crate::time::Timestamp;

/// What the rate never falls below, as a part of the limit's: a limit that others use up is asked
/// again and again, not given up.
const RATE_LEAST: i128 = 20;
/// The deepest debt, in windows: a number that makes it deeper is more likely wrong than true, and
/// what is true is shown again by the next reply.
const DEBT_WINDOWS: i128 = 2;

/// The level of a server's bucket as it is believed to be, with what others take drained from it.
/// All quantities are units × `den`, so that a nanosecond earns `num`.
#[derive(Clone, Debug)]
pub(super) struct Level {
    num: i128,
    den: i128,
    level: i128,
    at: Timestamp,
    cap: i128,
    /// Never used up: what others may take before it is noticed.
    margin: i128,
    /// What others take in a nanosecond.
    drain: i128,
    /// What could not be earned because the level was full.
    lost: i128,
    /// Even sending, while it is not known that the server's bucket holds more than a moment.
    pace: Option<Pace>,
}

impl Level {
    /// An empty level that earns `amount` in `window`, and holds `cap` (scaled).
    pub(super) fn new(now: Timestamp, amount: u64, window: Duration, cap: i128) -> Self {
        let mut level = Self {
            num: 1,
            den: 1,
            level: 0,
            at: now,
            cap,
            margin: 0,
            drain: 0,
            lost: 0,
            pace: None,
        };
        level.set_rate(amount, window);
        level
    }

    /// Earns `amount` in `window` from now on. Everything scaled is to be set anew.
    pub(super) fn set_rate(&mut self, amount: u64, window: Duration) {
        self.num = i128::from(amount.max(1));
        self.den = window.as_nanos().max(1).cast_signed();
        self.drain = 0;
    }

    pub(super) const fn scale(&self) -> i128 {
        self.den
    }

    pub(super) const fn per_nano(&self) -> i128 {
        self.num
    }

    /// What is earned in a nanosecond, less what others take.
    pub(super) fn net_per_nano(&self) -> i128 {
        (self.num - self.drain).max(self.num / RATE_LEAST).max(1)
    }

    pub(super) const fn cap(&self) -> i128 {
        self.cap
    }

    pub(super) const fn lost(&self) -> i128 {
        self.lost
    }

    pub(super) const fn level(&self) -> i128 {
        self.level
    }

    pub(super) const fn set_cap(&mut self, cap: i128) {
        self.cap = cap;
    }

    pub(super) const fn set_drain(&mut self, drain: i128) {
        self.drain = drain;
    }

    pub(super) fn set_margin(&mut self, margin: i128) {
        self.margin = margin.clamp(0, self.cap / 2);
    }

    pub(super) fn set_pace(&mut self, pace: Option<Pace>) {
        if pace.is_none() || self.pace.is_none() {
            self.pace = pace;
        }
    }

    /// Sets the level at the instant that it was brought to. Whether that was more than it holds:
    /// the rest could not be earned. A debt that is too deep is cut and not asked for again.
    pub(super) fn set_level(&mut self, level: i128) -> bool {
        let floor = -DEBT_WINDOWS * self.num * self.den;
        self.level = level.min(self.cap).max(floor);
        self.lost += level - self.level;
        level != self.level
    }

    /// Brings the level to `now`; to be called before it is read or set. Whether something could
    /// not be earned.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        let elapsed = now.since(self.at).as_nanos().cast_signed();
        let level = self.level + self.net_per_nano() * elapsed;
        let over = (level - self.cap).max(0);
        self.level = level - over;
        self.lost += over;
        self.at = self.at.max(now);
        over > 0
    }

    /// The instant from which `units` (scaled) may be taken, or `now`. What is larger than the
    /// level ever gets waits until it is full.
    pub(super) fn earliest(&self, now: Timestamp, units: i128) -> Timestamp {
        let elapsed = now.since(self.at).as_nanos().cast_signed();
        let level = self.level + self.net_per_nano() * elapsed;
        let missing = (units + self.margin).min(self.cap) - level;
        if missing <= 0 {
            now
        } else {
            let net = u64::try_from(self.net_per_nano()).unwrap_or(u64::MAX);
            now + time_to_earn(missing, net)
        }
    }

    /// The instant from which even sending allows something, or `now`.
    pub(super) fn paced(&self, now: Timestamp) -> Timestamp {
        let paced = self.pace.as_ref().map(|pace| pace.earliest(now));
        paced.unwrap_or(now)
    }

    /// Takes `units` (scaled), whatever is left. The level stands at `now`.
    pub(super) fn take(&mut self, now: Timestamp, units: i128) {
        self.level -= units;
        if let Some(pace) = &mut self.pace {
            pace.take(now, u64::try_from(units / self.den).unwrap_or(0));
        }
    }

    /// Sending goes on after a pause.
    pub(super) fn resume(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.resume(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn level() -> Level {
        let den = MINUTE.as_nanos().cast_signed();
        let mut level = Level::new(Timestamp::ZERO, 600, MINUTE, 600 * den);
        assert!(!level.set_level(600 * den));
        level
    }

    #[test]
    fn the_margin_stays_and_the_rest_may_go_at_once() {
        let mut level = level();
        let unit = level.scale();
        level.set_margin(12 * unit);
        for _ in 0..588 {
            assert_eq!(level.earliest(Timestamp::ZERO, unit), Timestamp::ZERO);
            level.take(Timestamp::ZERO, unit);
        }
        let next = level.earliest(Timestamp::ZERO, unit);
        assert_eq!(next, Timestamp::from_millis(100));
    }

    #[test]
    fn what_others_take_makes_it_slower_but_never_stops_it() {
        let mut level = level();
        let unit = level.scale();
        level.take(Timestamp::ZERO, 600 * unit);
        level.set_drain(level.per_nano() / 2);
        let next = level.earliest(Timestamp::ZERO, unit);
        assert_eq!(next, Timestamp::from_millis(200));
        level.set_drain(level.per_nano() * 3);
        let next = level.earliest(Timestamp::ZERO, unit);
        assert_eq!(next, Timestamp::from_secs(2));
    }

    #[test]
    fn what_a_full_level_cannot_earn_is_counted() {
        let mut level = level();
        let unit = level.scale();
        assert!(level.advance(Timestamp::ZERO + 3 * SECOND));
        assert_eq!(level.lost(), 30 * unit);
        level.take(Timestamp::ZERO + 3 * SECOND, 100 * unit);
        assert!(!level.advance(Timestamp::ZERO + 4 * SECOND));
        assert_eq!(level.level(), 510 * unit);
    }

    #[test]
    fn what_is_larger_than_it_holds_waits_until_it_is_full() {
        let mut level = level();
        let unit = level.scale();
        assert_eq!(
            level.earliest(Timestamp::ZERO, 9_000 * unit),
            Timestamp::ZERO
        );
        level.take(Timestamp::ZERO, 10 * unit);
        let next = level.earliest(Timestamp::ZERO, 9_000 * unit);
        assert_eq!(next, Timestamp::from_secs(1));
    }

    #[test]
    fn a_debt_is_no_deeper_than_two_windows_and_the_rest_is_not_asked_for_again() {
        let mut level = level();
        let unit = level.scale();
        level.set_level(-9_000_000_000_000_000_000 * unit);
        assert_eq!(level.level(), -1_200 * unit);
        let next = level.earliest(Timestamp::ZERO, unit);
        assert!(next <= Timestamp::from_secs(121), "{next:?}");
    }
}
