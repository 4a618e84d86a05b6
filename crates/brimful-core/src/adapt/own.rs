//! What was sent, by every way in which a server may count it, and when.

use std::collections::VecDeque;
use std::time::Duration;

use crate::charge::{ChargeRule, Cost, Settlement};
use crate::learned::LearnedCharge;
use crate::limit::LimitKind;
use crate::outcome::Usage;
use crate::time::Timestamp;

/// Sends closer together than this are looked up as one.
const SLOT: Duration = Duration::from_millis(10);
/// Slots that are kept: more than five minutes of sending without a pause.
const SLOTS_MAX: usize = 32_768;

/// A way in which a server may count a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Count {
    Requests,
    /// Input plus the most output, at admission.
    Sum,
    /// The larger of the two, at admission.
    Max,
    /// Input, at admission.
    Input,
    /// `Sum`, corrected to usage at the end.
    SumSettled,
    /// `Input`, corrected to usage at the end.
    InputSettled,
    /// The most output, at admission.
    Output,
    /// `Output`, corrected to usage at the end.
    OutputSettled,
    /// Output as it is produced: nothing at admission, usage at the end.
    Produced,
}

/// How many ways there are.
pub(super) const COUNTS: usize = 9;

/// Units ever sent, by every way of counting.
pub(super) type Units = [i64; COUNTS];

impl Count {
    /// The ways in which servers count for limits of a kind; the first is the plainest.
    pub(super) const fn of(kind: LimitKind) -> &'static [Self] {
        match kind {
            LimitKind::TotalTokens => &[Self::Sum, Self::Max, Self::Input, Self::SumSettled],
            LimitKind::InputTokens => &[Self::Input, Self::InputSettled],
            LimitKind::OutputTokens => &[Self::Output, Self::OutputSettled, Self::Produced],
            LimitKind::Requests | LimitKind::Concurrency | LimitKind::Custom(_) => {
                &[Self::Requests]
            }
        }
    }

    /// The way that was declared for limits of a kind.
    pub(super) const fn declared(
        kind: LimitKind,
        rule: ChargeRule,
        settlement: Settlement,
    ) -> Self {
        let settles = matches!(settlement, Settlement::Usage);
        match (kind, rule) {
            (LimitKind::TotalTokens, ChargeRule::Max) => Self::Max,
            (LimitKind::TotalTokens, ChargeRule::Input) => Self::Input,
            (LimitKind::TotalTokens, ChargeRule::Sum) if settles => Self::SumSettled,
            (LimitKind::TotalTokens, ChargeRule::Sum) => Self::Sum,
            (LimitKind::InputTokens, _) if settles => Self::InputSettled,
            (LimitKind::InputTokens, _) => Self::Input,
            (LimitKind::OutputTokens, _) if settles => Self::OutputSettled,
            (LimitKind::OutputTokens, _) => Self::Output,
            _ => Self::Requests,
        }
    }

    /// What a request takes when it is admitted.
    pub(super) const fn at_admission(self, cost: &Cost) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Sum | Self::SumSettled => cost.input.saturating_add(cost.max_output),
            Self::Max => {
                if cost.input > cost.max_output {
                    cost.input
                } else {
                    cost.max_output
                }
            }
            Self::Input | Self::InputSettled => cost.input,
            Self::Output | Self::OutputSettled => cost.max_output,
            Self::Produced => 0,
        }
    }

    /// What it has taken in the end; `None` where that does not differ.
    pub(super) const fn at_end(self, usage: &Usage) -> Option<u64> {
        match self {
            Self::SumSettled => Some(usage.total()),
            Self::InputSettled => Some(usage.input),
            Self::OutputSettled | Self::Produced => Some(usage.output),
            _ => None,
        }
    }

    /// The same word for reports; `None` for requests, of which there is one way to count.
    pub(super) const fn in_words(self) -> Option<LearnedCharge> {
        Some(match self {
            Self::Requests => return None,
            Self::Sum => LearnedCharge::Sum,
            Self::Max => LearnedCharge::Max,
            Self::Input => LearnedCharge::Input,
            Self::SumSettled => LearnedCharge::SumSettled,
            Self::InputSettled => LearnedCharge::InputSettled,
            Self::Output => LearnedCharge::Output,
            Self::OutputSettled => LearnedCharge::OutputSettled,
            Self::Produced => LearnedCharge::Produced,
        })
    }

    /// The way that a word means.
    pub(super) fn meant_by(word: LearnedCharge) -> Self {
        let meant = Self::ALL
            .into_iter()
            .find(|count| count.in_words() == Some(word));
        meant.unwrap_or(Self::Requests)
    }

    const ALL: [Self; COUNTS] = [
        Self::Requests,
        Self::Sum,
        Self::Max,
        Self::Input,
        Self::SumSettled,
        Self::InputSettled,
        Self::Output,
        Self::OutputSettled,
        Self::Produced,
    ];
}

