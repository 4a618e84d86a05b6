//! The pause of the whole upstream after a 429, and how long nothing but 429 came.

use std::time::Duration;

use crate::retry::RetryPolicy;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Cooldown {
    /// When the episode began; attempts started before belong to it.
    since: Timestamp,
    until: Timestamp,
    /// Episodes without an answer in between.
    episodes: u32,
    /// Time in which nothing but 429 came, less what the provider asked to wait. `None` when
    /// something else came last.
    only_throttled: Option<Duration>,
    /// The instant up to which `only_throttled` has counted.
    counted_to: Timestamp,
}

impl Cooldown {
    /// The end, while there is one.
    pub(super) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.until > now).then_some(self.until)
    }

    /// A 429 for an attempt that was `started` then. Returns the new end if it moved.
    pub(super) fn throttled(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        retry_after: Option<Duration>,
        unasked: Option<Duration>,
        policy: &RetryPolicy,
    ) -> Option<Timestamp> {
        // Several attempts of one volley are refused together: that is one episode.
        if self.episodes == 0 || started >= self.since {
            self.episodes = self.episodes.saturating_add(1);
            self.since = now;
        }
        // A wait of nothing is what a server says that rounds down or knows none.
        let asked = retry_after.filter(|wait| !wait.is_zero());
        let wait = asked
            .or(unasked)
            .unwrap_or_else(|| policy.backoff(self.episodes));
        let until = now + wait.min(policy.max_request_time);
        let counted = self.only_throttled.map_or(Duration::ZERO, |sum| {
            sum.saturating_add(now.since(self.counted_to))
        });
        self.only_throttled = Some(counted);
        let counted_to = if asked.is_some() { until } else { now };
        self.counted_to = self.counted_to.max(counted_to);
        let moved = until > self.until;
        self.until = self.until.max(until);
        moved.then_some(until)
    }

    /// Whether a pause is over, told once.
    pub(super) fn ends(&mut self) -> bool {
        let paused = self.until > Timestamp::ZERO;
        self.until = Timestamp::ZERO;
        paused
    }

    /// Pauses until then, for another reason than a 429. Whether the end moved.
    pub(super) fn pause(&mut self, until: Timestamp) -> bool {
        let moved = until > self.until;
        self.until = self.until.max(until);
        moved
    }

    /// How long nothing but 429 came, beyond what the provider asked to wait.
    pub(super) fn only_throttled(&self) -> Duration {
        self.only_throttled.unwrap_or_default()
    }

    /// An answer came: the upstream lets requests through.
    pub(super) const fn answered(&mut self) {
        self.episodes = 0;
        self.only_throttled = None;
    }

    /// Something else than a 429 came, or there is nothing left that could come.
    pub(super) const fn interrupted(&mut self) {
        self.only_throttled = None;
    }
}
