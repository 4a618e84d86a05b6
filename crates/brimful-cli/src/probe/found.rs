//! What two replies tell together: each limit, and what one request took from it.

use std::ops::RangeInclusive;
use std::time::Duration;

use brimful_core::{LimitKind, Reading, Reset};
use brimful_providers::profile::{Charging, ProfileLimit, ServerShape};

use super::Probe;

/// One limit as the last reply names it.
#[derive(Debug)]
pub(super) struct Found<'p> {
    pub(super) reading: Reading,
    /// What the profile says of it; `None` when it knows no such limit.
    pub(super) known: Option<&'p ProfileLimit>,
    /// Units that the second request took, at least and at most: how long the server saw between
    /// the two is known only as far as the way there and back allows. `None` after one request, or
    /// where it cannot be seen.
    pub(super) taken: Option<RangeInclusive<u64>>,
    /// What it should have taken by each way in which the provider may count.
    pub(super) foretold: Vec<(&'p Charging, u64)>,
}

impl Probe {
    pub(super) fn found(&self) -> Vec<Found<'_>> {
        let mut seen = self.exchanges.iter().map(|exchange| exchange.seen.as_ref());
        let (first, second) = (seen.next().flatten(), seen.next().flatten());
        let last = second.or(first).map_or(&[][..], |seen| &seen.readings);
        last.iter()
            .map(|reading| {
                let before = first.filter(|_| second.is_some()).and_then(|first| {
                    let is_same = |before: &&Reading| {
                        (before.kind, before.limit) == (reading.kind, reading.limit)
                            && (before.window == reading.window
                                || before.window.is_none()
                                || reading.window.is_none())
                    };
                    first.readings.iter().find(is_same)
                });
                let window = reading.window.or_else(|| before?.window);
                let reading = Reading { window, ..*reading };
                let known = window
                    .or_else(|| (reading.kind == LimitKind::Concurrency).then_some(Duration::ZERO))
                    .and_then(|window| self.profile.limit(reading.kind, window));
                Found {
                    known,
                    taken: before.and_then(|before| self.taken(before, &reading, known)),
                    foretold: self.foretold(reading.kind),
                    reading,
                }
            })
            .collect()
    }

    /// Limits of the profile that the server did not name.
    pub(super) fn unnamed(&self) -> Vec<&ProfileLimit> {
        let found = self.found();
        let is_named = |limit: &ProfileLimit| {
            found.iter().any(|found| {
                let same_kind = found.reading.kind == limit.kind.into_core();
                same_kind
                    && found
                        .reading
                        .window
                        .is_none_or(|window| window == limit.window())
            })
        };
        let limits = self.profile.limits.iter();
        limits.filter(|limit| !is_named(limit)).collect()
    }

    /// What the second request took: by how much less is left, and what came back meanwhile.
    fn taken(
        &self,
        before: &Reading,
        after: &Reading,
        known: Option<&ProfileLimit>,
    ) -> Option<RangeInclusive<u64>> {
        let (was, left) = (before.remaining?, after.remaining?);
        let [first, second] = self.exchanges.as_slice() else {
            return None;
        };
        let drains = known.is_some_and(|limit| limit.shape == ServerShape::TokenBucket)
            || matches!(after.reset, Some(Reset::Full(_)));
        let back = |between: Duration| match (after.limit, after.window) {
            (Some(limit), Some(window)) if drains && !window.is_zero() => {
                let came = u128::from(limit) * between.as_nanos() / window.as_nanos();
                // No more can come back than was missing.
                let missing = limit.saturating_sub(was);
                u64::try_from(came).unwrap_or(u64::MAX).min(missing)
            }
            _ => 0,
        };
        let (sent, answered) = (
            second.sent.saturating_sub(first.sent + first.took),
            (second.sent + second.took).saturating_sub(first.sent),
        );
        let taken = |between| was.saturating_add(back(between)).checked_sub(left);
        Some(taken(sent).unwrap_or(0)..=taken(answered)?)
    }

    fn foretold(&self, kind: LimitKind) -> Vec<(&Charging, u64)> {
        let (input, output) = (
            self.estimate.input_tokens,
            self.estimate.max_output_tokens.unwrap_or(0),
        );
        if !matches!(
            kind,
            LimitKind::TotalTokens | LimitKind::InputTokens | LimitKind::OutputTokens
        ) {
            return Vec::new();
        }
        let charges = self.profile.charges();
        let mut foretold: Vec<(&Charging, u64)> = charges
            .map(|charging| {
                let charge = charging.reserve().charge(input, output);
                (charging, kind.units(&charge))
            })
            .collect();
        foretold.dedup_by_key(|(_, units)| *units);
        foretold
    }
}
