//! Shape `token-bucket`: the server refills continuously, so 100 % of the rate is safe.
//!
//! With a declared burst B the level mirrors the server's: it starts full at B − ρJ, the part of
//! the bucket that stays safe when the delay to the server varies by J (a process bounded by
//! (σ, ρ) when sent arrives as (σ + ρJ, ρ)). A request larger than this part starts only when the
//! server's bucket is certainly full: up to J after the safe part is. Without a declared burst the
//! bucket may be as small as a single request: nothing is sent in bursts, only the rate rises to
//! 100 %.

use std::time::Duration;

use super::pace::{DEBT, Pace, nanos, time_to_earn};
use super::{LimitSpec, Taken};
use crate::time::Timestamp;

const JITTER: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    most: u64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Capacity not known.
    Even(Pace),
    /// Capacity declared.
    Bucket(Bucket),
}

/// The mirror of a bucket with known capacity. Levels are scaled by `den`.
#[derive(Clone, Debug)]
struct Bucket {
    num: u64,
    den: i128,
    /// What is certainly there. Above `safe` it serves one request that is larger than `safe`.
    level: i128,
    at: Timestamp,
    /// B − ρJ, at least one unit: as much may start in a burst.
    safe: i128,
    /// B: what the server holds after nothing was under way for the jitter.
    full: i128,
    /// Lowest level that settling can leave.
    floor: i128,
}

impl TokenBucket {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        let Some(burst) = spec.burst else {
            let pace = Pace::new(spec.amount, spec.amount, nanos(spec.window), None);
            return Self {
                most: spec.amount,
                state: State::Even(pace),
            };
        };
        let num = spec.amount;
        let den = i128::from(nanos(spec.window));
        let full = i128::from(burst) * den;
        let jitter = spec.jitter.unwrap_or(JITTER);
        let bucket = Bucket {
            num,
            den,
            level: full,
            at: Timestamp::ZERO,
            safe: (full - i128::from(num) * i128::from(nanos(jitter))).max(den),
            full,
            floor: -i128::from(num) * i128::from(nanos(jitter + DEBT)),
        };
        Self {
            most: burst,
            state: State::Bucket(bucket),
        }
    }

    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units > self.most {
            return Err(self.most);
        }
        Ok(match &self.state {
            State::Even(pace) => pace.earliest(now),
            State::Bucket(bucket) => bucket.earliest(now, units),
        })
    }

    /// The same for `units`, after `first` have been taken at `now`.
    pub(super) fn earliest_after(&self, now: Timestamp, first: u64, units: u64) -> Timestamp {
        match &self.state {
            State::Even(pace) => pace.earliest_after(now, first),
            State::Bucket(bucket) => {
                let mut after = bucket.clone();
                after.take(now, first);
                after.earliest(now, units)
            }
        }
    }

    /// Goes on where `old` stands, whose numbers were others.
    pub(super) fn carry(&mut self, now: Timestamp, old: &Self) {
        match (&mut self.state, &old.state) {
            (State::Even(pace), State::Even(old)) => pace.carry(now, old),
            (State::Bucket(bucket), State::Bucket(old)) => bucket.carry(now, old),
            (State::Bucket(bucket), State::Even(_)) => bucket.drain(now),
            (State::Even(pace), State::Bucket(_)) => pace.drain(now),
        }
    }

    /// What the bucket has not refilled yet, as if taken at `now`; nothing is known of one without
    /// declared capacity.
    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<Taken> {
        let State::Bucket(bucket) = &self.state else {
            return Vec::new();
        };
        let missing = bucket.full - bucket.level_at(now);
        let units = u64::try_from((missing + bucket.den - 1) / bucket.den).unwrap_or(u64::MAX);
        let age = Duration::ZERO;
        Vec::from_iter((units > 0).then_some(Taken { age, units }))
    }

    /// The most that may have been taken, oldest first: of a bucket without declared capacity, what
    /// its rate allows in a window.
    pub(super) fn taken(&self, now: Timestamp) -> Vec<Taken> {
        match &self.state {
            State::Even(pace) => pace.taken(now),
            State::Bucket(_) => self.snapshot(now),
        }
    }

    /// Takes what was taken before from a bucket that was full before that, oldest first.
    pub(super) fn restore(&mut self, now: Timestamp, before: &[Taken]) {
        let State::Bucket(bucket) = &mut self.state else {
            return;
        };
        let time = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        let mut missing = 0_i128;
        let mut last = before.first().map_or(Duration::ZERO, |taken| taken.age);
        for taken in before.iter().chain([&Taken::default()]) {
            let refilled =
                time(last.saturating_sub(taken.age)).saturating_mul(i128::from(bucket.num));
            missing = missing.saturating_sub(refilled).max(0);
            missing += i128::from(taken.units) * bucket.den;
            last = taken.age;
        }
        // The server's bucket is never below empty.
        let level = bucket.level_at(now);
        bucket.level = (level - missing).max(level.min(0));
        bucket.at = bucket.at.max(now);
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        match &mut self.state {
            State::Even(pace) => pace.take(now, units),
            State::Bucket(bucket) => bucket.take(now, units),
        }
    }

    pub(super) fn settle(&mut self, now: Timestamp, reserved: u64, actual: u64) {
        let units = i128::from(reserved) - i128::from(actual);
        match &mut self.state {
            State::Even(pace) => pace.correct(now, units),
            State::Bucket(bucket) => bucket.correct(now, units),
        }
    }

    pub(super) fn resume(&mut self, now: Timestamp) {
        if let State::Even(pace) = &mut self.state {
            pace.resume(now);
        }
    }

    pub(super) fn drain(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Even(pace) => pace.drain(now),
            State::Bucket(bucket) => bucket.drain(now),
        }
    }
}

impl Bucket {
    #[inline]
    fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        let missing = i128::from(units) * self.den - self.level_at(now);
        if missing <= 0 {
            return now;
        }
        self.at.max(now) + time_to_earn(missing, self.num)
    }

    #[inline]
    fn take(&mut self, now: Timestamp, units: u64) {
        self.level = self.level_at(now).min(self.safe) - i128::from(units) * self.den;
        self.at = self.at.max(now);
    }

    /// Corrects the level by units that turned out not to be used (`+`) or used beyond (`−`). What
    /// comes back does not show that nothing is under way: it fills the safe part only.
    fn correct(&mut self, now: Timestamp, units: i128) {
        let level = self.level_at(now);
        let corrected = level + units * self.den;
        self.level = corrected.clamp(self.floor, self.safe.max(level));
        self.at = self.at.max(now);
    }

    /// Goes on where `old` stands: with the same share of its capacity, but no more than is left
    /// when what it lacks is lacking here. What it owes is owed in units.
    fn carry(&mut self, now: Timestamp, old: &Self) {
        let level = old.level_at(now);
        let units = |level: i128| level.div_euclid(old.den);
        self.level = if level <= 0 {
            (units(level) * self.den).max(self.floor)
        } else {
            // Both are below 2⁵¹ units.
            let share = units(level) * (self.full / self.den) / (old.full / old.den).max(1);
            let left = self.full / self.den - (old.full / old.den - units(level));
            share.min(left).max(0) * self.den
        };
        self.at = now.max(old.at);
    }

    fn drain(&mut self, now: Timestamp) {
        self.level = self.level_at(now).min(0);
        self.at = self.at.max(now);
    }

    #[inline]
    fn level_at(&self, now: Timestamp) -> i128 {
        let elapsed = i128::from(now.as_nanos().saturating_sub(self.at.as_nanos()));
        (self.level + elapsed * i128::from(self.num)).min(self.full)
    }
}
