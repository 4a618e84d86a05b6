//! A bucket that refills continuously.

use std::time::Duration;

use brimful_core::Timestamp;

use super::model::{Verdict, saturate};

/// Holds up to `capacity` and regains `amount` per window, nanosecond by nanosecond.
///
/// All quantities inside are units × window in nanoseconds, so that one nanosecond refills exactly
/// `amount` of them and nothing is ever rounded. `available` is below zero while there is a debt.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    amount: i128,
    window_ns: i128,
    capacity: i128,
    available: i128,
    refilled: Timestamp,
}

impl Bucket {
    /// A full bucket for `amount` units a `window` that holds `burst` of that rate.
    pub(super) fn holding_time(amount: u64, window: Duration, burst: Duration) -> Self {
        let capacity = i128::from(amount).saturating_mul(nanos(burst));
        Self::with_capacity(amount, window, capacity)
    }

    /// A full bucket for `amount` units a `window` that holds `burst` units.
    pub(super) fn holding_units(amount: u64, window: Duration, burst: u64) -> Self {
        let capacity = i128::from(burst).saturating_mul(nanos(window));
        Self::with_capacity(amount, window, capacity)
    }

    /// The same, holding no more than `time` of its rate, but at least one unit.
    pub(super) fn holding_at_most(mut self, time: Duration) -> Self {
        let most = self.amount.saturating_mul(nanos(time)).max(self.window_ns);
        self.capacity = self.capacity.min(most);
        self.available = self.capacity;
        self
    }

    fn with_capacity(amount: u64, window: Duration, capacity: i128) -> Self {
        let window_ns = nanos(window);
        // Less than one unit could never admit anything.
        let capacity = capacity.max(window_ns);
        Self {
            amount: i128::from(amount),
            window_ns,
            capacity,
            available: capacity,
            refilled: Timestamp::ZERO,
        }
    }

    /// Brings the bucket to `now`; to be called before anything else at that instant.
    pub(super) fn refill(&mut self, now: Timestamp) {
        let elapsed = i128::from(now.as_nanos().saturating_sub(self.refilled.as_nanos()));
        let gained = elapsed.saturating_mul(self.amount);
        self.available = self.available.saturating_add(gained).min(self.capacity);
        self.refilled = self.refilled.max(now);
    }

    /// Whether and when `charge` units can be taken. A charge of more than the bucket holds, but
    /// not more than the limit's whole amount, needs a full bucket and leaves a debt.
    pub(super) fn verdict(&self, charge: u64) -> Verdict {
        let charge = self.scaled(charge);
        if charge > self.capacity.max(self.amount * self.window_ns) {
            return Verdict::NeverFits;
        }
        let missing = charge.min(self.capacity) - self.available;
        if missing <= 0 {
            return Verdict::Fits;
        }
        Verdict::FitsAfter(self.time_for(missing))
    }

    /// Takes `charge` units, whatever is left.
    pub(super) fn take(&mut self, charge: u64) {
        self.available = self.available.saturating_sub(self.scaled(charge));
    }

    /// Gives `units` back; what exceeds the capacity is lost.
    pub(super) fn give_back(&mut self, units: u64) {
        self.available = self
            .available
            .saturating_add(self.scaled(units))
            .min(self.capacity);
    }

    /// Takes up to `units`, as far as they are there.
    pub(super) fn take_what_is_there(&mut self, units: u64) {
        let there = self.available.max(0);
        self.available -= self.scaled(units).min(there);
    }

    /// Takes over `old`'s instant and level: it stays as full in proportion, or needs the same time
    /// to pay off a debt.
    pub(super) fn fill_like(&mut self, old: &Self) {
        self.refilled = old.refilled;
        self.available = if old.available < 0 {
            in_proportion(old.available, old.amount, self.amount)
        } else {
            in_proportion(old.available, old.capacity, self.capacity).min(self.capacity)
        };
    }

    /// Whole units that could be taken now; negative while there is a debt.
    pub(super) fn remaining(&self) -> i64 {
        let units = self.available.div_euclid(self.window_ns);
        saturate(units)
    }

    /// Time until the bucket is full if nobody takes anything.
    pub(super) fn until_full(&self) -> Duration {
        self.time_for(self.capacity - self.available)
    }

    fn scaled(&self, units: u64) -> i128 {
        i128::from(units).saturating_mul(self.window_ns)
    }

