//! What the server takes for a request, where that is not what was declared.
//!
//! Three witnesses. A 429 that names what it would have taken, or a reply that names what it took,
//! says it outright. Levels say it by how far they fall: what we sent explains a part of that in
//! proportion to what was sent, others explain a part in proportion to time, and a line through
//! many stretches tells the two apart where sending was uneven. And where less was taken than we
//! sent, nobody else can be the reason.

use super::mirror::Model;
use super::own::Count;
use crate::charge::{Charge, ChargeRule, Cost, Settlement};
use crate::limit::LimitKind;
use crate::outcome::Usage;

/// What one stretch counts less than the next one.
const FORGET: f64 = 0.97;
/// Stretches (after forgetting) from which a line is believed.
const STRETCHES_LEAST: f64 = 12.0;
/// The same for another way of counting.
const STRETCHES_FOR_ANOTHER: f64 = 20.0;
/// The same for what a server says outright: one request may have been estimated badly.
const SAID_LEAST: f64 = 2.5;
/// Answers without any evidence after which a factor is believed no longer. Who is wrong about it
/// is refused a few times and learns it again: three in so many are no share of 429s.
const BELIEVED_FOR: u32 = 20_000;
/// How uneven sending has to be: 1 − the squared correlation of units with time.
const UNEVEN_LEAST: f64 = 0.02;
/// The largest standard error of a factor that is believed, as a part of it.
const ERROR_MOST: f64 = 0.1;
/// What a line must differ by from what is believed, as a part of it: others come in lumps, and
/// that no line through their noise is mistaken for a factor matters more than a small one.
const LINE_LEAST: f64 = 0.2;
/// What another way of counting must leave unexplained, at most, of what the present one does.
const BETTER: f64 = 0.3;
/// How far from 1 its factor may be: who counts in another way does not estimate otherwise too.
const PLAIN: f64 = 0.15;
/// Factors closer to each other are the same: estimates of tokens differ by as much.
const SAME: f64 = 0.08;
/// Requests from which it is judged what single ones can have taken at most.
const BOUNDS: usize = 32;
/// Factors beyond are errors of the server's.
const FACTORS: (f64, f64) = (0.1, 10.0);

/// The kinds of limits whose charge can be wrong. One request is one request.
const KINDS: [LimitKind; 3] = [
    LimitKind::TotalTokens,
    LimitKind::InputTokens,
    LimitKind::OutputTokens,
];

/// What servers take for requests, by kind of limit.
#[derive(Clone, Debug)]
pub(super) struct Charges {
    kinds: [Learner; 3],
}

/// The same for one kind.
#[derive(Clone, Debug)]
struct Learner {
    kind: LimitKind,
    model: Model,
    declared: Count,
    /// Answers since the last evidence.
    unheard: u32,
    /// Whether the model is not the declared one.
    learnt: bool,
    /// A line for each way of counting.
    lines: Vec<Line>,
    /// Where the present stretch began.
    begin: Option<Point>,
    /// What servers said outright, by way of counting.
    said: Vec<Said>,
    /// What single requests can have taken at most, by the present way of counting: quotients.
    bounds: Vec<f64>,
}

/// A moment: time, what had been taken until then beyond what is known, what was sent.
#[derive(Clone, Debug)]
struct Point {
    time_s: f64,
    drift: f64,
    sent: Vec<f64>,
}

/// Sums of a line through the origin: taken = factor × sent + rate × time.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    n: f64,
    xx: f64,
    xt: f64,
    tt: f64,
    xy: f64,
    ty: f64,
    yy: f64,
}

#[derive(Clone, Copy, Debug)]
struct Solved {
    factor: f64,
    error: f64,
    unexplained: f64,
}

