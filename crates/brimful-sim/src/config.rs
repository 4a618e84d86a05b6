//! What the fake provider allows, how fast it is, and how it misbehaves.

use std::fmt;
use std::time::Duration;

/// 2026-01-01T00:00:00Z: a fixed date, so that runs without a wall clock repeat to the byte.
pub(crate) const CREATED_UNIX_SECS: u64 = 1_767_225_600;

/// More output than any model gives; bounds the memory of one answer to a few megabytes.
pub(crate) const OUTPUT_TOKENS_MAX: u64 = 200_000;

/// Everything that can be set on a [`Server`](crate::Server). Flat, so that flags map one to one.
///
/// The default has no limits, no latency and no faults, and answers with 16 tokens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Requests a minute. Default: no limit.
    pub rpm: Option<u64>,
    /// Requests a second, beside `rpm` when both are given. Default: no limit.
    pub rps: Option<u64>,
    /// Tokens a minute, charged as `charge` says. Default: no limit.
    pub tpm: Option<u64>,
    /// Requests in flight at once, from admission to the end of the answer. Default: no limit.
    pub concurrency: Option<u64>,
    /// How much of its rate each bucket holds, in time; buckets start full. Default: 1 s.
    /// A bucket holds at least 1. A request of more tokens than the bucket holds, but no more than
    /// a minute's, is admitted when the bucket is full and leaves a debt.
    pub burst: Duration,
    /// Requests that the request buckets hold, in place of `burst`. Default: by `burst`.
    pub burst_requests: Option<u64>,
    /// Tokens that the token bucket holds, in place of `burst`. Default: by `burst`.
    pub burst_tokens: Option<u64>,
    /// What a request takes from the token bucket. Default: [`Charge::Sum`].
    pub charge: Charge,
    /// Output tokens charged when a request names no maximum. Default: 16.
    pub default_output_tokens: u64,
    /// Whether the charge is corrected to real usage when the answer ends. Default: no.
    pub refund: bool,

    /// Time to the first byte in milliseconds; the median when `latency_sigma` is set. Default: 0.
    pub latency_ms_median: f64,
    /// Spread of the log-normal latency (σ of its logarithm, no unit); 0 is fixed. Default: 0.
    pub latency_sigma: f64,
    /// Milliseconds that each output token adds. Default: 0.
    pub latency_ms_per_token: f64,
    /// Output tokens of an answer, before the request's own maximum cuts it; the median when
    /// `output_tokens_sigma` is set. At least 1, at most 200,000. Default: 16.
    pub output_tokens_median: f64,
    /// Spread of the log-normal answer length (σ of its logarithm, no unit); 0 is fixed.
    /// Default: 0.
    pub output_tokens_sigma: f64,

    /// Share (0 to 1) of admitted requests answered with 500. Default: 0. All `*_share`s together
    /// are at most 1, and what fails has used up its requests and, without `refund`, its tokens.
    pub error_share: f64,
    /// Share (0 to 1) of admitted requests answered with 503 `server_is_overloaded`. Default: 0.
    pub overload_share: f64,
    /// Share (0 to 1) of admitted requests that never get an answer. Default: 0.
    pub hang_share: f64,
    /// Share (0 to 1) of admitted requests whose connection is reset. Default: 0.
    pub reset_share: f64,
    /// Share (0 to 1) of admitted requests whose answer stops half-way. Default: 0.
    pub truncate_share: f64,
    /// Share (0 to 1) of admitted requests answered with 200 and a body that is not JSON.
    /// Default: 0.
    pub garbage_share: f64,

    /// How a 429 says when to come back. Default: [`RetryAfterStyle::Right`].
    pub retry_after: RetryAfterStyle,
    /// Answers with 200 before every further request gets 429 `insufficient_quota`. Default: never.
    pub quota_after: Option<u64>,
    /// The key that requests must bear; others get 401. Default: any key or none.
    pub auth: Option<BearerKey>,
    /// Whether the Authorization header comes back in bodies and in `x-echo-authorization`, to
    /// test that clients keep secrets out of what they write. Default: no.
    pub echo_headers: bool,
    /// Whether texts contain terminal escape sequences. Default: no.
    pub escape_codes: bool,
    /// Whether JSON bodies are spread over several lines. Default: no.
    pub pretty: bool,
    /// Wall-clock time at [`Timestamp::ZERO`](brimful_core::Timestamp::ZERO), counted from the Unix
    /// epoch; only Retry-After dates use it. Default: 2026-01-01T00:00:00Z.
    pub wall_clock_origin: Duration,
    /// Whether the ledger keeps most-per-window figures and duplicate answers: up to 64 MiB, and
    /// about 20 bytes for each different prompt answered. Default: yes.
    pub detailed_ledger: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            rpm: None,
            rps: None,
            tpm: None,
            concurrency: None,
            burst: Duration::from_secs(1),
            burst_requests: None,
            burst_tokens: None,
            charge: Charge::Sum,
            default_output_tokens: 16,
            refund: false,
            latency_ms_median: 0.0,
            latency_sigma: 0.0,
            latency_ms_per_token: 0.0,
            output_tokens_median: 16.0,
            output_tokens_sigma: 0.0,
            error_share: 0.0,
            overload_share: 0.0,
            hang_share: 0.0,
            reset_share: 0.0,
            truncate_share: 0.0,
            garbage_share: 0.0,
            retry_after: RetryAfterStyle::Right,
            quota_after: None,
            auth: None,
            echo_headers: false,
            escape_codes: false,
            pretty: false,
            wall_clock_origin: Duration::from_secs(CREATED_UNIX_SECS),
            detailed_ledger: true,
        }
    }
}

