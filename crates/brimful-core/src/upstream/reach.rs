//! Whether the upstream can be reached at all: a provider that is away is nobody's fault, so the
//! whole upstream pauses and no request uses up its attempts.

use std::time::Duration;

use crate::retry::RetryPolicy;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Reach {
    /// When something last came back.
    reached: Option<Timestamp>,
    /// The start of the first attempt that could not be sent, if nothing came back since.
    away_since: Option<Timestamp>,
    /// Pauses since then.
    episodes: u32,
    /// When the present pause began; attempts started before belong to it.
    episode: Timestamp,
}

impl Reach {
    /// Something came back, be it an error.
    pub(super) const fn reached(&mut self, now: Timestamp) {
        self.reached = Some(now);
        self.away_since = None;
        self.episodes = 0;
    }

    /// An attempt that was `started` then could not be sent. Returns how long everything pauses;
    /// `None` when others got through meanwhile, so that it was this connection only.
    pub(super) fn not_sent(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        policy: &RetryPolicy,
    ) -> Option<Duration> {
        if self.reached.is_some_and(|reached| reached > started) {
            return None;
        }
        self.away_since.get_or_insert(started);
        if self.episodes == 0 || started >= self.episode {
            self.episodes = self.episodes.saturating_add(1);
            self.episode = now;
        }
        // The last pause ends when there is an end to waiting, not long after it.
        let away = self
            .away_since
            .map_or(Duration::ZERO, |since| now.since(since));
        let left = self.most(policy).saturating_sub(away);
        Some(policy.backoff(self.episodes).min(left))
    }

    /// Whether it has been away for longer than anybody should wait: a short while if it was never
    /// there, for then the address is probably wrong.
    pub(super) fn is_lost(&self, now: Timestamp, policy: &RetryPolicy) -> bool {
        let most = self.most(policy);
        self.away_since
            .is_some_and(|since| now.since(since) >= most)
    }

    const fn most(&self, policy: &RetryPolicy) -> Duration {
        match self.reached {
            Some(_) => policy.max_unreachable_time,
            None => policy.max_unreachable_time_at_start,
        }
    }
}