/// Where an attempt stands among all that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When it was sent.
    pub(super) at: Timestamp,
    /// What was sent up to then, itself included.
    pub(super) sent: Units,
}

/// Everything that was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    sent: Units,
    /// What was sent up to the end of a slot.
    slots: VecDeque<(Timestamp, Units)>,
    /// What turned out not to have been taken, from the send on: refused, or never left.
    void: VecDeque<(Timestamp, Units)>,
    /// What was dropped from the front of `slots` and `void`.
    before: Units,
    void_before: Units,
}

impl Own {
    pub(super) fn sent(&mut self, now: Timestamp, cost: &Cost) -> Mark {
        for count in Count::ALL {
            let units = count.at_admission(cost);
            add(&mut self.sent[count as usize], units);
        }
        self.note(now);
        Mark {
            at: now,
            sent: self.sent,
        }
    }

    /// The answer is there: what is corrected to usage is.
    pub(super) fn ended(&mut self, now: Timestamp, cost: &Cost, usage: &Usage) {
        for count in Count::ALL {
            if let Some(units) = count.at_end(usage) {
                let sent = &mut self.sent[count as usize];
                add(sent, units);
                *sent = sent.saturating_sub(signed(count.at_admission(cost)));
            }
        }
        self.note(now);
    }

    /// An attempt took nothing after all.
    pub(super) fn voided(&mut self, mark: &Mark, cost: &Cost) {
        let place = self.void.partition_point(|(at, _)| *at <= mark.at);
        let up_to = match place.checked_sub(1) {
            Some(before) => self.void[before].1,
            None => self.void_before,
        };
        self.void.insert(place, (mark.at, up_to));
        for (_, sum) in self.void.range_mut(place..) {
            for count in Count::ALL {
                add(&mut sum[count as usize], count.at_admission(cost));
            }
        }
        if self.void.len() > SLOTS_MAX
            && let Some((_, dropped)) = self.void.pop_front()
        {
            self.void_before = dropped;
        }
    }

    /// What was taken up to now.
    pub(super) fn taken(&self, count: Count) -> i64 {
        let void = self.void.back().map_or(&self.void_before, |(_, sum)| sum);
        self.sent[count as usize].saturating_sub(void[count as usize])
    }

    /// What was taken up to an attempt, itself included.
    pub(super) fn taken_up_to(&self, mark: &Mark, count: Count) -> i64 {
        let void = at(&self.void, &self.void_before, mark.at)[count as usize];
        mark.sent[count as usize].saturating_sub(void)
    }

    /// What was taken up to an instant, to the end of its slot.
    pub(super) fn taken_at(&self, now: Timestamp, count: Count) -> i64 {
        let sent = at(&self.slots, &self.before, now)[count as usize];
        sent.saturating_sub(at(&self.void, &self.void_before, now)[count as usize])
    }

    /// The same, so long before an instant: nothing, if that is before the first.
    pub(super) fn taken_before(&self, now: Timestamp, by: Duration, count: Count) -> i64 {
        if now.since(Timestamp::ZERO) < by {
            return self.before[count as usize].saturating_sub(self.void_before[count as usize]);
        }
        self.taken_at(now - by, count)
    }

