//! All limits of the server, tested together and charged in one step.

mod bucket;

use std::time::Duration;

use brimful_core::Timestamp;

pub(crate) use bucket::Bucket;
use bucket::Verdict;

use crate::config::ServerConfig;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// The limits that are configured.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) requests_per_minute: Option<Bucket>,
    pub(crate) requests_per_second: Option<Bucket>,
    pub(crate) tokens_per_minute: Option<Bucket>,
    concurrency: Option<u64>,
}

/// Which limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RequestsPerMinute,
    RequestsPerSecond,
    TokensPerMinute,
    Concurrency,
}

impl Kind {
    /// What it counts, and in what time.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::RequestsPerSecond => "requests per second",
            Self::TokensPerMinute => "tokens per minute",
            Self::Concurrency => "concurrent requests",
        }
    }
}

/// A refusal for speed. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) kind: Kind,
    pub(crate) limit: u64,
    /// Such that `used + requested − limit` is what has to be refilled first.
    pub(crate) used: u64,
    pub(crate) requested: u64,
    pub(crate) wait: Wait,
}

/// When a denied request would be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// After this long, if nobody else comes.
    Time(Duration),
    /// When another request ends.
    Slot,
    /// Never: it is larger than the limit.
    Forever,
}

impl Limits {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let bucket = |amount: Option<u64>, window, units: Option<u64>| {
            amount.map(|amount| match units {
                Some(units) => Bucket::holding_units(amount, window, units),
                None => Bucket::holding_time(amount, window, config.burst),
            })
        };
        Self {
            requests_per_minute: bucket(config.rpm, MINUTE, config.burst_requests),
            requests_per_second: bucket(config.rps, SECOND, config.burst_requests),
            tokens_per_minute: bucket(config.tpm, MINUTE, config.burst_tokens),
            concurrency: config.concurrency,
        }
    }

    /// Whether there is a limit whose level is told in headers.
    pub(crate) const fn any_told(&self) -> bool {
        self.requests_per_minute.is_some()
            || self.requests_per_second.is_some()
            || self.tokens_per_minute.is_some()
    }

    /// Brings every bucket to `now`.
    pub(crate) fn refill(&mut self, now: Timestamp) {
        let buckets = [
            &mut self.requests_per_minute,
            &mut self.requests_per_second,
            &mut self.tokens_per_minute,
        ];
        for bucket in buckets.into_iter().flatten() {
            bucket.refill(now);
        }
    }

    /// Charges one request and `tokens` to every limit, or nothing to any.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        tokens: u64,
        in_flight: u64,
    ) -> Result<(), Denial> {
        self.refill(now);
        let mut buckets = [
            (
                Kind::TokensPerMinute,
                self.tokens_per_minute.as_mut(),
                tokens,
            ),
            (
                Kind::RequestsPerMinute,
                self.requests_per_minute.as_mut(),
                1,
            ),
            (
                Kind::RequestsPerSecond,
                self.requests_per_second.as_mut(),
                1,
            ),
        ];
        let mut denial: Option<Denial> = None;
        for (kind, bucket, charge) in &mut buckets {
            let Some(bucket) = bucket else { continue };
            let wait = match bucket.verdict(*charge) {
                Verdict::Fits => continue,
                Verdict::FitsAfter(time) => Wait::Time(time),
                Verdict::NeverFits => Wait::Forever,
            };
            // The limit that is ready last is the one whose wait is true for all.
            if denial.is_none_or(|denial| denial.wait.is_shorter_than(wait)) {
                denial = Some(Denial {
                    kind: *kind,
                    limit: bucket.amount(),
                    used: used(bucket),
                    requested: *charge,
                    wait,
                });
            }
        }
        if let Some(denial) = denial {
            return Err(denial);
        }
        if let Some(limit) = self.concurrency.filter(|&limit| in_flight >= limit) {
            let kind = Kind::Concurrency;
            return Err(Denial {
                kind,
                limit,
                used: in_flight,
                requested: 1,
                wait: Wait::Slot,
            });
        }
        for (_, bucket, charge) in buckets {
            if let Some(bucket) = bucket {
                bucket.take(charge);
            }
        }
        Ok(())
    }

    /// Corrects the token charge of an ended request from `reserved` to `actual`.
    pub(crate) fn settle_tokens(&mut self, now: Timestamp, reserved: u64, actual: u64) {
        let Some(bucket) = &mut self.tokens_per_minute else {
            return;
        };
        bucket.refill(now);
        if actual < reserved {
            bucket.give_back(reserved - actual);
        } else {
            bucket.take(actual - reserved);
        }
    }
}