impl ServerConfig {
    /// The fault shares in the order in which they are drawn.
    pub(crate) const fn shares(&self) -> [(&'static str, f64); 6] {
        [
            ("error_share", self.error_share),
            ("overload_share", self.overload_share),
            ("hang_share", self.hang_share),
            ("reset_share", self.reset_share),
            ("truncate_share", self.truncate_share),
            ("garbage_share", self.garbage_share),
        ]
    }

    /// Says what is wrong with the values, so that it is known before the first request.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("rpm", self.rpm),
            ("rps", self.rps),
            ("tpm", self.tpm),
            ("concurrency", self.concurrency),
        ];
        for (name, amount) in limits {
            if amount == Some(0) {
                return Err(ConfigError::ZeroLimit { name });
            }
        }
        for (name, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::ShareOutOfRange { name });
            }
        }
        // A little slack: ten shares of 0.1 do not add up to exactly 1.
        if self.shares().iter().map(|(_, share)| share).sum::<f64>() > 1.0 + 1e-9 {
            return Err(ConfigError::SharesExceedOne);
        }
        let ranges = [
            (
                "latency_ms_median",
                self.latency_ms_median,
                0.0,
                86_400_000.0,
            ),
            ("latency_sigma", self.latency_sigma, 0.0, 10.0),
            (
                "latency_ms_per_token",
                self.latency_ms_per_token,
                0.0,
                60_000.0,
            ),
            (
                "output_tokens_median",
                self.output_tokens_median,
                1.0,
                OUTPUT_TOKENS_MAX as f64,
            ),
            ("output_tokens_sigma", self.output_tokens_sigma, 0.0, 10.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::ValueOutOfRange { name, least, most });
            }
        }
        Ok(())
    }
}

/// What a request takes from the token bucket. The input is estimated as characters ÷ 4, the output
/// is the request's maximum or `default_output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charge {
    /// Input plus output.
    #[default]
    Sum,
    /// The larger of input and output.
    Max,
    /// Input alone.
    Input,
}

impl Charge {
    pub(crate) fn tokens(self, input: u64, output: u64) -> u64 {
        match self {
            Self::Sum => input.saturating_add(output),
            Self::Max => input.max(output),
            Self::Input => input,
        }
    }
}

/// How a 429 for speed says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfterStyle {
    /// `retry-after` in whole seconds and `retry-after-ms`, both rounded up from the exact wait.
    #[default]
    Right,
    /// No header; the message still names the wait.
    Missing,
    /// Only `retry-after`, in whole seconds, rounded up.
    Seconds,
    /// Only `retry-after-ms`, rounded up.
    Millis,
    /// Only `retry-after`, as an HTTP date, rounded up to its second.
    Date,
    /// `retry-after` and `retry-after-ms` and the message all name a fifth or five times the wait.
    Wrong,
}

/// A key that its owner may not want to see in a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerKey(String);

impl BearerKey {
    pub(crate) fn admits(&self, authorization: &str) -> bool {
        authorization
            .strip_prefix("Bearer ")
            .is_some_and(|key| key.trim() == self.0)
    }
}

impl<T: Into<String>> From<T> for BearerKey {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for BearerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerKey(…)")
    }
}

/// Why a configuration cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A limit of zero would admit nothing.
    #[error("`{name}` is 0 and would admit nothing: leave it out for no limit")]
    ZeroLimit {
        /// The field.
        name: &'static str,
    },
    /// A share is not a share.
    #[error("`{name}` must be between 0 and 1")]
    ShareOutOfRange {
        /// The field.
        name: &'static str,
    },
    /// The fault shares exclude each other, so they cannot exceed the whole.
    #[error("the fault shares add up to more than 1")]
    SharesExceedOne,
    /// A latency or length is negative, not a number, or absurd.
    #[error("`{name}` must be between {least} and {most}")]
    ValueOutOfRange {
        /// The field.
        name: &'static str,
        /// The smallest value allowed.
        least: f64,
        /// The largest value allowed.
        most: f64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ServerConfig)) -> Result<(), ConfigError> {
        let mut config = ServerConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn the_default_can_be_served() {
        assert_eq!(check(|_| {}), Ok(()));
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        assert_eq!(
            check(|c| c.rpm = Some(0)),
            Err(ConfigError::ZeroLimit { name: "rpm" })
        );
        assert_eq!(
            check(|c| c.error_share = f64::NAN),
            Err(ConfigError::ShareOutOfRange {
                name: "error_share"
            })
        );
        let both = check(|c| {
            c.error_share = 0.6;
            c.reset_share = 0.6;
        });
        assert_eq!(both, Err(ConfigError::SharesExceedOne));
        let endless = check(|c| c.latency_ms_median = f64::INFINITY);
        assert!(matches!(
            endless,
            Err(ConfigError::ValueOutOfRange {
                name: "latency_ms_median",
                ..
            })
        ));
    }

    #[test]
    fn six_shares_that_make_a_whole_are_accepted() {
        let sixths = check(|c| {
            let sixth = 1.0 / 6.0;
            (c.error_share, c.overload_share, c.hang_share) = (sixth, sixth, sixth);
            (c.reset_share, c.truncate_share, c.garbage_share) = (sixth, sixth, sixth);
        });
        assert_eq!(sixths, Ok(()));
    }

    #[test]
    fn debug_hides_the_key() {
        let config = ServerConfig {
            auth: Some("sk-secret".into()),
            ..ServerConfig::default()
        };
        assert!(!format!("{config:?}").contains("sk-secret"));
    }
}
