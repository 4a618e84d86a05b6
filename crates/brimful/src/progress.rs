//! What a run is doing now, for whoever shows it.

use std::time::{Duration, Instant};

use brimful_core::{LimitKind, LimitStatus};

use crate::limits::LimitNote;
use crate::report::Counts;
use crate::upstreams::UpstreamProgress;

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
    /// What went to each upstream; empty while there is only one.
    pub upstreams: Vec<UpstreamProgress>,
    /// Nothing new starts any more.
    pub stopping: bool,
    /// What the provider last said about being throttled or unusable.
    pub upstream_message: String,
    /// Said when not a limit but `--concurrency` holds the run back.
    pub concurrency_note: Option<String>,
    /// What people should know, in the order in which it came up. It only grows.
    pub notices: Vec<Notice>,
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
            upstreams: Vec::new(),
            stopping: false,
            upstream_message: String::new(),
            concurrency_note: None,
            notices: Vec::new(),
        }
    }
}

/// Something that people should know at once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Notice {
    /// `info` or `warning`.
    pub level: &'static str,
    /// One line.
    pub text: String,
}

impl Notice {
    /// Good to know.
    #[must_use]
    pub const fn info(text: String) -> Self {
        let level = "info";
        Self { level, text }
    }

    /// Something to act on.
    #[must_use]
    pub const fn warning(text: String) -> Self {
        let level = "warning";
        Self { level, text }
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
    /// `given` by the user, `published` by the provider, or `learned`.
    pub source: &'static str,
    /// When it begins anew, for a limit of a day; `None`: it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_reset: Option<String>,
    /// The models that share it; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<String>,
    /// Units admitted so far, corrected by settling; for concurrency, attempts.
    pub admitted: u64,
    /// Per cent of the rate used between the first and the last admission.
    pub utilisation_percent: Option<f64>,
}

impl LimitProgress {
    pub(crate) fn new(status: LimitStatus, note: &LimitNote) -> Self {
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
            source: note.source.as_str(),
            daily_reset: note.daily.as_ref().map(ToString::to_string),
            models: note.models.clone(),
            admitted: status.admitted,
            utilisation_percent: utilisation,
        }
    }
}
