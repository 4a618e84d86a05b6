//! The limits that the server names, beside those that the user gave: what it says goes in, who may
//! start comes out.
//!
//! They are limits of their own. What the user gave stays as it is, so that a smaller limit of the
//! user's stays an upper bound whatever the server says, and what the server says can only slow
//! down, never speed up, what the user has limited.

mod kept;

use std::time::Duration;

use super::charge::Charges;
use super::mirror::{JITTER, Reply, Seen};
use super::named::{Named, Size, WHOLE};
use super::own::{Count, Mark, Own};
use super::reading;
use super::window::Window;
use crate::budget::Budget;
use crate::charge::{Charge, ChargeRule, Cost, Settlement};
use crate::event::Event;
use crate::limit::{LimitKind, LimitSpec};
use crate::observation::{Observation, QuotaNumbers, Reading};
use crate::outcome::Usage;
use crate::time::Timestamp;
use crate::upstream::UpstreamId;

/// Limits that a server may name; more are not believed.
const LIMITS_MAX: usize = 16;
/// Sending more than the rate earns in so many seconds, within the jitter around a send, is a
/// volley.
const VOLLEY_S: f64 = 1.2;
/// Replies in a row that must name another amount before it is taken for the limit.
const CHANGES_AFTER: u32 = 3;
/// What the use of others must change by to be told, in thousandths of the rate.
const FOREIGN_STEP: u32 = 50;
/// Tokens that no single answer takes. What is said to have taken more is an error of the server's,
/// and stays what was reserved for it.
const USAGE_MOST: u64 = 1 << 26;

/// All limits that the server names, and what it takes for requests.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    upstream: UpstreamId,
    own: Own,
    charges: Charges,
    limits: Vec<Named>,
    sizes: [Size; 4],
    events: Vec<Event>,
    /// The part of each limit that may be used, in millionths.
    share_millionths: u32,
    /// Whether one request goes alone: nothing has come back yet.
    alone: bool,
    in_flight: u64,
}

impl Told {
    pub(crate) fn new(upstream: UpstreamId, rule: ChargeRule, settlement: Settlement) -> Self {
        Self {
            upstream,
            own: Own::default(),
            charges: Charges::new(rule, settlement),
            limits: Vec::new(),
            sizes: [Size::default(); 4],
            events: Vec::new(),
            share_millionths: WHOLE,
            alone: false,
            in_flight: 0,
        }
    }

    /// One request goes first, and nothing more until something has come back.
    pub(crate) const fn go_alone(&mut self) {
        self.alone = true;
    }

    /// No more than so many millionths of each limit are used from now on.
    pub(crate) fn take_share(&mut self, millionths: u32) {
        self.share_millionths = millionths;
        for named in &mut self.limits {
            named.take_share(millionths);
        }
    }

    /// The user declares another way of counting.
    pub(crate) fn redeclare(&mut self, rule: ChargeRule, settlement: Settlement) {
        self.charges = Charges::new(rule, settlement);
    }

    /// What a request takes from limits when it is admitted, as far as is known.
    pub(crate) fn reserve(&self, cost: &Cost, declared: Charge) -> Charge {
        self.charges.reserve(cost, declared)
    }

    /// What it took in the end, where what was declared about that is `declared`.
    pub(crate) fn settle(
        &self,
        usage: &Usage,
        reserved: &Charge,
        declared: Option<Charge>,
    ) -> Charge {
        self.charges.settle(usage, reserved, declared)
    }

    /// Whether the server names any limit.
    pub(crate) const fn names_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Whether the charge is learnt, so that what was declared about settling does not count.
    pub(crate) fn has_learnt_charges(&self) -> bool {
        self.charges.is_learnt()
    }

    /// Gives each limit that was named its place among all limits, where it is only told of.
    pub(crate) fn register(&mut self, now: Timestamp, budget: &mut Budget) {
        for named in &mut self.limits {
            let spec = named.spec();
            match named.place {
                Some(place) if *budget.spec(place) == spec => {}
                // It is in no route, so that it limits nothing there; both specs are valid.
                Some(place) => {
                    let _ = budget.respec(now, place, spec);
                }
                None => named.place = budget.add(spec, Some(self.upstream)).ok(),
            }
        }
    }

