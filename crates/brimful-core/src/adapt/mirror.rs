//! The mirror of one limit that the server names: what is left of it, and what others take.
//!
//! A set-membership filter. Each reply bounds what the level was when its request was sent: what
//! was sent shortly before may not have been admitted then, what was sent shortly after may have
//! been. Inside of these bounds nothing changes; outside, the level moves to the edge. So neither
//! the order of replies nor their age matters.

use std::collections::VecDeque;
use std::time::Duration;

use super::level::Level;
use super::own::{Count, Mark, Own};
use super::slope::{Fit, Slope};
use crate::limit::{LimitKind, Pace};
use crate::time::Timestamp;

/// Variation of the delay to the server, as for buckets that are declared.
pub(super) const JITTER: Duration = Duration::from_millis(300);
/// The part of the margin that is always there, as time at the limit's rate.
const MARGIN: Duration = Duration::from_millis(1_200);
/// How many standard deviations of what others take until it is noticed the margin covers.
const DEVIATIONS: f64 = 3.0;
/// The share of the rate that others may take as long as nothing is known of them.
const FOREIGN_AT_FIRST: f64 = 0.5;
/// What others are never believed to take less of the rate, for the margin.
const FOREIGN_LEAST: f64 = 0.02;
/// The largest share of the rate that others are believed to take.
const FOREIGN_MOST: f64 = 0.95;
/// The shortest time over which the rate of others is measured, in seconds.
const WINDOW_S: f64 = 10.0;
/// Moments that are kept at which something could not be earned, as long as no reply has come.
const LOST_MAX: usize = 32_768;

/// What a reply says of the level at the moment of its admission, in units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// What is left, at least; `None` where it may be any debt.
    pub(super) least: Option<i64>,
    /// What is left, at most.
    pub(super) most: i64,
}

/// A reply that has shown a level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    /// Its attempt.
    pub(super) mark: &'a Mark,
    /// What the attempt took itself; nothing if it was refused.
    pub(super) units: u64,
    /// Whether it was a 429.
    pub(super) refused: bool,
    pub(super) seen: Seen,
    /// Everything that was sent.
    pub(super) own: &'a Own,
    pub(super) model: Model,
    /// The mean square ÷ the mean of what requests take.
    pub(super) size: f64,
}

/// Where the level stood.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    mark: Mark,
    lost: i128,
    level: i128,
}

/// How a server counts for a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) count: Count,
    /// What it takes for a unit of ours, in thousandths.
    pub(super) permille: u32,
}

/// The mirror of one limit.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) kind: LimitKind,
    pub(super) amount: u64,
    pub(super) window: Duration,
    /// What the server's bucket holds.
    holds: u64,
    born: Timestamp,
    level: Level,
    lost: VecDeque<(Timestamp, i128)>,
    /// What was dropped from the front of `lost`.
    lost_before: i128,
    anchor: Option<Anchor>,
    slope: Slope,
    foreign_per_s: f64,
    /// Age of the newest that answers say, in seconds.
    lag_s: f64,
    /// The newest send that an answer has come to.
    newest: Timestamp,
    /// Time over which others were watched, in seconds.
    watched_s: f64,
    /// What is uncertain because the server rounds, in units.
    rounding: i64,
    /// What replies say of the level is not believed.
    ignores_level: bool,
}

impl Mirror {
    pub(super) fn new(now: Timestamp, kind: LimitKind, amount: u64, window: Duration) -> Self {
        let mut mirror = Self {
            kind,
            amount,
            window,
            holds: amount,
            born: now,
            level: Level::new(now, amount, window, 0),
            lost: VecDeque::new(),
            lost_before: 0,
            anchor: None,
            slope: Slope::default(),
            foreign_per_s: 0.0,
            lag_s: 0.0,
            newest: Timestamp::ZERO,
            watched_s: 0.0,
            rounding: 0,
            ignores_level: false,
        };
        mirror.level.set_cap(mirror.cap());
        mirror
    }

