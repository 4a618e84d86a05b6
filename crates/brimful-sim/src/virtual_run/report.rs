//! What a run came to, by the server's account wherever the server can know it.

use std::time::Duration;

use brimful_core::{StopReason, Timestamp};

use crate::config::{Enforcement, ServerConfig};
use crate::ledger::Stats;

use super::checks::Violation;
use super::sample::Sample;

const MINUTE_S: f64 = 60.0;

/// What a run came to. Times are virtual.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Equal for runs that did the same at the same instants.
    pub trace_hash: u64,
    /// Steps of the trace.
    pub steps: u64,
    /// The server's own account.
    pub server: Stats,
    /// Those of the further upstreams' servers, in their order.
    pub further: Vec<Stats>,
    /// Requests of the workload; `None` when there are always enough.
    pub workload: Option<u64>,
    /// Requests given to the engine.
    pub submitted: u64,
    /// Requests that ended with an answer.
    pub answered: u64,
    /// Requests that ended without: dead letters.
    pub dead: u64,
    /// Requests that can never fit a limit.
    pub never_fit: u64,
    /// Requests given up by their caller or by the stop of the run.
    pub abandoned: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Why the engine stopped; `None` when it did not.
    pub stopped: Option<StopReason>,
    /// From the submission of the first request to the end of the last.
    pub makespan: Duration,
    /// The shortest time in which any client could have had all answers: what the server's limits
    /// take, less all that they admit at once, plus the quickest reply of the run. With a limit on
    /// concurrency at least the time that answers were under way, from start to end, ÷ places: who
    /// never sends too many must count a place as taken until the answer is there.
    pub lower_bound: Duration,
    /// From the last admission to the end of the last request.
    pub tail: Duration,
    /// The longest wait of any request for its first attempt.
    pub longest_wait: Duration,
    /// Laws that were broken; the first twenty.
    pub violations: Vec<Violation>,
    /// How many there were.
    pub violated: u64,
    /// The server's account at regular instants, the first at the start and the last at the end.
    /// Empty unless [`VirtualRun::sample_every`](super::VirtualRun::sample_every) says how often.
    pub samples: Vec<Sample>,
    /// When each answer was admitted and how long its first byte took from then, by the server,
    /// whether it was shown then or not. Empty unless samples are taken.
    pub first_bytes: Vec<(Timestamp, Duration)>,
}

impl Report {
    /// 429s for speed ÷ arrivals.
    #[must_use]
    pub fn throttled_share(&self) -> f64 {
        self.server.throttled.total() as f64 / self.server.arrivals.max(1) as f64
    }

    /// Utilisation of the limit that is used most; 0 without limits.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        let requests = self.server.utilisation_requests.unwrap_or_default();
        let tokens = self.server.utilisation_tokens.unwrap_or_default();
        requests.max(tokens)
    }

    /// Requests that were to be answered: the whole workload, also what was never submitted.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.workload.unwrap_or(self.submitted)
    }

    /// Lower bound ÷ makespan: the share of the best possible rate.
    #[must_use]
    pub fn of_lower_bound(&self) -> f64 {
        self.lower_bound.as_secs_f64() / self.makespan.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// The least time in which the server's limits let so much through: all that they admit at once
/// comes at the start, the rest at their rate. Not exact for windows, of which two may be used up
/// around an edge, but never too long.
pub(super) fn least_time(config: &ServerConfig, requests: u64, tokens: u64) -> Duration {
    let limits = [
        (config.rpm, MINUTE_S, requests, config.burst_requests),
        (config.rps, 1.0, requests, config.burst_requests),
        (config.tpm, MINUTE_S, tokens, config.burst_tokens),
    ];
    let times = limits
        .into_iter()
        .filter_map(|(amount, window_s, units, burst)| {
            let rate = amount? as f64 / window_s;
            let judged_s = config
                .judged_over
                .map_or(window_s, |time| time.as_secs_f64().min(window_s));
            let at_once = match config.enforcement {
                Enforcement::TokenBucket => {
                    burst.map_or_else(|| rate * config.burst.as_secs_f64(), |units| units as f64)
                }
                Enforcement::SlidingLog => rate * judged_s,
                Enforcement::FixedWindow | Enforcement::SlidingCounter => 2.0 * rate * judged_s,
                Enforcement::Spacing => 1.0,
            };
            Some((units as f64 - at_once.max(1.0)).max(0.0) / rate)
        });
    Duration::from_secs_f64(times.fold(0.0, f64::max))
}
