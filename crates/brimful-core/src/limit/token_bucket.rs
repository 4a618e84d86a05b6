//! Shape `token-bucket`: the server refills continuously, so 100 % of the rate is safe.
//!
//! With a declared burst B the level mirrors the server's: it starts full at B − ρJ, the part of
//! the bucket that stays safe when the delay to the server varies by J (a process bounded by
//! (σ, ρ) when sent arrives as (σ + ρJ, ρ)). Without one the bucket may be as small as a single
//! request: nothing is sent in bursts, only the rate rises to 100 %.

use std::time::Duration;

use super::LimitSpec;
use super::pace::Pace;
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

/// The mirror of a bucket with known capacity. The level is scaled by `den`.
#[derive(Clone, Debug)]
struct Bucket {
    num: i128,
    den: i128,
    level: i128,
    cap: i128,
    at: Timestamp,
}

impl TokenBucket {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        let Some(burst) = spec.burst else {
            let pace = Pace::new(spec.amount, 1000, spec.window);
            return Self {
                most: spec.amount,
                state: State::Even(pace),
            };
        };
        let num = i128::from(spec.amount);
        let den = i128::try_from(spec.window.as_nanos()).expect("a window is at most 31 days");
        let jitter = spec.jitter.unwrap_or(JITTER).as_nanos();
        let jitter = i128::try_from(jitter)
            .unwrap_or(i128::MAX / num)
            .min(i128::MAX / num / 2);
        let cap = (i128::from(burst) * den - num * jitter).max(den);
        let bucket = Bucket {
            num,
            den,
            level: cap,
            cap,
            at: Timestamp::ZERO,
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

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        match &mut self.state {
            State::Even(pace) => pace.take(now, units),
            State::Bucket(bucket) => bucket.add(now, -i128::from(units)),
        }
    }

    pub(super) fn settle(&mut self, now: Timestamp, reserved: u64, actual: u64) {
        let units = i128::from(reserved) - i128::from(actual);
        match &mut self.state {
            State::Even(pace) => pace.correct(now, units),
            State::Bucket(bucket) => bucket.add(now, units),
        }
    }

    pub(super) fn drain(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Even(pace) => pace.drain(now),
            State::Bucket(bucket) => {
                bucket.level = bucket.level_at(now).min(0);
                bucket.at = bucket.at.max(now);
            }
        }
    }
}

impl Bucket {
    /// Units larger than the safe part of the bucket start when that part is full.
    #[inline]
    fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        let needed = (i128::from(units) * self.den).min(self.cap);
        let missing = needed - self.level_at(now);
        if missing <= 0 {
            return now;
        }
        let nanos = (missing + self.num - 1) / self.num;
        now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    #[inline]
    fn add(&mut self, now: Timestamp, units: i128) {
        self.level = (self.level_at(now) + units * self.den).min(self.cap);
        self.at = self.at.max(now);
    }

    #[inline]
    fn level_at(&self, now: Timestamp) -> i128 {
        let elapsed = i128::from(now.as_nanos().saturating_sub(self.at.as_nanos()));
        (self.level + elapsed * self.num).min(self.cap)
    }
}
