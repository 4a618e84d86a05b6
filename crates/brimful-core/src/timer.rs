//! Every reason to wake up, on one screen.

use crate::time::Timestamp;

/// Why the engine wants to be called again at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The oldest request of a lane fits its limits.
    Admission,
    /// A request's backoff is over.
    Retry,
    /// The pause of an upstream is over: a cooldown after a 429, an illness, a quota that resets.
    Cooldown,
    /// A request has waited long enough for the primaries to go to a fallback.
    Fallback,
    /// A limit that is being grown into rises.
    Ramp,
    /// What a reply said of limits is to be taken in.
    Heard,
}

const TIMERS: usize = 6;

/// One deadline for each [`Timer`].
#[derive(Clone, Debug)]
pub(crate) struct TimerTable([Timestamp; TIMERS]);

impl TimerTable {
    pub(crate) const fn new() -> Self {
        Self([Timestamp::NEVER; TIMERS])
    }

    /// Sets a deadline, unless there is an earlier one for the same reason.
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        let deadline = &mut self.0[timer as usize];
        *deadline = at.min(*deadline);
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
