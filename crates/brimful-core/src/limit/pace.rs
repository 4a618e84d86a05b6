//! Even sending with bounded catching up: the part that `paced` and `token-bucket` share.

use std::time::Duration;

use crate::time::Timestamp;

/// How much elapsed time a late wake-up may make up for. Timers of common runtimes are about 1 ms
/// late; a garbage collector or a busy machine tens of ms. What a longer stall missed is given up,
/// because sending it at once would be a burst that the server may judge.
const CATCH_UP: Duration = Duration::from_millis(50);

/// A level that earns `num / den` units a nanosecond and may go below zero.
///
/// Something may start when the level is at or above zero; its size is then taken, however large:
/// large requests are paid for after they start. So the first request starts at once and the rest
/// follow at the rate. The level is scaled by `den`; no floats.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Units per nanosecond, times `den`.
    num: i128,
    den: i128,
    level: i128,
    at: Timestamp,
    /// Highest level that waiting can earn.
    cap: i128,
}

impl Pace {
    /// Earns `amount × permille / 1000` in each `window`.
    pub(super) fn new(amount: u64, permille: u32, window: Duration) -> Self {
        let num = i128::from(amount) * i128::from(permille);
        let den = i128::try_from(window.as_nanos()).expect("a window is at most 31 days") * 1000;
        let cap = num * i128::try_from(CATCH_UP.as_nanos()).expect("50 ms fit");
        Self {
            num,
            den,
            level: 0,
            at: Timestamp::ZERO,
            cap,
        }
    }

    /// The instant from which the level is at or above zero.
    #[inline]
    pub(super) fn earliest(&self, now: Timestamp) -> Timestamp {
        let level = self.level_at(now);
        if level >= 0 {
            now
        } else {
            now + self.time_to_earn(-level)
        }
    }

    /// Takes `units` at `now`. Of the level that waiting has earned, no more counts than lets
    /// max(`units`, 50 ms of the rate) start at this one moment.
    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        let size = i128::from(units) * self.den;
        let useful = (self.cap - size).max((size - 1).min(self.cap));
        self.level = self.level_at(now).min(useful) - size;
        self.at = self.at.max(now);
    }

    /// Corrects the level by units that turned out not to be used (`+`) or used beyond (`−`).
    pub(super) fn correct(&mut self, now: Timestamp, units: i128) {
        self.level = (self.level_at(now) + units * self.den).min(self.cap);
        self.at = self.at.max(now);
    }

    /// Forgets what waiting has earned.
    pub(super) fn drain(&mut self, now: Timestamp) {
        self.level = self.level_at(now).min(0);
        self.at = self.at.max(now);
    }

    #[inline]
    fn level_at(&self, now: Timestamp) -> i128 {
        let elapsed = i128::from(now.as_nanos().saturating_sub(self.at.as_nanos()));
        (self.level + elapsed * self.num).min(self.cap)
    }

    fn time_to_earn(&self, scaled: i128) -> Duration {
        let nanos = (scaled + self.num - 1) / self.num;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
