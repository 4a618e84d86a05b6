//! What was sent and what was refused, in every unit in which a server may count.

use crate::charge::Charge;
use crate::limit::LimitKind;
use crate::time::Timestamp;

/// The kinds that have a rate.
pub(super) const KINDS: [LimitKind; 4] = [
    LimitKind::Requests,
    LimitKind::TotalTokens,
    LimitKind::InputTokens,
    LimitKind::OutputTokens,
];

/// Units of each of [`KINDS`].
pub(super) type Units = [u64; KINDS.len()];

/// The place of a kind in [`Units`]. Concurrency has none.
pub(super) fn place(kind: LimitKind) -> Option<usize> {
    KINDS.iter().position(|known| *known == kind)
}

/// An attempt's place among all that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When it was sent.
    pub(super) at: Timestamp,
    /// What had been sent before it.
    before: Units,
    /// Attempts in flight when it was sent, itself included.
    pub(super) in_flight: u64,
    /// Changes of the limits before it was sent.
    pub(super) changes: u32,
}

/// Sums since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    sent: Units,
    refused: Units,
    /// Attempts that were sent and have not ended.
    pub(super) in_flight: u64,
    /// Attempts that have ended otherwise than by a refusal.
    pub(super) admitted_ends: u64,
}

/// A moment and everything that was admitted before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    admitted: Units,
}

impl Tally {
    pub(super) fn sent(&mut self, now: Timestamp, charge: &Charge) -> Sent {
        let before = self.sent;
        for (sum, kind) in self.sent.iter_mut().zip(KINDS) {
            *sum = sum.saturating_add(kind.units(charge));
        }
        self.in_flight += 1;
        Sent {
            at: now,
            before,
            in_flight: self.in_flight,
            changes: 0,
        }
    }

    /// The moment before `sent`, of which everything older that was refused is known.
    pub(super) fn before(&self, sent: &Sent) -> Moment {
        Moment {
            at: sent.at,
            admitted: less(sent.before, self.refused),
        }
    }

    /// This moment, when everything that was refused is known.
    pub(super) fn now(&self, now: Timestamp) -> Moment {
        Moment {
            at: now,
            admitted: less(self.sent, self.refused),
        }
    }

    pub(super) fn refused(&mut self, charge: &Charge) {
        self.in_flight = self.in_flight.saturating_sub(1);
        for (sum, kind) in self.refused.iter_mut().zip(KINDS) {
            *sum = sum.saturating_add(kind.units(charge));
        }
    }

    pub(super) const fn admitted(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.admitted_ends += 1;
    }

    /// Everything sent so far.
    pub(super) const fn all_sent(&self) -> &Units {
        &self.sent
    }

    /// Units of the kind at `place` that a request has in the mean.
    pub(super) fn mean(&self, place: usize) -> f64 {
        self.sent[place] as f64 / self.sent[0] as f64
    }

    /// Requests sent so far.
    pub(super) const fn requests(&self) -> u64 {
        self.sent[0]
    }
}

impl Moment {
    /// What was admitted from an earlier moment until this one.
    pub(super) fn since(&self, earlier: &Self) -> Interval {
        Interval {
            seconds: self.at.since(earlier.at).as_secs_f64(),
            units: less(self.admitted, earlier.admitted),
        }
    }
}

/// What was admitted in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    pub(super) seconds: f64,
    pub(super) units: Units,
}

impl Interval {
    /// Units a second of the kind at `place`.
    pub(super) fn rate(&self, place: usize) -> f64 {
        self.units[place] as f64 / self.seconds
    }
}

fn less(a: Units, b: Units) -> Units {
    std::array::from_fn(|place| a[place].saturating_sub(b[place]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charge::ChargeRule;

    #[test]
    fn what_was_admitted_between_two_refusals_is_what_was_sent_less_what_was_refused() {
        let mut tally = Tally::default();
        let charge = ChargeRule::Sum.charge(30, 10);
        let mut sent = Vec::new();
        for second in 0..10 {
            sent.push(tally.sent(Timestamp::from_secs(second), &charge));
        }
        let first = tally.before(&sent[2]);
        for _ in 0..3 {
            tally.refused(&charge);
        }
        let second = tally.before(&sent[9]);
        let between = second.since(&first);
        assert_eq!(between.seconds, 7.0);
        assert_eq!(between.units, [4, 160, 120, 40]);
        assert_eq!(tally.in_flight, 7);
    }
}
