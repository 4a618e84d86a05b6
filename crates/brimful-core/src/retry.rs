//! The only place that decides whether and when a request is tried again.

use std::time::Duration;

use crate::outcome::{Class, Failure, Scope};
use crate::time::Timestamp;

/// How failures are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// First backoff; doubles with each attempt. Default 1 s.
    pub base_backoff: Duration,
    /// Longest backoff that is not asked for by the provider. Default 60 s.
    pub max_backoff: Duration,
    /// Attempts of one request that may fail other than throttled. Default 6.
    pub max_attempts: u32,
    /// Age from its first attempt at which a request is given up. Default 24 h.
    pub max_request_time: Duration,
    /// How long an upstream may answer nothing but 429, beyond its own Retry-After, before the run
    /// is stopped if no other is left. Default 15 min.
    pub max_throttled_time: Duration,
    /// How long no connection to an upstream may be possible before the run is stopped if no other
    /// is left. Default 15 min.
    pub max_unreachable_time: Duration,
    /// The same when there never was a connection: the address is probably wrong. Default 30 s.
    pub max_unreachable_time_at_start: Duration,
}

impl RetryPolicy {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            base_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            max_attempts: 6,
            max_request_time: Duration::from_secs(24 * 3600),
            max_throttled_time: Duration::from_secs(15 * 60),
            max_unreachable_time: Duration::from_secs(15 * 60),
            max_unreachable_time_at_start: Duration::from_secs(30),
        }
    }

    /// The longest wait before attempt number `failed` + 1: base × 2^(failed − 1), capped.
    #[must_use]
    pub fn backoff(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.base_backoff
            .saturating_mul(1 << doublings)
            .min(self.max_backoff)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// What the engine does with a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Back to the queue at once; the upstream's cooldown says when it may start.
    WithTheModel,
    /// Back to the queue after this long.
    After(Duration),
    /// Never again: the request is a dead letter.
    Dead,
    /// The upstream is of no use to any request; the request may go to another.
    UpstreamOut,
}

/// Whether a failure counts against the attempts of its request.
pub(crate) fn counts(failure: &Failure) -> bool {
    failure.class != Class::Throttled && !concerns_upstream(failure)
}

/// Whether every request to the upstream will fail the same way.
fn concerns_upstream(failure: &Failure) -> bool {
    failure.scope == Scope::Upstream && matches!(failure.class, Class::Exhausted | Class::Fatal)
}

/// Decides about one failure. `failed` counts the request's failures that were not for speed, this
/// one included; `age` is the time since its first attempt.
pub(crate) fn decide(
    policy: &RetryPolicy,
    failure: &Failure,
    failed: u32,
    age: Duration,
    rng: &mut fastrand::Rng,
) -> Verdict {
    if concerns_upstream(failure) {
        return Verdict::UpstreamOut;
    }
    let wait = match failure.class {
        Class::Fatal | Class::Exhausted => return Verdict::Dead,
        Class::Throttled => failure.retry_after.unwrap_or_default(),
        Class::Invalid => Duration::ZERO,
        // Full jitter: the error is about capacity, so requests must not come back together.
        Class::Overloaded | Class::Transient => {
            let longest = u64::try_from(policy.backoff(failed).as_nanos()).unwrap_or(u64::MAX);
            let jittered = Duration::from_nanos(rng.u64(0..=longest));
            let asked = failure.retry_after.unwrap_or_default();
            asked.saturating_add(jittered)
        }
    };
    if age.saturating_add(wait) >= policy.max_request_time {
        return Verdict::Dead;
    }
    if failure.class == Class::Throttled {
        return Verdict::WithTheModel;
    }
    if failed >= policy.max_attempts {
        Verdict::Dead
    } else {
        Verdict::After(wait)
    }
}

/// Bounds how many attempts of a run may be retries, so that an upstream that fails most requests
/// is left in peace: one for each answer, and 10 a second at any time, with 100 saved up at most.
/// What exceeds it waits; nothing is dropped.
///
/// The form is that of Finagle's retry budget, which earns 20 % of requests. There, retries come on
/// top of the load; here each one takes its place within the limits, so that the load never grows,
/// and the budget has only to tell a struggling upstream (fewer answers than failures) from one
/// with faults.
#[derive(Clone, Debug)]
pub(crate) struct RetryBudget {
    /// Retries that may happen now, in thousandths. May be below zero: retries already promised.
    level: i64,
    at: Timestamp,
}

impl RetryBudget {
    const RETRY: i64 = 1000;
    const PER_ANSWER: i64 = 1000;
    /// A thousandth of a retry each: 10 retries a second.
    const EARN_MICROS: u64 = 100;
    const CAP: i64 = 100 * Self::RETRY;