/// Quotients of what a server said and what we would have said.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Line {
    fn add(&mut self, x: f64, t: f64, y: f64) {
        for sum in [
            &mut self.n,
            &mut self.xx,
            &mut self.xt,
            &mut self.tt,
            &mut self.xy,
            &mut self.ty,
            &mut self.yy,
        ] {
            *sum *= FORGET;
        }
        self.n += 1.0;
        self.xx += x * x;
        self.xt += x * t;
        self.tt += t * t;
        self.xy += x * y;
        self.ty += t * y;
        self.yy += y * y;
    }

    fn solve(&self) -> Option<Solved> {
        if self.n < STRETCHES_LEAST {
            return None;
        }
        let det = self.xx * self.tt - self.xt * self.xt;
        if det <= UNEVEN_LEAST * self.xx * self.tt {
            return None;
        }
        let mut factor = (self.xy * self.tt - self.ty * self.xt) / det;
        let mut rate = (self.ty * self.xx - self.xy * self.xt) / det;
        if rate < 0.0 {
            // Others give nothing back.
            rate = 0.0;
            factor = self.xy / self.xx;
        }
        let unexplained = (self.yy - factor * self.xy - rate * self.ty).max(0.0);
        let error = (unexplained / (self.n - 2.0) * self.tt / det).sqrt();
        Some(Solved {
            factor,
            error,
            unexplained,
        })
    }
}

impl Said {
    fn add(&mut self, quotient: f64) {
        self.n = self.n * 0.9 + 1.0;
        self.sum = self.sum * 0.9 + quotient;
        self.squares = self.squares * 0.9 + quotient * quotient;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n
    }

    /// Standard deviation ÷ mean.
    fn scatter(&self) -> f64 {
        let variance = self.squares / self.n - self.mean() * self.mean();
        variance.max(0.0).sqrt() / self.mean()
    }
}

impl Charges {
    pub(super) fn new(rule: ChargeRule, settlement: Settlement) -> Self {
        Self {
            kinds: KINDS.map(|kind| Learner {
                kind,
                model: Model {
                    count: Count::declared(kind, rule, settlement),
                    permille: 1000,
                },
                declared: Count::declared(kind, rule, settlement),
                unheard: 0,
                learnt: false,
                lines: vec![Line::default(); Count::of(kind).len()],
                begin: None,
                said: vec![Said::default(); Count::of(kind).len()],
                bounds: Vec::with_capacity(BOUNDS),
            }),
        }
    }

    /// How the server counts for limits of a kind.
    pub(super) fn model(&self, kind: LimitKind) -> Model {
        let of_kind = self.kinds.iter().find(|learner| learner.kind == kind);
        of_kind.map_or(
            Model {
                count: Count::Requests,
                permille: 1000,
            },
            |learner| learner.model,
        )
    }

    /// Starts from what an earlier run has learnt.
    pub(super) fn set(&mut self, kind: LimitKind, model: Model) {
        if let Some(learner) = self.of(kind)
            && Count::of(kind).contains(&model.count)
        {
            learner.model = Model {
                permille: permille(f64::from(model.permille) / 1000.0),
                ..model
            };
            learner.learnt = true;
        }
    }