    /// The first whole nanosecond at which `scaled` has been refilled.
    fn time_for(&self, scaled: i128) -> Duration {
        // Small numbers divide ten times faster as 64 bits, and this is on every reply's path.
        if let (Ok(scaled), Ok(amount)) = (u64::try_from(scaled), u64::try_from(self.amount)) {
            return Duration::from_nanos(scaled.div_ceil(amount));
        }
        let nanos = (scaled + self.amount - 1) / self.amount;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::from(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// `value` × `to` ÷ `from`, both positive; exact unless one of them has more than sixty bits.
fn in_proportion(value: i128, from: i128, to: i128) -> i128 {
    let ((from, shift), (to, fine)) = (sixty_bits(from), sixty_bits(to));
    let product = (value >> shift).saturating_mul(to);
    product.div_euclid(from).saturating_mul(1 << fine)
}

/// The first sixty bits of a positive number, and how many follow.
const fn sixty_bits(number: i128) -> (i128, u32) {
    let shift = (128 - number.leading_zeros()).saturating_sub(60);
    (number >> shift, shift)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The published 429s of a real provider: limit, used, requested, wait in ms.
    #[test]
    fn waits_are_those_of_real_replies() {
        let vectors = [
            (10_000, 8_554, 3_082, 9_816),
            (30_000, 29_937, 385, 644),
            (30_000, 14_567, 24_754, 18_642),
            (30_000, 18_928, 11_159, 174),
            (30_000, 28_039, 3_906, 3_890),
            (30_000, 22_343, 10_955, 6_596),
        ];
        for (limit, used, requested, wait_ms) in vectors {
            let mut bucket = Bucket::holding_time(limit, MINUTE, MINUTE);
            bucket.take(used);
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(bucket.verdict(requested), Verdict::FitsAfter(wait));
        }
    }

    #[test]
    fn the_reset_is_that_of_real_headers() {
        let vectors = [
            (160_000, 24, 9_000),
            (5_000, 1, 12_000),
            (10_000, 519, 3_114_000),
        ];
        for (limit, used, reset_us) in vectors {
            let mut bucket = Bucket::holding_time(limit, MINUTE, MINUTE);
            bucket.take(used);
            assert_eq!(bucket.until_full(), Duration::from_micros(reset_us));
        }
    }

    #[test]
    fn a_charge_above_the_capacity_waits_for_a_full_bucket_and_leaves_a_debt() {
        let mut bucket = Bucket::holding_time(600, MINUTE, Duration::from_secs(1));
        assert_eq!(bucket.verdict(600), Verdict::Fits);
        bucket.take(600);
        assert_eq!(bucket.remaining(), -590);
        assert_eq!(
            bucket.verdict(1),
            Verdict::FitsAfter(Duration::from_millis(59_100))
        );
        assert_eq!(
            bucket.verdict(11),
            Verdict::FitsAfter(Duration::from_secs(60))
        );
        assert_eq!(bucket.verdict(601), Verdict::NeverFits);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut bucket = Bucket::holding_units(u64::MAX, MINUTE, u64::MAX);
        bucket.take(u64::MAX);
        bucket.take(u64::MAX);
        bucket.refill(Timestamp::NEVER);
        bucket.give_back(u64::MAX);
        assert_eq!(bucket.verdict(u64::MAX), Verdict::Fits);
        let mut slow = Bucket::holding_units(1, MINUTE, u64::MAX);
        slow.take(u64::MAX);
        assert_eq!(slow.until_full(), Duration::from_nanos(u64::MAX));
        assert_eq!(slow.remaining(), 0);
    }

    /// The bucket without a level: what is available is the least, over every earlier instant, of a
    /// full bucket then, plus the refill since, minus what was taken since.
    struct Log {
        amount: i128,
        capacity: i128,
        taken: Vec<(u64, i128)>,
    }

    impl Log {
        fn available(&self, now: u64) -> i128 {
            let since = |start: u64, events: &[(u64, i128)]| {
                let taken: i128 = events.iter().map(|(_, units)| units).sum();
                self.capacity + i128::from(now - start) * self.amount - taken * 60_000_000_000
            };
            let starts = (0..self.taken.len()).map(|i| since(self.taken[i].0, &self.taken[i..]));
            starts.fold(self.capacity, i128::min)
        }
    }

    proptest! {
        #[test]
        fn decides_as_the_log_of_everything_taken_does(
            amount in 1u64..5_000,
            burst_ms in 0u64..70_000,
            steps in prop::collection::vec((0u64..3_000_000_000, 1u64..400, 0u64..400), 1..60),
        ) {
            let mut bucket = Bucket::holding_time(amount, MINUTE, Duration::from_millis(burst_ms));
            let capacity = (i128::from(amount) * i128::from(burst_ms) * 1_000_000)
                .max(60_000_000_000);
            let mut log = Log { amount: i128::from(amount), capacity, taken: Vec::new() };
            let mut now = 0;
            for (gap, charge, refund) in steps {
                now += gap;
                bucket.refill(Timestamp::from_nanos(now));
                let need = (i128::from(charge) * 60_000_000_000).min(capacity);
                match bucket.verdict(charge) {
                    Verdict::NeverFits => {
                        prop_assert!(charge > amount);
                        continue;
                    }
                    Verdict::Fits => prop_assert!(log.available(now) >= need),
                    Verdict::FitsAfter(wait) => {
                        let ready = now + wait.as_nanos() as u64;
                        prop_assert!(log.available(ready - 1) < need, "a nanosecond too late");
                        prop_assert!(log.available(ready) >= need, "too early");
                        continue;
                    }
                }
                bucket.take(charge);
                log.taken.push((now, i128::from(charge)));
                if refund < charge {
                    bucket.give_back(refund);
                    log.taken.push((now, -i128::from(refund)));
                }
            }
        }
    }
}
