//! Even sending with bounded catching up: the part that all shapes share.

use std::time::Duration;

use super::Taken;
use crate::time::Timestamp;

/// How much elapsed time a late wake-up may make up for. Timers of common runtimes are about 1 ms
/// late; a garbage collector or a busy machine tens of ms. What a longer stall missed is given up,
/// because sending it at once would be a burst that the server may judge.
const CATCH_UP: Duration = Duration::from_millis(50);

/// The longest debt, beyond what a reservation itself may leave, that settling can leave. Larger
/// usage is an error of the server's: believing it would stop the run for ever.
pub(super) const DEBT: Duration = Duration::from_secs(24 * 3600);

/// Parts of a window in which what was taken is told.
const TAKEN_PARTS: u64 = 64;

/// A level that earns `num / den` units a nanosecond and may go below zero.
///
/// Something may start when the level is at or above zero; its size is then taken, however large:
/// large requests are paid for after they start. So the first request starts at once and the rest
/// follow at the rate: nothing is earned before the first, unless a burst is declared. The level is
/// scaled by `den`; no floats.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Units per nanosecond, times `den`. Both are kept in 64 bits: products of two such are one
    /// instruction, products of 128 bits are not.
    num: u64,
    den: u64,
    level: i128,
    /// When the level was last changed. `NEVER` before the first start: no time has passed since.
    at: Timestamp,
    /// Highest level that waiting can earn.
    cap: i128,
    /// The largest request of which two fit into `cap`, one of them by its last unit.
    small: u64,
    /// Lowest level that settling can leave.
    floor: i128,
    /// Whether what waiting has earned is a declared burst: a pause does not end it.
    keeps: bool,
}

impl Pace {
    /// Earns `num` units in `den` nanoseconds. `amount` is the most that one request takes; `burst`
    /// units may start at once, where it is declared.
    pub(crate) fn new(amount: u64, num: u64, den: u64, burst: Option<u64>) -> Self {
        let declared = product(burst.unwrap_or(0).min(amount), den);
        let cap = declared.max(product(num, nanos(CATCH_UP)));
        // 2 × size − 1 ≤ cap, solved for units.
        let small = (cap + 1) / 2 / i128::from(den);
        Self {
            num,
            den,
            level: (declared - i128::from(den)).max(0),
            at: Timestamp::NEVER,
            cap,
            small: u64::try_from(small).unwrap_or(u64::MAX),
            floor: -(product(amount, den) + product(num, nanos(DEBT))),
            keeps: burst.is_some(),
        }
    }

    /// The instant from which the level is at or above zero.
    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp) -> Timestamp {
        let level = self.earned(now);
        if level >= 0 {
            return now;
        }
        // Should the clock have stepped back, nothing is earned until it is where it was.
        self.at.max(now) + time_to_earn(-level, self.num)
    }

    /// The most that may have been taken in the last `den` nanoseconds, oldest first: the rate
    /// until the level was last changed, and then what is owed.
    pub(super) fn taken(&self, now: Timestamp) -> Vec<Taken> {
        if self.at == Timestamp::NEVER {
            return Vec::new();
        }
        let idle = now.since(self.at);
        let part = Duration::from_nanos(self.den / TAKEN_PARTS);
        let ages = (0..TAKEN_PARTS as u32).rev().map(|number| part * number);
        let ages = ages.filter(|age| *age >= idle);
        let units = self.num.div_ceil(TAKEN_PARTS);
        let owed = -self.earned(now).min(0) / i128::from(self.den);
        let owed = u64::try_from(owed).unwrap_or(u64::MAX);
        let owed = (owed > 0).then_some(Taken {
            age: Duration::ZERO,
            units: owed,
        });
        ages.map(|age| Taken { age, units }).chain(owed).collect()
    }

    /// The same, after `units` have been taken at `now`.
    pub(super) fn earliest_after(&self, now: Timestamp, units: u64) -> Timestamp {
        let mut after = self.clone();
        after.take(now, units);
        after.earliest(now)
    }

    /// Goes on where `old`, of another rate, stands: what it owes is owed in units.
    pub(super) fn carry(&mut self, now: Timestamp, old: &Self) {
        if old.at == Timestamp::NEVER {
            return;
        }
        let units = old.earned(now).min(0) / i128::from(old.den);
        self.level = (units * i128::from(self.den)).max(self.floor);
        self.at = now.max(old.at);
    }

    /// Takes `units` at `now`. Of the level that waiting has earned, no more counts than lets
    /// max(`units`, 50 ms of the rate, the burst) start at this one moment, if the next are as
    /// large; of mixed sizes, the last may reach beyond.
    #[inline]
    pub(crate) fn take(&mut self, now: Timestamp, units: u64) {
        let size = product(units, self.den);
        // Of several small ones each finds what is left, of a large one the last unit is enough.
        let useful = if units <= self.small {
            self.cap - size
        } else {
            (size - 1).min(self.cap)
        };
        let earned = self.earned(now);
        self.level = if earned > useful { useful } else { earned } - size;
        self.touch(now);
    }

    /// Corrects the level by units that turned out not to be used (`+`) or used beyond (`−`).
    pub(super) fn correct(&mut self, now: Timestamp, units: i128) {
        let level = self.earned(now).min(self.cap) + units * i128::from(self.den);
        self.level = level.max(self.floor);
        self.touch(now);
    }

    /// Sending goes on after a pause: catching up is for late wake-ups, not for pauses.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        if !self.keeps {
            self.drain(now);
        }
    }

    /// Forgets what waiting has earned.
    pub(super) fn drain(&mut self, now: Timestamp) {
        self.level = self.earned(now).min(0);
        if self.at != Timestamp::NEVER {
            self.touch(now);
        }
    }

    /// The level, without regard to the most that waiting can earn.
    #[inline]
    const fn earned(&self, now: Timestamp) -> i128 {
        let elapsed = now.as_nanos().saturating_sub(self.at.as_nanos());
        self.level + product(elapsed, self.num)
    }

    #[inline]
    fn touch(&mut self, now: Timestamp) {
        if self.at == Timestamp::NEVER || self.at < now {
            self.at = now;
        }
    }
}

/// Below 2¹²⁷ even for a time of centuries: a rate is less than 2⁶⁰.
#[inline]
const fn product(a: u64, b: u64) -> i128 {
    (a as u128 * b as u128).cast_signed()
}

/// How long it takes to earn a scaled level at `num` a nanosecond, rounded up.
#[inline]
pub(crate) fn time_to_earn(scaled: i128, num: u64) -> Duration {
    // Dividing 128 bits takes longer than all the rest of a refusal, and few levels need it.
    let nanos = match u64::try_from(scaled) {
        Ok(scaled) => scaled.div_ceil(num),
        Err(_) => {
            let num = i128::from(num);
            u64::try_from((scaled + num - 1) / num).unwrap_or(u64::MAX)
        }
    };
    Duration::from_nanos(nanos)
}

/// Nanoseconds of a duration that was checked to be at most 31 days, a sum of two, or a constant.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a duration of days fits")
}