    /// The models that differ from what was declared.
    pub(super) fn learnt(&self) -> impl Iterator<Item = (LimitKind, Model)> + '_ {
        let learnt = self.kinds.iter().filter(|learner| learner.learnt);
        learnt.map(|learner| (learner.kind, learner.model))
    }

    /// What a request takes from limits of each kind when it is admitted.
    pub(super) fn reserve(&self, cost: &Cost, declared: Charge) -> Charge {
        let mut reserved = declared;
        for learner in self.kinds.iter().filter(|learner| learner.learnt) {
            let units = match learner.model.count {
                // Until it is known what will be produced, as much as may be.
                Count::Produced => Count::Output.at_admission(cost),
                count => count.at_admission(cost),
            };
            *place(&mut reserved, learner.kind) = learner.model.times(units);
        }
        reserved
    }

    /// What it took in the end: `declared` for kinds of which nothing was learnt.
    pub(super) fn settle(
        &self,
        usage: &Usage,
        reserved: &Charge,
        declared: Option<Charge>,
    ) -> Charge {
        let mut reserved = *reserved;
        let mut actual = declared.unwrap_or(reserved);
        for learner in self.kinds.iter().filter(|learner| learner.learnt) {
            let as_reserved = *place(&mut reserved, learner.kind);
            let at_end = learner.model.count.at_end(usage);
            let units = at_end.map_or(as_reserved, |units| learner.model.times(units));
            *place(&mut actual, learner.kind) = units;
        }
        actual
    }

    /// Whether anything differs from what was declared.
    pub(super) fn is_learnt(&self) -> bool {
        self.kinds.iter().any(|learner| learner.learnt)
    }

    /// A request was answered. The kinds of which nothing was heard for so long that what was
    /// learnt is as declared again.
    pub(super) fn answered(&mut self) -> impl Iterator<Item = LimitKind> + '_ {
        let forgotten = |learner: &mut Learner| learner.answered().then_some(learner.kind);
        self.kinds.iter_mut().filter_map(forgotten)
    }

    /// The server said what it takes for a request. Whether that changes anything.
    pub(super) fn said(&mut self, kind: LimitKind, cost: &Cost, units: u64) -> bool {
        self.of(kind)
            .is_some_and(|learner| learner.said(cost, units))
    }

    /// A level was seen: what had been taken by then, by us and by others, up to a constant, and
    /// what had been sent, by each way of counting. Whether that changes anything. Stretches are
    /// closed after a second, or after what the limit earns in two.
    pub(super) fn seen(
        &mut self,
        kind: LimitKind,
        time_s: f64,
        drift: f64,
        per_s: f64,
        sent: impl Fn(Count) -> i64,
    ) -> bool {
        let Some(learner) = self.of(kind) else {
            return false;
        };
        let counts = Count::of(kind).iter();
        let point = Point {
            time_s,
            drift,
            sent: counts.map(|&count| sent(count) as f64).collect(),
        };
        learner.seen(point, per_s)
    }

    /// After a request was admitted the limit lacked `gone` of all that it holds: the request took
    /// no more. Whether that changes anything.
    pub(super) fn at_most(&mut self, kind: LimitKind, cost: &Cost, gone: u64) -> bool {
        self.of(kind)
            .is_some_and(|learner| learner.at_most(cost, gone))
    }

    /// Nothing leads from what was seen last to what will be seen next.
    pub(super) fn interrupted(&mut self, kind: LimitKind) {
        if let Some(learner) = self.of(kind) {
            learner.begin = None;
        }
    }

    /// Over a whole window the server took `used` while we sent `own` by the present way of
    /// counting, both in units a second. Whether that changes anything.
    pub(super) fn left_over(&mut self, kind: LimitKind, used: f64, own: f64) -> bool {
        let Some(learner) = self.of(kind) else {
            return false;
        };
        let factor = used / own;
        let less = own > 0.0 && factor < learner.model.factor() * (1.0 - LINE_LEAST);
        less && learner.change(learner.model.count, factor)
    }

    fn of(&mut self, kind: LimitKind) -> Option<&mut Learner> {
        self.kinds.iter_mut().find(|learner| learner.kind == kind)
    }
}

impl Learner {
    fn answered(&mut self) -> bool {
        self.unheard = self.unheard.saturating_add(1);
        if !self.learnt || self.unheard < BELIEVED_FOR {
            return false;
        }
        self.said.fill(Said::default());
        self.begin = None;
        self.bounds.clear();
        self.unheard = 0;
        self.learnt = false;
        self.model = Model {
            count: self.declared,
            permille: 1000,
        };
        true
    }

    fn seen(&mut self, point: Point, per_s: f64) -> bool {
        self.unheard = 0;
        let Some(begin) = &self.begin else {
            self.begin = Some(point);
            return false;
        };
        let time_s = point.time_s - begin.time_s;
        let present = Count::of(self.kind)
            .iter()
            .position(|&count| count == self.model.count);
        let present = present.unwrap_or_default();
        let units = point.sent[present] - begin.sent[present];
        if time_s < 1.0 && units < 2.0 * per_s {
            return false;
        }
        for (line, (to, from)) in self
            .lines
            .iter_mut()
            .zip(point.sent.iter().zip(&begin.sent))
        {
            line.add(to - from, time_s, point.drift - begin.drift);
        }
        self.begin = Some(point);
        self.judge(present)
    }

