//! What the fake provider allows, how fast it is, and how it misbehaves.

mod charge;
mod check;
mod human;
mod patch;
mod rule;
mod secret;
mod style;

use std::time::Duration;

pub use charge::Charge;
pub use check::ConfigError;
pub use patch::{Change, ConfigPatch, Script, ScriptStep};
pub use rule::{Enforcement, LimitRule, Measure};
pub use secret::BearerKey;
pub use style::{LevelHeaders, Outage, RetryAfterStyle};

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
    /// Requests a day. Its bucket holds a whole day, whatever `burst` says. Default: no limit.
    pub rpd: Option<u64>,
    /// Tokens a minute, charged as `charge` says. Default: no limit.
    pub tpm: Option<u64>,
    /// Input tokens a minute. Default: no limit.
    pub itpm: Option<u64>,
    /// Output tokens a minute; with [`Charge::Produced`] charged as they are generated, otherwise
    /// by the request's maximum. Default: no limit.
    pub otpm: Option<u64>,
    /// Requests in flight at once, from admission to the end of the answer. Default: no limit.
    pub concurrency: Option<u64>,
    /// Limits beside those above, at most 32. Default: none.
    pub limits: Vec<LimitRule>,
    /// How all rate limits are judged. Default: [`Enforcement::TokenBucket`].
    pub enforcement: Enforcement,
    /// How long after the server's start a window begins (modulo its length); of all limits that
    /// have windows. `None`, the default, draws it for each of them from the seed.
    pub window_phase: Option<Duration>,
    /// A shorter time over which limits are judged, such as 1 s for a limit a minute: windows
    /// shrink to it and allow their share of the amount, buckets hold no more than its worth.
    /// Rounded down to whole units; a window that would allow less than 1 is lengthened until it
    /// allows 1. No longer than the limit's own window. Default: the limit's own window.
    pub judged_over: Option<Duration>,
    /// How much of its rate each bucket holds, in time; buckets start full. Default: 1 s.
    /// A bucket holds at least 1. A request of more tokens than the bucket holds, but no more than
    /// a minute's, is admitted when the bucket is full and leaves a debt.
    pub burst: Duration,
    /// Requests that the request buckets hold, in place of `burst`. Default: by `burst`.
    pub burst_requests: Option<u64>,
    /// Tokens that the token buckets hold, in place of `burst`. Default: by `burst`.
    pub burst_tokens: Option<u64>,
    /// What a request takes from the token limits. Default: [`Charge::Sum`].
    pub charge: Charge,
    /// What the server takes for each token that it should by `charge`, as when it estimates tokens
    /// otherwise than its clients; 0.01 to 100. Default: 1.
    pub charge_scale: f64,
    /// Output tokens charged when a request names no maximum. Default: 16.
    pub default_output_tokens: u64,
    /// Whether the charge is corrected to real usage when the answer ends. Default: no.
    pub refund: bool,
    /// Whether an admitted request that fails (500, 503, hang, reset) has used up its charges.
    /// If not, they are given back when it ends. Default: yes.
    pub failed_requests_count: bool,
    /// Whether a refused request takes from the limits on requests too: what is there, but never a
    /// debt. Default: no.
    pub refused_requests_count: bool,
    /// Share (0 to 1) of each rate limit's rate that foreign tenants ask for, as a Poisson process
    /// of its own for each limit. They are judged like everyone else. Default: 0.
    pub foreign_share: f64,
    /// Tokens of a foreign request at each token limit; at least 1. `None`, the default: the mean
    /// of what the limit was charged by the requests admitted so far, and before there was one
    /// `default_output_tokens`.
    pub foreign_tokens: Option<u64>,

    /// Time to the first byte in milliseconds; the median when `latency_sigma` is set. Default: 0.
    pub latency_ms_median: f64,
    /// Spread of the log-normal latency (σ of its logarithm, no unit); 0 is fixed. Default: 0.
    pub latency_sigma: f64,
    /// Milliseconds that each output token adds. Default: 0.
    pub latency_ms_per_token: f64,
    /// Requests in flight up to which the server is as fast as that; beyond, all times grow in
    /// proportion to the requests in flight when a request is admitted. At least 1. Default: no
    /// bound.
    pub saturation_in_flight: Option<u64>,
    /// Whether that growth is gradual: all times grow by 1/N for each request in flight, N being
    /// `saturation_in_flight`, as where one step serves all at once. Default: no.
    pub saturation_gradual: bool,
    /// Answers that are generated at once; further requests wait in line for a place and make the
    /// server no slower. At least 1. Default: no bound.
    pub slots: Option<u64>,
    /// Output tokens of an answer, before the request's own maximum cuts it; the median when
    /// `output_tokens_sigma` is set. At least 1, at most 200,000. Default: 16.
    pub output_tokens_median: f64,
    /// Spread of the log-normal answer length (σ of its logarithm, no unit); 0 is fixed.
    /// Default: 0.
    pub output_tokens_sigma: f64,
    /// Time from sending to arrival in milliseconds; the median when `arrival_delay_sigma` is set.
    /// The server only draws it ([`Server::arrival_delay`](crate::Server::arrival_delay)): who
    /// carries requests to it delays them. Default: 0.
    pub arrival_delay_ms_median: f64,
    /// Spread of the log-normal arrival delay (σ of its logarithm, no unit); 0 is fixed.
    /// Default: 0.
    pub arrival_delay_sigma: f64,
    /// The longest arrival delay: longer draws are cut to it. Default: no bound.
    pub arrival_delay_max: Option<Duration>,

    /// Nobody is served, in this way. Default: everybody is.
    pub outage: Option<Outage>,
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
    /// What headers tell of the levels. Default: [`LevelHeaders::Right`].
    pub level_headers: LevelHeaders,
    /// How old the levels of [`LevelHeaders::Late`] are. Default: 2 s.
    pub level_headers_lag: Duration,
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
    /// Arrivals of which the ledger keeps instant, charge and fate
    /// ([`Server::arrivals`](crate::Server::arrivals)), 40 bytes each; later ones are not logged.
    /// Default: 0.
    pub arrivals_logged_max: usize,
    /// Changes on a timetable, in any order. Default: none.
    pub script: Vec<ScriptStep>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            rpm: None,
            rps: None,
            rpd: None,
            tpm: None,
            itpm: None,
            otpm: None,
            concurrency: None,
            limits: Vec::new(),
            enforcement: Enforcement::TokenBucket,
            window_phase: None,
            judged_over: None,
            burst: Duration::from_secs(1),
            burst_requests: None,
            burst_tokens: None,
            charge: Charge::Sum,
            charge_scale: 1.0,
            default_output_tokens: 16,
            refund: false,
            failed_requests_count: true,
            refused_requests_count: false,
            foreign_share: 0.0,
            foreign_tokens: None,
            latency_ms_median: 0.0,
            latency_sigma: 0.0,
            latency_ms_per_token: 0.0,
            saturation_in_flight: None,
            saturation_gradual: false,
            slots: None,
            output_tokens_median: 16.0,
            output_tokens_sigma: 0.0,
            arrival_delay_ms_median: 0.0,
            arrival_delay_sigma: 0.0,
            arrival_delay_max: None,
            outage: None,
            error_share: 0.0,
            overload_share: 0.0,
            hang_share: 0.0,
            reset_share: 0.0,
            truncate_share: 0.0,
            garbage_share: 0.0,
            retry_after: RetryAfterStyle::Right,
            level_headers: LevelHeaders::Right,
            level_headers_lag: Duration::from_secs(2),
            quota_after: None,
            auth: None,
            echo_headers: false,
            escape_codes: false,
            pretty: false,
            wall_clock_origin: Duration::from_secs(CREATED_UNIX_SECS),
            detailed_ledger: true,
            arrivals_logged_max: 0,
            script: Vec::new(),
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

    /// The limits that have fields of their own, by the names of those.
    pub(crate) const fn flat_amounts(&self) -> [(&'static str, Option<u64>); 6] {
        [
            ("rpm", self.rpm),
            ("rps", self.rps),
            ("rpd", self.rpd),
            ("tpm", self.tpm),
            ("itpm", self.itpm),
            ("otpm", self.otpm),
        ]
    }
}
