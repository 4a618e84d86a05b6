//! Whether an upstream answers at all, told by failures in a row.
//!
//! Only what came back from it counts: a wait for a limit is our own, and a 429 for speed says that
//! it is well. One that is ill gets nothing while another can take it; then a single attempt, and
//! with each answer twice as many at once.

use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// Failures in a row after which an upstream is ill. Fewer happen to every provider.
const FAILURES: u32 = 5;
/// Attempts at once from which on nobody has to be careful any more.
const TRUSTED: u32 = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Well,
    /// Gets nothing until then.
    Ill { until: Timestamp },
    /// Gets so many attempts at once.
    Returning { places: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Condition {
    health: Health,
    /// Since the last answer.
    failures: u32,
    /// How often it fell ill without an answer in between.
    episodes: u32,
    /// When it fell ill; attempts started before belong to it.
    since: Timestamp,
}

impl Condition {
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    /// Takes in that time has passed.
    #[inline]
    pub(super) fn wake(&mut self, now: Timestamp) {
        if let Health::Ill { until } = self.health
            && until <= now
        {
            self.health = Health::Returning { places: 1 };
        }
    }

    /// An attempt failed for a reason that lies with the upstream. Returns until when it is ill,
    /// if it has fallen ill by this.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        policy: &RetryPolicy,
    ) -> Option<Timestamp> {
        self.failures = self.failures.saturating_add(1);
        let known = self.episodes > 0 && started < self.since;
        let falls_ill = match self.health {
            Health::Well => self.failures >= FAILURES,
            Health::Returning { .. } => !known,
            Health::Ill { .. } => false,
        };
        if !falls_ill {
            return None;
        }
        self.episodes = self.episodes.saturating_add(1);
        self.since = now;
        let until = now + policy.backoff(self.episodes);
        self.health = Health::Ill { until };
        Some(until)
    }

    /// An answer came. Whether it is completely well again by this.
    #[inline]
    pub(super) const fn answered(&mut self) -> bool {
        self.failures = 0;
        match self.health {
            Health::Well => false,
            // An answer under way says that it may be tried, not that it is well.
            Health::Ill { .. } => {
                self.health = Health::Returning { places: 1 };
                false
            }
            Health::Returning { places } if places < TRUSTED => {
                self.health = Health::Returning { places: places * 2 };
                false
            }
            Health::Returning { .. } => {
                self.health = Health::Well;
                self.episodes = 0;
                true
            }
        }
    }
}