    /// The server's limit has become another one.
    pub(super) fn become_of(&mut self, now: Timestamp, amount: u64, window: Duration) {
        let foreign_per_s = self.foreign_per_s;
        *self = Self::new(now, self.kind, amount, window);
        self.foreign_per_s = foreign_per_s.min(FOREIGN_MOST * self.per_s());
        self.set_drain();
    }

    /// The server's bucket holds so much.
    pub(super) fn set_holds(&mut self, holds: u64) {
        self.holds = holds.max(1);
        let cap = self.cap();
        self.level.set_cap(cap);
    }

    pub(super) const fn holds(&self) -> u64 {
        self.holds
    }

    /// Sends evenly while it is not known how the server counts.
    pub(super) fn pace_evenly(&mut self, evenly: bool) {
        let den = u64::try_from(self.level.scale()).unwrap_or(u64::MAX);
        // As limits of unknown shape: 99.1 % of the rate.
        let pace = || {
            Pace::new(
                self.amount,
                self.amount * 991,
                den.saturating_mul(1000),
                None,
            )
        };
        let pace = evenly.then(pace);
        self.level.set_pace(pace);
    }

    pub(super) const fn foreign_per_s(&self) -> f64 {
        self.foreign_per_s
    }

    /// Units a second.
    pub(super) fn per_s(&self) -> f64 {
        self.amount as f64 / self.window.as_secs_f64()
    }

    /// Whether it holds a level that replies have shown.
    pub(super) const fn is_anchored(&self) -> bool {
        self.anchor.is_some()
    }