impl Wait {
    fn is_shorter_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time(a), Self::Time(b)) => a < b,
            (Self::Time(_), _) => true,
            (Self::Slot | Self::Forever, _) => false,
        }
    }
}

/// Real providers report the level from the top: a full bucket has used nothing. For a bucket that
/// holds less than a window's amount this counts what it cannot hold as used, which keeps
/// `wait = (used + requested − limit) ÷ rate` true, the formula that clients compute with.
fn used(bucket: &Bucket) -> u64 {
    u64::try_from(i128::from(bucket.amount()) - i128::from(bucket.remaining())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(change: impl FnOnce(&mut ServerConfig)) -> Limits {
        let mut config = ServerConfig::default();
        change(&mut config);
        Limits::new(&config)
    }

    #[test]
    fn a_refused_request_takes_nothing_from_the_limits_that_would_have_admitted_it() {
        let mut limits = limits(|c| {
            c.rpm = Some(600);
            c.tpm = Some(6_000);
        });
        assert_eq!(limits.admit(Timestamp::ZERO, 100, 0), Ok(()));
        let denial = limits.admit(Timestamp::ZERO, 100, 1).unwrap_err();
        assert_eq!(denial.kind, Kind::TokensPerMinute);
        assert_eq!(denial.wait, Wait::Time(SECOND));
        let requests = limits.requests_per_minute.as_ref().unwrap();
        assert_eq!(requests.remaining(), 9);
        let tokens = limits.tokens_per_minute.as_ref().unwrap();
        assert_eq!(tokens.remaining(), 0);
    }

    #[test]
    fn the_longest_wait_is_the_one_named() {
        let mut limits = limits(|c| {
            c.rpm = Some(60);
            c.rps = Some(100);
            c.tpm = Some(600);
        });
        assert_eq!(limits.admit(Timestamp::ZERO, 9, 0), Ok(()));
        let denial = limits.admit(Timestamp::ZERO, 10, 1).unwrap_err();
        assert_eq!(
            (denial.kind, denial.wait),
            (Kind::RequestsPerMinute, Wait::Time(SECOND))
        );
        assert_eq!((denial.limit, denial.used, denial.requested), (60, 60, 1));
    }

    #[test]
    fn a_full_house_says_that_a_slot_must_be_freed() {
        let mut limits = limits(|c| c.concurrency = Some(2));
        assert_eq!(limits.admit(Timestamp::ZERO, 1, 1), Ok(()));
        let denial = limits.admit(Timestamp::ZERO, 1, 2).unwrap_err();
        assert_eq!((denial.kind, denial.wait), (Kind::Concurrency, Wait::Slot));
    }

    #[test]
    fn a_charge_corrected_upwards_becomes_a_debt() {
        let mut limits = limits(|c| c.tpm = Some(600));
        assert_eq!(limits.admit(Timestamp::ZERO, 10, 0), Ok(()));
        limits.settle_tokens(Timestamp::ZERO, 10, 15);
        let denial = limits.admit(Timestamp::ZERO, 1, 0).unwrap_err();
        assert_eq!(denial.wait, Wait::Time(Duration::from_millis(600)));
    }

    proptest! {
        /// A client that knows no more than the reply's text computes the server's own instant.
        #[test]
        fn the_text_formula_gives_the_wait_within_one_unit(
            tpm in 60u64..100_000,
            burst_ms in 1u64..60_000,
            charges in prop::collection::vec((1u64..500, 0u64..1_000), 1..30),
        ) {
            let mut limits = limits(|c| {
                c.tpm = Some(tpm);
                c.burst = Duration::from_millis(burst_ms);
            });
            let capacity = (tpm * burst_ms / 60_000).max(1);
            let mut now = Timestamp::ZERO;
            for (charge, gap_ms) in charges {
                now = now + Duration::from_millis(gap_ms);
                let Err(denial) = limits.admit(now, charge, 0) else { continue };
                let Wait::Time(wait) = denial.wait else { continue };
                if charge > capacity {
                    continue;
                }
                let units = (denial.used + denial.requested - denial.limit) as f64;
                let computed = units * 60.0 / tpm as f64;
                prop_assert!(computed >= wait.as_secs_f64() - 1e-6);
                prop_assert!(computed <= wait.as_secs_f64() + 60.0 / tpm as f64 + 1e-6);
            }
        }
    }
}
