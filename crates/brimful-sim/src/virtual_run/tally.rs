//! What the client itself counts of a run.

use std::time::Duration;

use brimful_core::Timestamp;

use super::sample::Sample;

/// What the client counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) dead: u64,
    pub(super) never_fit: u64,
    pub(super) abandoned: u64,
    pub(super) attempts: u64,
    pub(super) last_end: Timestamp,
    pub(super) quickest: Option<Duration>,
    /// Sum of the times of all attempts that were answered.
    pub(super) answering: Duration,
    pub(super) requests: u64,
    pub(super) tokens: u64,
    pub(super) samples: Vec<Sample>,
    pub(super) first_bytes: Vec<(Timestamp, Duration)>,
}
