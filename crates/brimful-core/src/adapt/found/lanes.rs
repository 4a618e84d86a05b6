//! What is found out about each lane of an upstream.

use std::time::Duration;

use crate::charge::{Charge, Lane};
use crate::engine::AttemptResult;
use crate::learned::Learned;
use crate::limit::{LimitKind, LimitSpec};
use crate::time::Timestamp;
use crate::upstream::{Learning, UpstreamConfig};

use super::ladder::has_rate;
use super::{Found, Sent};

/// One search for each lane: models have limits of their own.
#[derive(Clone, Debug)]
pub(crate) struct FoundByLane {
    learning: Learning,
    declared: Vec<LimitSpec>,
    share_millionths: u32,
    learned: Vec<(Lane, Learned)>,
    lanes: Vec<Option<Found>>,
    /// How often everything began anew. Attempts of before say nothing of what is now.
    changes: u32,
}

impl FoundByLane {
    pub(crate) fn new(config: &UpstreamConfig) -> Self {
        Self {
            learning: config.learning,
            declared: config.limits.clone(),
            share_millionths: config.share_millionths,
            learned: config.learned.clone(),
            lanes: Vec::new(),
            changes: 0,
        }
    }

    /// What was found out about other limits is of no use.
    pub(crate) fn reconfigure(&mut self, config: &UpstreamConfig) {
        let is_same =
            self.learning == config.learning && rated(&self.declared).eq(rated(&config.limits));
        if is_same {
            self.declared.clone_from(&config.limits);
        } else {
            let changes = self.changes.wrapping_add(1);
            *self = Self {
                changes,
                ..Self::new(config)
            };
        }
        self.share_millionths = config.share_millionths;
        for found in self.lanes.iter_mut().flatten() {
            found.take_share(config.share_millionths);
        }
    }

    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp, lane: Lane) -> Timestamp {
        match self.lanes.get(usize::from(lane.0)) {
            Some(Some(found)) => found.earliest(now),
            _ => now,
        }
    }

    /// Lets time pass.
    #[inline]
    pub(crate) fn advance(&mut self, now: Timestamp) {
        for found in self.lanes.iter_mut().flatten() {
            found.advance(now);
        }
    }

    /// An attempt starts.
    #[inline]
    pub(crate) fn sent(&mut self, now: Timestamp, lane: Lane, charge: &Charge) -> Sent {
        if self.learning == Learning::Off {
            return Sent::default();
        }
        let mut sent = self.lane(now, lane).sent(now, charge);
        sent.changes = self.changes;
        sent
    }

    /// An attempt is over. After a 429: how long nothing starts if the server did not say.
    pub(crate) fn ended(
        &mut self,
        now: Timestamp,
        lane: Lane,
        (sent, charge): (&Sent, &Charge),
        result: &AttemptResult,
    ) -> Option<Duration> {
        if sent.changes != self.changes {
            return None;
        }
        let found = self.lanes.get_mut(usize::from(lane.0))?;
        found.as_mut()?.ended(now, sent, charge, result)
    }

    /// The first byte of a streamed answer has come.
    pub(crate) fn first_byte(&mut self, now: Timestamp, lane: Lane, sent: &Sent) {
        if sent.changes != self.changes {
            return;
        }
        if let Some(Some(found)) = self.lanes.get_mut(usize::from(lane.0)) {
            found.first_byte(now, sent);
        }
    }

    /// Adds what was found out about a lane.
    pub(crate) fn add_to(&self, learned: &mut Learned, lane: Lane) {
        if let Some(Some(found)) = self.lanes.get(usize::from(lane.0)) {
            found.add_to(learned);
        }
    }

    fn lane(&mut self, now: Timestamp, lane: Lane) -> &mut Found {
        let index = usize::from(lane.0);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        let (learning, declared, learned) = (self.learning, &self.declared, &self.learned);
        let share_millionths = self.share_millionths;
        self.lanes[index].get_or_insert_with(|| {
            let own = declared.iter().filter(|spec| spec.counts(lane));
            let own: Vec<LimitSpec> = own.cloned().collect();
            let known = learned.iter().find(|(of, _)| *of == lane);
            let known = known.map(|(_, learned)| learned);
            let mut found = Found::new(now, learning, &own, known);
            found.take_share(share_millionths);
            found
        })
    }
}

/// What rates are found out of: neither allowances of an hour and more, nor what only says how a
/// limit is kept.
fn rated(
    declared: &[LimitSpec],
) -> impl Iterator<Item = (LimitKind, u64, Duration, Option<u64>, Option<&[Lane]>)> {
    let rated = declared.iter().filter(|spec| has_rate(spec));
    rated.map(|spec| {
        let lanes = spec.lanes.as_deref();
        (spec.kind, spec.amount, spec.window, spec.burst, lanes)
    })
}