    pub(crate) const fn new() -> Self {
        Self {
            level: Self::CAP,
            at: Timestamp::ZERO,
        }
    }

    pub(crate) fn answered(&mut self) {
        self.level = (self.level + Self::PER_ANSWER).min(Self::CAP);
    }

    /// Books one retry and says how long it has to wait beyond its own backoff.
    pub(crate) fn take(&mut self, now: Timestamp) -> Duration {
        let elapsed = now.since(self.at).as_nanos() / 1000;
        let earned = u64::try_from(elapsed).unwrap_or(u64::MAX) / Self::EARN_MICROS;
        // What is left of the time counts towards the next thousandth.
        self.at = self.at + Duration::from_micros(earned * Self::EARN_MICROS);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(earned).min(Self::CAP) - Self::RETRY;
        let owed = u64::try_from(-self.level).unwrap_or(0);
        Duration::from_micros(owed.saturating_mul(Self::EARN_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy::new()
    }

    fn verdict(failure: &Failure, failed: u32, age: Duration) -> Verdict {
        decide(
            &policy(),
            failure,
            failed,
            age,
            &mut fastrand::Rng::with_seed(1),
        )
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let waits: Vec<u64> = (1..=9).map(|n| policy().backoff(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(policy().backoff(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn capacity_errors_are_jittered_over_the_whole_backoff() {
        let mut rng = fastrand::Rng::with_seed(7);
        let failure = Failure::new(Class::Overloaded);
        let waits: Vec<Duration> = (0..200)
            .map(
                |_| match decide(&policy(), &failure, 3, Duration::ZERO, &mut rng) {
                    Verdict::After(wait) => wait,
                    other => panic!("unexpected {other:?}"),
                },
            )
            .collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(4)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_secs(1)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(3)));
    }

    #[test]
    fn a_wait_that_the_provider_asks_for_is_kept() {
        let wait = Duration::from_secs(90);
        let failure = Failure {
            retry_after: Some(wait),
            ..Failure::new(Class::Transient)
        };
        let Verdict::After(chosen) = verdict(&failure, 1, Duration::ZERO) else {
            panic!()
        };
        assert!(chosen >= wait && chosen <= wait + Duration::from_secs(1));
    }

    #[test]
    fn throttling_never_uses_up_attempts_but_age_does() {
        let failure = Failure::new(Class::Throttled);
        assert_eq!(
            verdict(&failure, 0, Duration::from_secs(80_000)),
            Verdict::WithTheModel
        );
        assert_eq!(
            verdict(&failure, 0, Duration::from_secs(86_400)),
            Verdict::Dead
        );
        let far = Failure {
            retry_after: Some(Duration::from_secs(7 * 86_400)),
            ..failure
        };
        assert_eq!(verdict(&far, 0, Duration::ZERO), Verdict::Dead);
    }

    #[test]
    fn the_last_attempt_and_hopeless_errors_end_a_request() {
        assert_eq!(
            verdict(&Failure::new(Class::Transient), 6, Duration::ZERO),
            Verdict::Dead
        );
        assert_eq!(
            verdict(&Failure::new(Class::Fatal), 1, Duration::ZERO),
            Verdict::Dead
        );
        let wallet = Failure {
            scope: Scope::Upstream,
            ..Failure::new(Class::Exhausted)
        };
        assert_eq!(verdict(&wallet, 1, Duration::ZERO), Verdict::UpstreamOut);
    }

    #[test]
    fn the_retry_budget_delays_retries_that_no_answer_has_earned() {
        let mut budget = RetryBudget::new();
        let now = Timestamp::from_secs(1);
        for _ in 0..100 {
            assert_eq!(budget.take(now), Duration::ZERO);
        }
        assert_eq!(budget.take(now), Duration::from_millis(100));
        assert_eq!(budget.take(now), Duration::from_millis(200));
        for _ in 0..2 {
            budget.answered();
        }
        assert_eq!(budget.take(now), Duration::from_millis(100));
    }

    #[test]
    fn the_retry_budget_earns_from_every_microsecond() {
        let mut budget = RetryBudget::new();
        let mut now = Timestamp::from_secs(1);
        let mut waits = Duration::ZERO;
        // A retry every 199 µs earns 1.99 thousandths; losing the rest would cost half of it.
        for _ in 0..10_000 {
            now = now + Duration::from_micros(199);
            waits = budget.take(now);
        }
        assert_eq!(waits, Duration::from_micros((9_900_000 - 19_899) * 100));
    }
}