    /// Whether a limit of the budget is one of these.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.limits.iter().filter_map(|named| named.place)
    }

    /// When all of them let a request start, and which one is last, by its place in the budget.
    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp, cost: &Cost) -> (Timestamp, Option<usize>) {
        if self.alone && self.in_flight > 0 {
            return (Timestamp::NEVER, None);
        }
        let mut latest = (now, None);
        for named in &self.limits {
            let units = self.units(named.mirror.kind, cost);
            let earliest = named.earliest(now, units);
            if earliest > latest.0 {
                latest = (earliest, named.place);
            }
        }
        latest
    }

    /// A request is sent.
    pub(crate) fn sent(&mut self, now: Timestamp, cost: &Cost, budget: &mut Budget) -> Mark {
        self.in_flight += 1;
        let mark = self.own.sent(now, cost);
        for index in 0..self.limits.len() {
            let kind = self.limits[index].mirror.kind;
            let units = self.units(kind, cost);
            self.sizes[slot(kind)].add(units);
            let named = &mut self.limits[index];
            named.take(now, units);
            if let Some(window) = &mut named.restarts {
                window.take(units);
            }
            if let Some(place) = named.place {
                budget.count(now, place, units);
            }
        }
        mark
    }

    /// An attempt is over, in whatever way.
    pub(crate) const fn over(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.alone = false;
    }

    /// An attempt was answered.
    pub(crate) fn ended(&mut self, now: Timestamp, cost: &Cost, usage: &Usage) {
        let forgotten: Vec<LimitKind> = self.charges.answered().collect();
        for kind in forgotten {
            self.recount(now, kind);
        }
        if usage.input.max(usage.output) > USAGE_MOST {
            return;
        }
        self.own.ended(now, cost, usage);
        for index in 0..self.limits.len() {
            let kind = self.limits[index].mirror.kind;
            let model = self.charges.model(kind);
            if let Some(units) = model.count.at_end(usage) {
                let from = self.units(kind, cost);
                self.limits[index].correct(now, from, model.times(units));
            }
        }
    }

    /// An attempt never reached the server, or was refused: it took nothing.
    pub(crate) fn voided(&mut self, now: Timestamp, mark: &Mark, cost: &Cost) {
        self.own.voided(mark, cost);
        for index in 0..self.limits.len() {
            let units = self.units(self.limits[index].mirror.kind, cost);
            self.limits[index].correct(now, units, 0);
        }
    }

    /// Sending goes on after a pause.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        for named in &mut self.limits {
            named.mirror.resume(now);
        }
    }

    /// What is to be told.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// A reply has named levels. `refused`: it was a 429, so that the request took nothing.
    pub(crate) fn observed(
        &mut self,
        now: Timestamp,
        mark: &Mark,
        cost: &Cost,
        observation: &Observation,
        refused: bool,
    ) {
        if let Some(units) = observation.charged_tokens
            && self.charges.said(LimitKind::TotalTokens, cost, units)
        {
            self.recount(now, LimitKind::TotalTokens);
        }
        for reading in &observation.readings {
            if matches!(reading.kind, LimitKind::Concurrency | LimitKind::Custom(_)) {
                continue;
            }
            let Some(index) = self.find(now, reading) else {
                continue;
            };
            if self.names_another(now, index, reading) {
                continue;
            }
            self.limits[index].judge_bucket(reading);
            let Some(seen) = reading::seen(reading) else {
                continue;
            };
            match reading::restart(reading, self.limits[index].bucket.is_window()) {
                Some(reset) => self.restarts(mark, index, seen, reset),
                None => self.observe(now, mark, cost, index, seen, refused),
            }
        }
        let oldest = self.limits.iter().map(|named| named.mirror.oldest()).min();
        self.own.forget_before(oldest.unwrap_or(Timestamp::ZERO));
    }

    /// A 429 for speed. Its numbers set a level; without numbers, whatever was believed to fit and
    /// did not is believed no longer. The reply's levels were given to [`Told::observed`] before.
    pub(crate) fn refused(
        &mut self,
        now: Timestamp,
        mark: &Mark,
        cost: &Cost,
        quota: Option<&QuotaNumbers>,
        declared: &[LimitSpec],
    ) {
        let Some(numbers) = quota.map(|numbers| self.completed(*numbers, declared)) else {
            return;
        };
        if let (Some(kind), Some(units)) = (numbers.kind, numbers.requested)
            && self.charges.said(kind, cost, units)
        {
            self.recount(now, kind);
        }
        let (Some(kind), Some(limit)) = (numbers.kind, numbers.limit) else {
            return;
        };
        let remaining = numbers.used.map(|used| limit.saturating_sub(used));
        let reading = Reading {
            kind,
            window: numbers.window,
            limit: Some(limit),
            remaining,
            reset: None,
            granularity: 1,
        };
        let Some(index) = self.find(now, &reading) else {
            return;
        };
        if self.names_another(now, index, &reading) {
            return;
        }
        if let Some(seen) = reading::seen(&reading) {
            self.observe(now, mark, cost, index, seen, true);
        }
    }

    /// The numbers of a refusal with the limit that they must be of: the one of that amount.
    fn completed(&self, mut numbers: QuotaNumbers, declared: &[LimitSpec]) -> QuotaNumbers {
        if numbers.kind.is_some() {
            return numbers;
        }
        let named = self.limits.iter().map(|named| {
            let mirror = &named.mirror;
            (mirror.kind, mirror.window, mirror.amount)
        });
        let declared = declared
            .iter()
            .map(|spec| (spec.kind, spec.window, spec.amount));
        let same = named
            .chain(declared)
            .find(|(_, _, amount)| Some(*amount) == numbers.limit);
        if let Some((kind, window, _)) = same {
            (numbers.kind, numbers.window) = (Some(kind), Some(window));
        }
        numbers
    }

    fn observe(
        &mut self,
        now: Timestamp,
        mark: &Mark,
        cost: &Cost,
        index: usize,
        seen: Seen,
        refused: bool,
    ) {
        let named = &mut self.limits[index];
        let kind = named.mirror.kind;
        let model = self.charges.model(kind);
        let units = if refused {
            0
        } else {
            model.times(model.count.at_admission(cost))
        };
        let size = self.sizes[slot(kind)].of_rate() * model.factor();
        let was_anchored = named.mirror.is_anchored();
        let reply = Reply {
            mark,
            units,
            refused,
            seen,
            own: &self.own,
            model,
            size,
        };
        let Some(off) = named.mirror.observe(now, &reply) else {
            return;
        };
        if was_anchored {
            let share = off as f64 / named.mirror.holds() as f64;
            if named.trust.moved(share) {
                named.doubt_changed();
                self.events.push(Event::HeadersDoubted {
                    upstream: self.upstream,
                    limit: named.name.clone(),
                    doubted: named.trust.doubted,
                });
            }
        }
        self.tell_foreign(index);
        if !refused {
            self.learn_charge(now, mark, cost, index, seen);
        }
    }

    /// A reply speaks of a window that starts anew.
    fn restarts(&mut self, mark: &Mark, index: usize, seen: Seen, reset: Duration) {
        let named = &mut self.limits[index];
        let model = self.charges.model(named.mirror.kind);
        let up_to = self.own.taken_up_to(mark, model.count);
        let since = (self.own.taken(model.count) - up_to).max(0);
        let since = i64::try_from(model.times(since.unsigned_abs())).unwrap_or(i64::MAX);
        let known = named.restarts.as_ref();
        let left = seen.least.unwrap_or(0);
        let times = (named.mirror.window, reset);
        if let Some(window) = Window::seen(known, mark, (up_to, since), left, times) {
            named.restarts = Some(window);
            named.doubt_changed();
        }
    }

    /// What a level that was seen says of how the server counts.
    fn learn_charge(&mut self, now: Timestamp, mark: &Mark, cost: &Cost, index: usize, seen: Seen) {
        let named = &self.limits[index];
        let mirror = &named.mirror;
        let kind = mirror.kind;
        if kind == LimitKind::Requests || named.trust.doubted {
            return;
        }
        if let Some(least) = seen.least {
            let holds = i64::try_from(mirror.holds()).unwrap_or(i64::MAX);
            let gone = holds.saturating_sub(least).max(0).unsigned_abs();
            if self.charges.at_most(kind, cost, gone) {
                return self.recount(now, kind);
            }
        }
        let drift = mirror.drift(mark, seen);
        let Some(drift) = drift.filter(|_| !mirror.is_full(seen)) else {
            return self.charges.interrupted(kind);
        };
        let (time_s, per_s) = (mirror.seconds(mark.at), mirror.per_s());
        let own = &self.own;
        // Of a volley nobody knows what was admitted before the level was shown.
        let count = self.charges.model(kind).count;
        let around =
            own.taken_at(mark.at + JITTER, count) - own.taken_before(mark.at, JITTER, count);
        if around as f64 > VOLLEY_S * per_s + 2.0 * self.sizes[slot(kind)].of_rate() {
            return;
        }
        let mut changed = self.charges.seen(kind, time_s, drift, per_s, |count| {
            own.taken_up_to(mark, count)
        });
        if !changed
            && let Some(fit) = mirror.fit()
            && fit.span_s >= 0.8 * mirror.window_s()
            && fit.own_per_s * self.charges.model(kind).factor() <= VOLLEY_S * per_s
        {
            changed = self.charges.left_over(kind, fit.used_per_s, fit.own_per_s);
        }
        if changed {
            self.recount(now, kind);
        }
    }

    /// The model of a kind has changed: all levels of that kind are what they would be with it.
    fn recount(&mut self, now: Timestamp, kind: LimitKind) {
        let model = self.charges.model(kind);
        for named in &mut self.limits {
            if named.mirror.kind == kind {
                named.mirror.recount(now, &self.own, model);
            }
        }
        if let Some(rule) = model.count.in_words() {
            self.events.push(Event::ChargeLearned {
                upstream: self.upstream,
                kind,
                rule,
                permille: model.permille,
            });
        }
    }

    fn tell_foreign(&mut self, index: usize) {
        let named = &mut self.limits[index];
        let permille = named.foreign_permille();
        if permille.abs_diff(named.foreign_told) >= FOREIGN_STEP {
            named.foreign_told = permille;
            self.events.push(Event::ForeignUse {
                upstream: self.upstream,
                limit: named.name.clone(),
                permille,
            });
        }
    }

    /// The limit that a reading is of; a new one if it names one that is not known.
    fn find(&mut self, now: Timestamp, reading: &Reading) -> Option<usize> {
        let known = self.limits.iter().position(|named| {
            let same_window = match reading.window {
                Some(window) => named.mirror.window == window,
                None => named.said_window.is_none(),
            };
            named.mirror.kind == reading.kind && same_window
        });
        if known.is_some() {
            return known;
        }
        let amount = reading.limit.filter(|amount| *amount > 0)?;
        // Nobody allows as much in an hour as in a minute: if one of the two windows was a guess,
        // it was a wrong one.
        let alike = self.limits.iter().position(|named| {
            let guessed = reading.window.is_none() || named.said_window.is_none();
            guessed && named.mirror.kind == reading.kind && named.mirror.amount == amount
        });
        if alike.is_some() {
            return alike;
        }
        if self.limits.len() >= LIMITS_MAX {
            return None;
        }
        let window = match reading.window {
            Some(window) => window,
            None => reading::window(reading)?,
        };
        if LimitSpec::new("", reading.kind, amount, window)
            .check()
            .is_err()
        {
            return None;
        }
        // What an earlier run has learnt, or another name of the same limit.
        let same = self
            .limits
            .iter()
            .position(|named| named.mirror.kind == reading.kind && named.mirror.window == window);
        if let Some(same) = same {
            self.limits[same].said_window = reading.window;
            return Some(same);
        }
        let mut named = Named::new(now, reading.kind, amount, window);
        named.said_window = reading.window;
        named.take_share(self.share_millionths);
        self.events.push(Event::LimitLearned {
            upstream: self.upstream,
            limit: named.name.clone(),
            kind: reading.kind,
            amount,
            window,
        });
        self.limits.push(named);
        Some(self.limits.len() - 1)
    }

    /// Whether a reading names another amount than the one that is known; it is taken for the
    /// limit when several in a row do.
    fn names_another(&mut self, now: Timestamp, index: usize, reading: &Reading) -> bool {
        let named = &mut self.limits[index];
        let Some(amount) = reading.limit.filter(|amount| *amount > 0) else {
            return false;
        };
        if amount == named.mirror.amount {
            named.next = None;
            return false;
        }
        let times = match named.next {
            Some((next, times)) if next == amount => times + 1,
            _ => 1,
        };
        named.next = Some((amount, times));
        let window = named.mirror.window;
        let valid = LimitSpec::new("", reading.kind, amount, window)
            .check()
            .is_ok();
        if times < CHANGES_AFTER || !valid {
            return true;
        }
        self.events.push(Event::LimitChanged {
            upstream: self.upstream,
            limit: named.name.clone(),
            from: named.mirror.amount,
            to: amount,
        });
        named.next = None;
        named.bucket.scaled(named.mirror.amount, amount);
        named.mirror.become_of(now, amount, window);
        named.take_share(self.share_millionths);
        named.bucket_changed();
        self.charges.interrupted(reading.kind);
        false
    }

    /// What a request takes from a limit when it is admitted. What is charged as it is produced is
    /// expected to be as much as was usual.
    fn units(&self, kind: LimitKind, cost: &Cost) -> u64 {
        let model = self.charges.model(kind);
        let count = match model.count {
            Count::Produced => Count::Output,
            count => count,
        };
        model.times(count.at_admission(cost))
    }
}

const fn slot(kind: LimitKind) -> usize {
    match kind {
        LimitKind::Requests | LimitKind::Concurrency | LimitKind::Custom(_) => 0,
        LimitKind::TotalTokens => 1,
        LimitKind::InputTokens => 2,
        LimitKind::OutputTokens => 3,
    }
}

#[cfg(test)]
mod tests;
