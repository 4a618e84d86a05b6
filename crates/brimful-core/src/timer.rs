//! Every reason to wake up, on one screen.

use crate::time::Timestamp;

/// Why the engine wants to be called again at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The request at the head of the queue fits its limits.
    Admission,
    /// A request's backoff is over.
    Retry,
    /// The upstream's cooldown after a 429 is over.
    Cooldown,
}

const TIMERS: usize = 3;

/// One deadline for each [`Timer`].
#[derive(Clone, Debug)]
pub(crate) struct TimerTable([Timestamp; TIMERS]);

impl TimerTable {
    pub(crate) const fn new() -> Self {
        Self([Timestamp::NEVER; TIMERS])
    }

    pub(crate) const fn set(&mut self, timer: Timer, at: Timestamp) {
        self.0[timer as usize] = at;
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0
            .iter()
            .copied()
            .min()
            .filter(|&at| at != Timestamp::NEVER)
    }
}