    /// Whether another way of counting, or another factor, explains better what was seen.
    fn judge(&mut self, present: usize) -> bool {
        let solved: Vec<Option<Solved>> = self.lines.iter().map(Line::solve).collect();
        let Some(now) = solved[present] else {
            return false;
        };
        let (mut best, mut with) = (present, now);
        for (index, other) in solved.iter().enumerate() {
            if let Some(other) = other
                && self.lines[index].n >= STRETCHES_FOR_ANOTHER
                && (other.factor - 1.0).abs() < PLAIN
                && other.unexplained < BETTER * now.unexplained
                && other.unexplained < with.unexplained
            {
                (best, with) = (index, *other);
            }
        }
        if with.error > ERROR_MOST * with.factor || with.factor <= 0.0 {
            return false;
        }
        let count = Count::of(self.kind)[best];
        let differs = (with.factor - self.model.factor()).abs();
        let surely = differs > 3.0 * with.error && differs > LINE_LEAST * self.model.factor();
        (count != self.model.count || surely) && self.change(count, with.factor)
    }

    fn said(&mut self, cost: &Cost, units: u64) -> bool {
        self.unheard = 0;
        let counts = Count::of(self.kind);
        for (said, count) in self.said.iter_mut().zip(counts) {
            let ours = count.at_admission(cost);
            if ours > 0 && units > 0 {
                said.add(units as f64 / ours as f64);
            }
        }
        let present = counts.iter().position(|&count| count == self.model.count);
        let Some(present) = present.filter(|&index| self.said[index].n > SAID_LEAST) else {
            return false;
        };
        // Another way must be plainly better: exact where the present one scatters.
        let mut best = present;
        for (index, other) in self.said.iter().enumerate() {
            if other.n > SAID_LEAST && other.scatter() + 0.02 < 0.5 * self.said[best].scatter() {
                best = index;
            }
        }
        let said = self.said[best];
        if said.scatter() > ERROR_MOST * said.n.sqrt() {
            return false;
        }
        let factor = said.mean();
        self.change(counts[best], factor)
    }

    fn at_most(&mut self, cost: &Cost, gone: u64) -> bool {
        let ours = self.model.count.at_admission(cost);
        if ours == 0 || matches!(self.model.count, Count::Produced) {
            return false;
        }
        self.bounds.push(gone as f64 / ours as f64);
        if self.bounds.len() < BOUNDS {
            return false;
        }
        self.bounds.sort_unstable_by(f64::total_cmp);
        let bound = self.bounds[BOUNDS / 4];
        self.bounds.clear();
        // A quarter of them say so, not only what somebody has estimated badly.
        bound < self.model.factor() * (1.0 - SAME) && self.change(self.model.count, bound)
    }

    fn change(&mut self, count: Count, factor: f64) -> bool {
        // What is as good as declared is as declared.
        let factor = if (factor - 1.0).abs() < SAME {
            1.0
        } else {
            factor
        };
        let model = Model {
            count,
            permille: permille(factor),
        };
        let moved = (model.factor() / self.model.factor() - 1.0).abs() >= SAME;
        if count == self.model.count && !moved {
            return false;
        }
        self.model = model;
        self.learnt = true;
        self.begin = None;
        self.bounds.clear();
        true
    }
}

impl Model {
    pub(super) fn factor(self) -> f64 {
        f64::from(self.permille) / 1000.0
    }

    /// What the server takes for so many units of ours.
    pub(super) const fn times(self, units: u64) -> u64 {
        let scaled = units as u128 * self.permille as u128;
        let units = scaled.div_ceil(1000);
        if units > u64::MAX as u128 {
            u64::MAX
        } else {
            units as u64
        }
    }
}

fn permille(factor: f64) -> u32 {
    (factor.clamp(FACTORS.0, FACTORS.1) * 1000.0).round() as u32
}

const fn place(charge: &mut Charge, kind: LimitKind) -> &mut u64 {
    match kind {
        LimitKind::InputTokens => &mut charge.input,
        LimitKind::OutputTokens => &mut charge.output,
        LimitKind::TotalTokens => &mut charge.total,
        LimitKind::Requests | LimitKind::Concurrency | LimitKind::Custom(_) => &mut charge.requests,
    }
}

#[cfg(test)]
mod tests;