    /// Nothing before that instant will be asked for.
    pub(super) fn forget_before(&mut self, oldest: Timestamp) {
        for (slots, before) in [
            (&mut self.slots, &mut self.before),
            (&mut self.void, &mut self.void_before),
        ] {
            while let Some((at, sums)) = slots.front()
                && *at < oldest
            {
                *before = *sums;
                slots.pop_front();
            }
        }
    }

    fn note(&mut self, now: Timestamp) {
        match self.slots.back_mut() {
            Some((at, sums)) if now.since(*at) < SLOT => *sums = self.sent,
            _ => self.slots.push_back((now, self.sent)),
        }
        if self.slots.len() > SLOTS_MAX
            && let Some((_, dropped)) = self.slots.pop_front()
        {
            self.before = dropped;
        }
    }
}

/// The sums of the last entry that is not later than `now`.
fn at<'a>(slots: &'a VecDeque<(Timestamp, Units)>, before: &'a Units, now: Timestamp) -> &'a Units {
    let place = slots.partition_point(|(at, _)| *at <= now);
    match place.checked_sub(1) {
        Some(last) => &slots[last].1,
        None => before,
    }
}

fn add(sum: &mut i64, units: u64) {
    *sum = sum.saturating_add(signed(units));
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn each_way_of_counting_has_its_own_sum() {
        let mut own = Own::default();
        let cost = Cost::tokens(100, 40);
        let mark = own.sent(secs(1), &cost);
        own.sent(secs(2), &cost);
        assert_eq!(own.taken_up_to(&mark, Count::Sum), 140);
        assert_eq!(own.taken(Count::Max), 200);
        assert_eq!(own.taken(Count::Produced), 0);
        let usage = Usage {
            input: 90,
            output: 10,
            cached: 0,
        };
        own.ended(secs(3), &cost, &usage);
        assert_eq!(own.taken(Count::SumSettled), 240);
        assert_eq!(own.taken_at(secs(2), Count::SumSettled), 280);
        assert_eq!(own.taken(Count::OutputSettled), 50);
        assert_eq!(own.taken(Count::Produced), 10);
        assert_eq!(own.taken(Count::Sum), 280);
    }

    #[test]
    fn what_was_refused_was_never_taken_by_anything_sent_since() {
        let mut own = Own::default();
        let marks: Vec<Mark> = (1..=4)
            .map(|second| own.sent(secs(second), &Cost::request()))
            .collect();
        own.voided(&marks[2], &Cost::request());
        own.voided(&marks[1], &Cost::request());
        let taken: Vec<i64> = marks
            .iter()
            .map(|mark| own.taken_up_to(mark, Count::Requests))
            .collect();
        assert_eq!(taken, [1, 1, 1, 2]);
        assert_eq!(own.taken(Count::Requests), 2);
        own.forget_before(secs(4));
        assert_eq!(own.taken_up_to(&marks[3], Count::Requests), 2);
        assert_eq!(own.taken_at(secs(9), Count::Requests), 2);
    }

    #[test]
    fn nothing_was_taken_before_the_first_instant() {
        let mut own = Own::default();
        own.sent(Timestamp::ZERO, &Cost::request());
        let by = Duration::from_millis(300);
        let soon = Timestamp::from_millis(100);
        assert_eq!(own.taken_before(soon, by, Count::Requests), 0);
        assert_eq!(own.taken_before(secs(1), by, Count::Requests), 1);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut own = Own::default();
        for tick in 0..100_000 {
            let now = Timestamp::from_millis(tick * 11);
            let mark = own.sent(now, &Cost::request());
            own.voided(&mark, &Cost::request());
        }
        assert!(own.slots.len() <= SLOTS_MAX && own.void.len() <= SLOTS_MAX);
        assert_eq!(own.taken(Count::Requests), 0);
    }
}