    /// What is older will not be asked for.
    pub(super) fn oldest(&self) -> Timestamp {
        let anchor = self
            .anchor
            .as_ref()
            .map_or(Timestamp::ZERO, |anchor| anchor.mark.at);
        anchor - JITTER
    }

    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        if units == 0 {
            return now;
        }
        let paced = self.level.paced(now);
        if self.anchor.is_none() || self.ignores_level {
            return paced;
        }
        let units = i128::from(units) * self.level.scale();
        paced.max(self.level.earliest(now, units))
    }

    /// Whether what replies say of the level counts.
    pub(super) const fn ignore_level(&mut self, ignores: bool) {
        self.ignores_level = ignores;
    }

    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        self.advance(now);
        self.level.take(now, i128::from(units) * self.level.scale());
    }

    /// Corrects what was taken.
    pub(super) fn correct(&mut self, now: Timestamp, from: u64, to: u64) {
        self.advance(now);
        let units = i128::from(from) - i128::from(to);
        let level = self.level.level() + units * self.level.scale();
        if self.level.set_level(level) {
            self.note_lost(now);
        }
    }

    pub(super) fn resume(&mut self, now: Timestamp) {
        self.level.resume(now);
    }

    /// What is left now, in units; nothing before it is known.
    #[cfg(test)]
    pub(super) fn left(&mut self, now: Timestamp) -> i64 {
        self.advance(now);
        i64::try_from(self.level.level().div_euclid(self.level.scale())).unwrap_or(0)
    }

    /// A reply to an attempt has shown the level. Returns how far the level was off, in units, and
    /// nothing if a later send has shown more already.
    pub(super) fn observe(&mut self, now: Timestamp, reply: &Reply<'_>) -> Option<i64> {
        self.advance(now);
        self.watch(now, reply);
        self.set_drain();
        self.set_margin(reply.size);
        let place = |mark: &Mark| (mark.at, mark.sent[reply.model.count as usize]);
        let newest = self
            .anchor
            .as_ref()
            .is_none_or(|anchor| place(reply.mark) >= place(&anchor.mark));
        let off = newest.then(|| self.bound(reply));
        self.carry_on(now, reply.own, reply.model);
        off
    }

    /// Moves the level at a send into the bounds that its reply has shown.
    fn bound(&mut self, reply: &Reply<'_>) -> i64 {
        let Reply {
            mark,
            own,
            model,
            seen,
            ..
        } = *reply;
        let scale = self.level.scale();
        let lost = self.lost_at(mark.at);
        let taken = |units: i64| scaled(units, model, scale);
        let up_to = own.taken_up_to(mark, model.count);
        let after = taken(own.taken_at(mark.at + JITTER, model.count) - up_to).max(0);
        let before = taken(up_to - own.taken_before(mark.at, JITTER, model.count))
            - i128::from(reply.units) * scale;
        let refilled = self.level.per_nano() * JITTER.as_nanos().cast_signed();
        let slack = self.to_scaled(2.0 * (self.foreign_for_margin() * reply.size).sqrt());
        let most = i128::from(seen.most) * scale + after;
        let least = seen
            .least
            .map(|least| i128::from(least) * scale - before.max(0) - refilled - slack);
        let believed = self.believed(mark, lost, up_to, own, model);
        let level = match (believed, least) {
            (None, _) => most - after,
            (Some(believed), Some(least)) => believed.clamp(least.min(most), most),
            (Some(believed), None) => believed.min(most),
        };
        let off = believed.map_or(0, |believed| (level - believed) / scale);
        self.anchor = Some(Anchor {
            mark: *mark,
            lost,
            level,
        });
        i64::try_from(off).unwrap_or(i64::MAX)
    }

    /// How the server counts has turned out to be different.
    pub(super) fn recount(&mut self, now: Timestamp, own: &Own, model: Model) {
        self.advance(now);
        self.slope.clear();
        self.carry_on(now, own, model);
    }

    /// The slope over the last window, for who wants to know what it is made of.
    pub(super) fn fit(&self) -> Option<Fit> {
        self.slope.fit()
    }

    /// The window over which the rate of others is measured, in seconds.
    pub(super) fn window_s(&self) -> f64 {
        WINDOW_S.max(1.5 * self.lag_s)
    }

    /// Seconds since the mirror's first moment, of an instant that may lie before it.
    pub(super) fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.born).as_secs_f64() - self.born.since(at).as_secs_f64()
    }

    /// The level of a full bucket that nobody took from, less what a reply showed, at `mark`.
    pub(super) fn drift(&self, mark: &Mark, seen: Seen) -> Option<f64> {
        let least = seen.least?;
        let lost = self.lost_at(mark.at) as f64 / self.level.scale() as f64;
        let shown = (least as f64 + seen.most as f64) / 2.0;
        Some(self.per_s() * self.seconds(mark.at) - lost - shown)
    }

    /// What the anchor says of a later send.
    fn believed(
        &self,
        mark: &Mark,
        lost: i128,
        up_to: i64,
        own: &Own,
        model: Model,
    ) -> Option<i128> {
        let anchor = self.anchor.as_ref()?;
        let taken = up_to - own.taken_up_to(&anchor.mark, model.count);
        let elapsed = mark.at.since(anchor.mark.at).as_nanos().cast_signed();
        let level = anchor.level + self.level.net_per_nano() * elapsed
            - scaled(taken, model, self.level.scale())
            - (lost - anchor.lost);
        Some(level.min(self.level.cap()))
    }

    /// From the anchor to the present.
    fn carry_on(&mut self, now: Timestamp, own: &Own, model: Model) {
        let Some(anchor) = &self.anchor else { return };
        let taken = own.taken(model.count) - own.taken_up_to(&anchor.mark, model.count);
        let elapsed = now.since(anchor.mark.at).as_nanos().cast_signed();
        let level = anchor.level + self.level.net_per_nano() * elapsed
            - scaled(taken, model, self.level.scale())
            - (self.level.lost() - anchor.lost);
        if self.level.set_level(level) {
            self.note_lost(now);
        }
    }

    /// Learns the rate of others.
    fn watch(&mut self, now: Timestamp, reply: &Reply<'_>) {
        let Reply { mark, seen, .. } = *reply;
        // A refusal comes at once and says nothing of how late answers are.
        if !reply.refused && mark.at >= self.newest {
            let age = now.since(mark.at).as_secs_f64();
            self.lag_s += (age - self.lag_s) * if self.lag_s == 0.0 { 1.0 } else { 0.1 };
            self.newest = mark.at;
        }
        // What was sent with it may be refused too, which is not known yet: no rate can be made of
        // it.
        let drift = self.drift(mark, seen).filter(|_| !reply.refused);
        let Some(drift) = drift else {
            return;
        };
        self.rounding = seen.least.map_or(0, |least| (seen.most - least) / 2);
        // A full bucket earns nothing: that others take nothing then does not show.
        if self.is_full(seen) {
            self.slope.clear();
            return;
        }
        let up_to = reply.own.taken_up_to(mark, reply.model.count) as f64;
        let time_s = self.seconds(mark.at);
        self.slope.add(time_s, drift, up_to, self.window_s());
        let least_s = self.window_s() / 4.0;
        let fit = self.slope.fit().filter(|fit| fit.span_s >= least_s);
        let Some(fit) = fit else { return };
        self.watched_s = self.watched_s.max(fit.span_s);
        let foreign = fit.used_per_s - reply.model.factor() * fit.own_per_s;
        self.foreign_per_s = foreign.clamp(0.0, FOREIGN_MOST * self.per_s());
    }

    /// Whether a level is that of a full bucket.
    pub(super) fn is_full(&self, seen: Seen) -> bool {
        u64::try_from(seen.most).is_ok_and(|most| most >= self.holds)
    }

    fn set_drain(&mut self) {
        // Units a second, scaled by nanoseconds: exact enough for a rate that is estimated.
        let drain = self.foreign_per_s * self.level.scale() as f64 / 1e9;
        self.level.set_drain(drain as i128);
    }

    fn set_margin(&mut self, size: f64) {
        let horizon_s = 1.5 * self.lag_s + 1.0;
        let unwatched = (1.0 - self.watched_s / self.window_s()).max(0.0);
        let always = (self.per_s() * MARGIN.as_secs_f64()).max(1.5 * size);
        let chance = (self.foreign_for_margin() * size * horizon_s).sqrt();
        let unknown = FOREIGN_AT_FIRST * unwatched * self.per_s() * horizon_s;
        let units = always + DEVIATIONS * chance + unknown + self.rounding as f64;
        let margin = self.to_scaled(units);
        self.level.set_margin(margin);
    }

    fn foreign_for_margin(&self) -> f64 {
        self.foreign_per_s.max(FOREIGN_LEAST * self.per_s())
    }

    /// What the server's bucket holds, less what a varying delay may take from it.
    fn cap(&self) -> i128 {
        let full = i128::from(self.holds) * self.level.scale();
        let bunched = self.level.per_nano() * JITTER.as_nanos().cast_signed();
        (full - bunched).max(full / 2).max(self.level.scale())
    }

    fn advance(&mut self, now: Timestamp) {
        if self.level.advance(now) {
            self.note_lost(now);
        }
    }

    fn note_lost(&mut self, now: Timestamp) {
        match self.lost.back_mut() {
            Some((at, lost)) if now.since(*at) < JITTER / 30 => *lost = self.level.lost(),
            _ => self.lost.push_back((now, self.level.lost())),
        }
        let oldest = self.oldest();
        while self.lost.len() > LOST_MAX || self.lost.get(1).is_some_and(|(at, _)| *at < oldest) {
            if let Some((_, dropped)) = self.lost.pop_front() {
                self.lost_before = dropped;
            }
        }
    }

    fn lost_at(&self, at: Timestamp) -> i128 {
        let place = self.lost.partition_point(|(then, _)| *then <= at);
        match place.checked_sub(1) {
            Some(last) => self.lost[last].1,
            None => self.lost_before,
        }
    }

    fn to_scaled(&self, units: f64) -> i128 {
        (units * self.level.scale() as f64) as i128
    }
}

/// What the server takes for so many units of ours, scaled.
fn scaled(units: i64, model: Model, scale: i128) -> i128 {
    i128::from(units) * i128::from(model.permille) * scale / 1000
}

#[cfg(test)]
mod tests;
