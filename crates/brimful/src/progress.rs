//! What a run is doing now, for whoever shows it.

use std::time::{Duration, Instant};

use brimful_core::{LimitKind, LimitStatus};

use crate::report::Counts;

/// A picture of a running run, taken ten times a second.
#[derive(Clone, Debug)]
pub struct Progress {
    /// When it was taken.
    pub at: Instant,
    /// Since the start.
    pub elapsed: Duration,
    /// Everything that is counted.
    pub counts: Counts,
    /// Requests that wait to start, backoff included.
    pub queued: usize,
    /// Requests in backoff.
    pub backing_off: usize,
    /// Attempts in flight.
    pub in_flight: usize,
    /// How long the oldest attempt in flight has been running.
    pub oldest_in_flight: Option<Duration>,
    /// The limit that the next request waits for.
    pub binding: Option<String>,
    /// What is left of the pause after a 429.
    pub cooldown: Option<Duration>,
    /// Each limit and its use.
    pub limits: Vec<LimitProgress>,
    /// Nothing new starts any more.
    pub stopping: bool,
    /// What the provider last said about being throttled or unusable.
    pub upstream_message: String,
    /// Said when not a limit but `--concurrency` holds the run back.
    pub concurrency_note: Option<String>,
    /// What people should know, in the order in which it came up. It only grows.
    pub notices: Vec<String>,
}

impl Progress {
    /// Nothing has happened yet.
    #[must_use]
    pub fn start() -> Self {
        Self {
            at: Instant::now(),
            elapsed: Duration::ZERO,
            counts: Counts::default(),
            queued: 0,
            backing_off: 0,
            in_flight: 0,
            oldest_in_flight: None,
            binding: None,
            cooldown: None,
            limits: Vec::new(),
            stopping: false,
            upstream_message: String::new(),
            concurrency_note: None,
            notices: Vec::new(),
        }
    }
}

/// One limit and its use.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LimitProgress {
    /// Such as `rpm`.
    pub name: String,
    /// Units allowed in each window.
    pub amount: u64,
    /// Seconds; 0 for concurrency.
    pub window_s: f64,
    /// Units admitted so far, corrected by settling; for concurrency, attempts.
    pub admitted: u64,
    /// Per cent of the rate used between the first and the last admission.
    pub utilisation_percent: Option<f64>,
}

impl From<LimitStatus> for LimitProgress {
    fn from(status: LimitStatus) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "thousandths of a per cent are small"
        )]
        let utilisation = status
            .utilisation_millipercent
            .map(|share| share as f64 / 1000.0);
        let concurrency = status.spec.kind == LimitKind::Concurrency;
        Self {
            name: status.spec.name,
            amount: status.spec.amount,
            window_s: if concurrency {
                0.0
            } else {
                status.spec.window.as_secs_f64()
            },
            admitted: status.admitted,
            utilisation_percent: utilisation,
        }
    }
}
