//! Even sending with bounded catching up: the part that all shapes share.

use std::time::Duration;

use crate::time::Timestamp;

/// How much elapsed time a late wake-up may make up for. Timers of common runtimes are about 1 ms
/// late; a garbage collector or a busy machine tens of ms. What a longer stall missed is given up,
/// because sending it at once would be a burst that the server may judge.
const CATCH_UP: Duration = Duration::from_millis(50);

/// The longest debt, beyond what a reservation itself may leave, that settling can leave. Larger
/// usage is an error of the server's: believing it would stop the run for ever.
pub(super) const DEBT: Duration = Duration::from_secs(24 * 3600);

/// A level that earns `num / den` units a nanosecond and may go below zero.
///
/// Something may start when the level is at or above zero; its size is then taken, however large:
/// large requests are paid for after they start. So the first request starts at once and the rest
/// follow at the rate: nothing is earned before the first, unless a burst is declared. The level is
/// scaled by `den`; no floats.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Units per nanosecond, times `den`.
    num: i128,
    den: i128,
    level: i128,
    /// When the level was last changed. `None` before the first start.
    at: Option<Timestamp>,
    /// Highest level that waiting can earn.
    cap: i128,
    /// Lowest level that settling can leave.
    floor: i128,
    /// Whether what waiting has earned is a declared burst: a pause does not end it.
    keeps: bool,
}

impl Pace {
    /// Earns `num` units in `den` nanoseconds. `amount` is the most that one request takes; `burst`
    /// units may start at once, where it is declared.
    pub(super) fn new(amount: u64, num: u64, den: u64, burst: Option<u64>) -> Self {
        let (num, den) = (i128::from(num), i128::from(den));
        let declared = i128::from(burst.unwrap_or(0).min(amount)) * den;
        Self {
            num,
            den,
            level: (declared - den).max(0),
            at: None,
            cap: declared.max(num * i128::from(nanos(CATCH_UP))),
            floor: -(i128::from(amount) * den + num * i128::from(nanos(DEBT))),
            keeps: burst.is_some(),
        }
    }

    /// The instant from which the level is at or above zero.
    #[inline]
    pub(super) fn earliest(&self, now: Timestamp) -> Timestamp {
        let level = self.level_at(now);
        if level >= 0 {
            now
        } else {
            // Should the clock have stepped back, nothing is earned until it is where it was.
            self.at.map_or(now, |at| at.max(now)) + time_to_earn(-level, self.num)
        }
    }

    /// Takes `units` at `now`. Of the level that waiting has earned, no more counts than lets
    /// max(`units`, 50 ms of the rate, the burst) start at this one moment, if the next are as
    /// large; of mixed sizes, the last may reach beyond.
    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        let size = i128::from(units) * self.den;
        let useful = (self.cap - size).max((size - 1).min(self.cap));
        self.level = self.level_at(now).min(useful) - size;
        self.at = self.at.max(Some(now));
    }

    /// Corrects the level by units that turned out not to be used (`+`) or used beyond (`−`).
    pub(super) fn correct(&mut self, now: Timestamp, units: i128) {
        let level = self.level_at(now) + units * self.den;
        self.level = level.max(self.floor);
        self.at = self.at.max(Some(now));
    }

    /// Sending goes on after a pause: catching up is for late wake-ups, not for pauses.
    pub(super) fn resume(&mut self, now: Timestamp) {
        if !self.keeps {
            self.drain(now);
        }
    }

    /// Forgets what waiting has earned.
    pub(super) fn drain(&mut self, now: Timestamp) {
        self.level = self.level_at(now).min(0);
        self.at = self.at.map(|at| at.max(now));
    }

    #[inline]
    fn level_at(&self, now: Timestamp) -> i128 {
        let elapsed = self
            .at
            .map_or(0, |at| now.as_nanos().saturating_sub(at.as_nanos()));
        (self.level + i128::from(elapsed) * self.num).min(self.cap)
    }
}

/// How long it takes to earn a scaled level at `num` a nanosecond, rounded up.
#[inline]
pub(super) fn time_to_earn(scaled: i128, num: i128) -> Duration {
    let nanos = (scaled + num - 1) / num;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Nanoseconds of a duration that was checked to be at most 31 days, a sum of two, or a constant.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a duration of days fits")
}
