//! One rule of a provider: so much of a kind in a window, enforced in a certain shape.
//!
//! Each shape lives in a file of its own. All levels are integers: a level is scaled by the
//! nanoseconds in which its rate earns a whole number of units, so that each of them adds one.

mod concurrency;
mod counted;
mod fixed;
mod never;
mod pace;
mod paced;
mod ramp;
mod sliding;
mod token_bucket;
mod window;

use std::time::Duration;

use crate::charge::{CUSTOM_KINDS, Charge, Lane};
use crate::time::Timestamp;

pub(crate) use pace::{Pace, time_to_earn};

use concurrency::Concurrency;
use counted::Counted;
use fixed::Fixed;
use ramp::Ramping;
use token_bucket::TokenBucket;

pub use never::Never;
pub use ramp::Ramp;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Requests started.
    Requests,
    /// Input and output tokens together, by the provider's charge rule.
    TotalTokens,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Requests in flight; has no window.
    Concurrency,
    /// Units that the driver defines: images, pages, seconds of sound. The number, below
    /// [`CUSTOM_KINDS`], says which of [`Cost::custom`](crate::Cost::custom).
    Custom(u8),
}

impl LimitKind {
    /// What `charge` takes from a limit of this kind.
    #[must_use]
    #[inline]
    pub const fn units(self, charge: &Charge) -> u64 {
        match self {
            Self::Requests | Self::Concurrency => charge.requests,
            Self::TotalTokens => charge.total,
            Self::InputTokens => charge.input,
            Self::OutputTokens => charge.output,
            // A spec with a larger number is refused.
            Self::Custom(number) => charge.custom[number as usize % CUSTOM_KINDS],
        }
    }
}

/// How the server enforces a limit, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Unknown: send evenly at 99.1 % of the rate and never more than the amount in any window.
    Paced,
    /// A bucket that refills continuously: send at 100 % of the rate.
    TokenBucket,
    /// A log of the last window: never more than the amount in any window plus jitter.
    Sliding,
    /// A count that begins anew at each edge. The same as [`Shape::Sliding`] unless an edge is
    /// known: then the whole amount in every window.
    Fixed,
}

/// A limit as the user or a profile declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitSpec {
    /// Short name used in progress and reports, such as `rpm`.
    pub name: String,
    /// What is counted.
    pub kind: LimitKind,
    /// How much of it, in units of the kind, is allowed in each window; 1 to 10¹⁵, so not zero.
    pub amount: u64,
    /// The window, 1 ms to 31 days. Ignored for concurrency, where it is zero.
    pub window: Duration,
    /// How the server enforces it. Default: [`Shape::Paced`].
    pub shape: Shape,
    /// What may start at once, in units of the kind: the capacity of the server's bucket, or as
    /// much of a window's amount as surely nobody has used before. `None` when it is not known:
    /// then nothing is sent in bursts. Not for [`Shape::Paced`]; without effect on windows of an
    /// hour and more, which are counted only.
    pub burst: Option<u64>,
    /// Variation of the delay between sending and the server's admission that must not lead over
    /// the limit; at most 31 days. Default: 0.5 % of the window for `paced`; 300 ms for a bucket
    /// with known burst; for `sliding` and `fixed` 0.5 % of the window, but 50 to 300 ms and no
    /// more than 5 %. With an [edge](Self::edge) the whole delay, not only its variation, and
    /// whatever the two clocks differ by.
    pub jitter: Option<Duration>,
    /// An instant at which one of the server's windows begins. `None` when it is not known. What is
    /// sent at an instant must be admitted no earlier than then and no later than the jitter after
    /// it. Only for [`Shape::Fixed`]; without effect when the jitter is as long as the window.
    pub edge: Option<Timestamp>,
    /// The lanes whose requests count, such as those of one model or of several that share a pool.
    /// `None`: all.
    pub lanes: Option<Vec<Lane>>,
    /// How fast the amount may be grown into. `None`: all of it at once. Not for concurrency.
    pub ramp: Option<Ramp>,
}

impl LimitSpec {
    /// A limit of `amount` per `window` of unknown shape.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: LimitKind, amount: u64, window: Duration) -> Self {
        Self {
            name: name.into(),
            kind,
            amount,
            window,
            shape: Shape::Paced,
            burst: None,
            jitter: None,
            edge: None,
            lanes: None,
            ramp: None,
        }
    }

    /// A limit on requests in flight.
    #[must_use]
    pub fn concurrency(amount: u64) -> Self {
        Self::new(
            "concurrency",
            LimitKind::Concurrency,
            amount,
            Duration::ZERO,
        )
    }

    /// The same limit, enforced in `shape`.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// The same limit, of which `burst` units may start at once. One of unknown shape becomes a
    /// bucket that holds as much.
    #[must_use]
    pub fn burst(mut self, burst: u64) -> Self {
        if self.shape == Shape::Paced {
            self.shape = Shape::TokenBucket;
        }
        self.burst = Some(burst);
        self
    }

    /// The same limit, safe under this variation of the delay to the server.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// The same limit as fixed windows, one of which begins at `edge`.
    #[must_use]
    pub fn edge(mut self, edge: Timestamp) -> Self {
        self.shape = Shape::Fixed;
        self.edge = Some(edge);
        self
    }

    /// The same limit, which counts only requests of these lanes.
    #[must_use]
    pub fn lanes(mut self, lanes: impl IntoIterator<Item = Lane>) -> Self {
        self.lanes = Some(lanes.into_iter().collect());
        self
    }

    /// The same limit, grown into by and by.
    #[must_use]
    pub fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = Some(ramp);
        self
    }

    /// The largest request that it ever admits, in units of the kind.
    #[inline]
    pub(crate) fn most(&self) -> u64 {
        match (self.shape, self.burst) {
            (Shape::TokenBucket, Some(burst)) if self.kind != LimitKind::Concurrency => burst,
            _ => self.amount,
        }
    }

    /// Whether requests of this lane count.
    #[must_use]
    pub fn counts(&self, lane: Lane) -> bool {
        self.lanes
            .as_ref()
            .is_none_or(|lanes| lanes.contains(&lane))
    }

    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), LimitSpecError> {
        let name = || self.name.clone();
        if self.amount == 0 || self.amount > AMOUNT_MAX {
            return Err(LimitSpecError::Amount {
                name: name(),
                amount: self.amount,
            });
        }
        if matches!(self.kind, LimitKind::Custom(number) if usize::from(number) >= CUSTOM_KINDS) {
            return Err(LimitSpecError::Custom { name: name() });
        }
        let ramp = self.ramp.filter(|ramp| !ramp.is_valid());
        if ramp.is_some() || self.ramp.is_some() && self.kind == LimitKind::Concurrency {
            return Err(LimitSpecError::Ramp { name: name() });
        }
        if self.kind == LimitKind::Concurrency {
            return Ok(());
        }
        if self.window < WINDOW_MIN || self.window > WINDOW_MAX {
            return Err(LimitSpecError::Window {
                name: name(),
                window: self.window,
            });
        }
        if self.jitter.is_some_and(|jitter| jitter > WINDOW_MAX) {
            return Err(LimitSpecError::Jitter { name: name() });
        }
        if self.edge.is_some() && self.shape != Shape::Fixed {
            return Err(LimitSpecError::EdgeNeedsFixed { name: name() });
        }
        match (self.shape, self.burst) {
            (Shape::Paced, Some(_)) => Err(LimitSpecError::BurstNeedsShape { name: name() }),
            (_, Some(burst)) if burst == 0 || burst > AMOUNT_MAX => Err(LimitSpecError::Amount {
                name: name(),
                amount: burst,
            }),
            _ => Ok(()),
        }
    }
}

const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
const WINDOW_MIN: Duration = Duration::from_millis(1);
const WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// Why a limit cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitSpecError {
    /// The amount or burst is out of range.
    #[error("limit `{name}`: {amount} is not between 1 and {AMOUNT_MAX}")]
    Amount {
        /// Name of the limit.
        name: String,
        /// The amount that was given.
        amount: u64,
    },
    /// The window is out of range.
    #[error("limit `{name}`: a window of {window:?} is not between 1 ms and 31 days")]
    Window {
        /// Name of the limit.
        name: String,
        /// The window that was given.
        window: Duration,
    },
    /// The jitter is out of range.
    #[error("limit `{name}`: the jitter is longer than 31 days")]
    Jitter {
        /// Name of the limit.
        name: String,
    },
    /// A burst was declared for a server that is not known.
    #[error("limit `{name}`: a burst needs the shape `token-bucket`, `sliding` or `fixed`")]
    BurstNeedsShape {
        /// Name of the limit.
        name: String,
    },
    /// There are no custom units of this number.
    #[error("limit `{name}`: there are only {CUSTOM_KINDS} custom kinds of units")]
    Custom {
        /// Name of the limit.
        name: String,
    },
    /// A ramp that leads nowhere.
    #[error("limit `{name}`: a ramp needs a start, a growth of 1 % or more, and 1 s to 31 days")]
    Ramp {
        /// Name of the limit.
        name: String,
    },
    /// An edge was declared for windows that have none.
    #[error("limit `{name}`: an edge needs the shape `fixed`")]
    EdgeNeedsFixed {
        /// Name of the limit.
        name: String,
    },
}

/// Whether something may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may start at this moment.
    Go,
    /// It may start at exactly this instant and not before, if nothing else starts until then.
    /// [`Timestamp::NEVER`]: not by the passing of time, but when something in flight ends.
    WaitUntil(Timestamp),
    /// It can never start.
    Never(Never),
}

/// Units that were taken from a limit some time ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How long ago.
    pub age: Duration,
    /// How many.
    pub units: u64,
}

/// A limit with its level.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// As declared. The state may hold less: see `ramping`.
    pub(crate) spec: LimitSpec,
    state: State,
    ramping: Option<Ramping>,
}

#[derive(Clone, Debug)]
enum State {
    /// `paced`, `sliding`, and `fixed` without an edge.
    Counted(Counted),
    TokenBucket(TokenBucket),
    /// `fixed` with an edge.
    Fixed(Fixed),
    Concurrency(Concurrency),
}

impl State {
    fn new(spec: &LimitSpec) -> Self {
        match (spec.kind, spec.shape) {
            (LimitKind::Concurrency, _) => Self::Concurrency(Concurrency::new(spec.amount)),
            (_, Shape::Paced) => Self::Counted(paced::paced(spec)),
            (_, Shape::TokenBucket) => Self::TokenBucket(TokenBucket::new(spec)),
            (_, Shape::Sliding) => Self::Counted(sliding::sliding(spec)),
            (_, Shape::Fixed) => match Fixed::new(spec) {
                Some(fixed) => Self::Fixed(fixed),
                None => Self::Counted(sliding::sliding(spec)),
            },
        }
    }

    /// Goes on where `old` stands, whose numbers or shape were others.
    fn carry(&mut self, now: Timestamp, old: &Self) {
        match (&mut *self, old) {
            (Self::Counted(new), Self::Counted(old)) => new.carry(now, old),
            (Self::TokenBucket(new), Self::TokenBucket(old)) => new.carry(now, old),
            (Self::Fixed(new), Self::Fixed(old)) => new.carry(now, old),
            (Self::Concurrency(new), Self::Concurrency(old)) => new.carry(old),
            (Self::Counted(new), Self::TokenBucket(old)) => new.restore(now, &old.taken(now)),
            (Self::Counted(new), Self::Fixed(old)) => new.restore(now, &old.snapshot(now)),
            (Self::TokenBucket(new), Self::Counted(old)) => new.restore(now, &old.snapshot(now)),
            (Self::TokenBucket(new), Self::Fixed(old)) => new.restore(now, &old.snapshot(now)),
            (Self::Fixed(new), Self::Counted(old)) => new.restore(now, &old.snapshot(now)),
            (Self::Fixed(new), Self::TokenBucket(old)) => new.restore(now, &old.taken(now)),
            (Self::Concurrency(_), _) | (_, Self::Concurrency(_)) => {}
        }
    }
}

impl Limit {
    pub(crate) fn new(spec: LimitSpec) -> Result<Self, LimitSpecError> {
        spec.check()?;
        let ramping = Ramping::new(&spec);
        let state = match &ramping {
            Some(ramping) => State::new(&ramping.apply(&spec)),
            None => State::new(&spec),
        };
        Ok(Self {
            spec,
            state,
            ramping,
        })
    }

    /// The same limit with other numbers. What was taken stays counted, and nothing that was not
    /// there before may start in a burst. The kind stays.
    pub(crate) fn respec(&mut self, now: Timestamp, spec: LimitSpec) -> Result<(), LimitSpecError> {
        debug_assert_eq!(
            self.spec.kind, spec.kind,
            "what is in flight counts in this kind"
        );
        spec.check()?;
        let ramping = Ramping::new(&spec);
        self.ramping = match (&self.ramping, ramping) {
            (Some(old), Some(new)) => new.carry(old, &spec),
            // What was reached without a ramp is not lost by one.
            (None, Some(new)) => new.beyond(self.spec.amount, &spec),
            (_, None) => None,
        };
        self.spec = spec;
        self.rebuild(now);
        Ok(())
    }

    /// Builds the state anew from the spec and the ramp, with the level that it has.
    fn rebuild(&mut self, now: Timestamp) {
        let mut state = match &self.ramping {
            Some(ramping) => State::new(&ramping.apply(&self.spec)),
            None => State::new(&self.spec),
        };
        state.carry(now, &self.state);
        self.state = state;
    }

    /// What the limit counts at `now`, oldest first. For windows of some length: what a bucket
    /// lacks is told as one.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Vec<Taken> {
        match &self.state {
            State::Counted(limit) => limit.snapshot(now),
            State::TokenBucket(limit) => limit.snapshot(now),
            State::Fixed(limit) => limit.snapshot(now),
            State::Concurrency(_) => Vec::new(),
        }
    }

    /// Counts what was taken before, oldest first, besides what is counted already.
    pub(crate) fn restore(&mut self, now: Timestamp, before: &[Taken]) {
        match &mut self.state {
            State::Counted(limit) => limit.restore(now, before),
            State::TokenBucket(limit) => limit.restore(now, before),
            State::Fixed(limit) => limit.restore(now, before),
            State::Concurrency(_) => {}
        }
    }

    /// Lets a ramp rise, if it is time. `admitted`: all units that were ever admitted.
    pub(crate) fn ramp_up(&mut self, now: Timestamp, admitted: u64) {
        let rises = self.ramping.as_mut();
        if rises.is_some_and(|ramping| ramping.step(now, admitted, &self.spec)) {
            if self.ramping.as_ref().is_some_and(Ramping::is_over) {
                self.ramping = None;
            }
            self.rebuild(now);
        }
    }

    /// A request of `units` waits. Where only the ramp keeps it, that rises with time alone.
    pub(crate) fn is_awaited(&mut self, now: Timestamp, units: u64) {
        let fits_above = units > 0 && units <= self.spec.most() && self.kept_out(now, units);
        if let Some(ramping) = self.ramping.as_mut().filter(|_| fits_above) {
            ramping.awaits(now);
        }
    }

    /// Whether `units` never fit into the limit as it is for now.
    fn kept_out(&self, now: Timestamp, units: u64) -> bool {
        match &self.state {
            State::Counted(limit) => limit.earliest(now, units).is_err(),
            State::TokenBucket(limit) => limit.earliest(now, units).is_err(),
            State::Fixed(limit) => limit.earliest(now, units).is_err(),
            State::Concurrency(limit) => limit.earliest(now, units).is_err(),
        }
    }

    /// When a ramp may rise next. `None` without one.
    pub(crate) fn rises_at(&self) -> Option<Timestamp> {
        self.ramping.as_ref().map(Ramping::next)
    }

    /// The earliest instant at which `units` may start: `Ok(now)` when they may start now.
    /// `Err(most)`: they never may, because no more than `most` ever can.
    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units == 0 {
            return Ok(now);
        }
        let earliest = match &self.state {
            State::Counted(limit) => limit.earliest(now, units),
            State::TokenBucket(limit) => limit.earliest(now, units),
            State::Fixed(limit) => limit.earliest(now, units),
            State::Concurrency(limit) => limit.earliest(now, units),
        };
        match &self.ramping {
            Some(ramping) if earliest.is_err() => {
                let most = self.spec.most();
                // It fits once the ramp is high enough.
                if units <= most {
                    Ok(ramping.next().max(now))
                } else {
                    Err(most)
                }
            }
            _ => earliest,
        }
    }

    /// The same for `units`, after `first` have been taken at `now`. [`Timestamp::NEVER`] also
    /// where that is not known.
    pub(crate) fn earliest_after(&self, now: Timestamp, first: u64, units: u64) -> Timestamp {
        if first == 0 || units == 0 {
            return self.earliest(now, units).unwrap_or(Timestamp::NEVER);
        }
        match &self.state {
            State::Counted(limit) => limit.earliest_after(now, first, units),
            State::TokenBucket(limit) => limit.earliest_after(now, first, units),
            State::Fixed(limit) => limit.earliest_after(now, first, units),
            State::Concurrency(limit) => limit.earliest_after(now, first, units),
        }
    }

    /// Takes `units`, which [`Limit::earliest`] has granted for `now`.
    #[inline]
    pub(crate) fn take(&mut self, now: Timestamp, units: u64) {
        if units == 0 {
            return;
        }
        match &mut self.state {
            State::Counted(limit) => limit.take(now, units),
            State::TokenBucket(limit) => limit.take(now, units),
            State::Fixed(limit) => limit.take(now, units),
            State::Concurrency(limit) => limit.take(units),
        }
    }

    /// Corrects units taken at `taken_at` from `reserved` to `actual`. Concurrency is not touched:
    /// see [`Limit::release`].
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        taken_at: Timestamp,
        reserved: u64,
        actual: u64,
    ) {
        if reserved == actual {
            return;
        }
        match &mut self.state {
            State::Counted(limit) => limit.settle(now, taken_at, reserved, actual),
            State::TokenBucket(limit) => limit.settle(now, reserved, actual),
            State::Fixed(limit) => limit.settle(now, taken_at, reserved, actual),
            State::Concurrency(_) => {}
        }
    }

    /// An attempt is over: what it held (concurrency) is free again.
    #[inline]
    pub(crate) fn release(&mut self, charge: &Charge) {
        if let State::Concurrency(limit) = &mut self.state {
            limit.release(self.spec.kind.units(charge));
        }
    }

    /// Sending goes on after a pause: what even sending has saved up is forgotten, so that one
    /// request goes first and the rest at pace. The mirror of a bucket went on filling.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Counted(limit) => limit.resume(now),
            State::TokenBucket(limit) => limit.resume(now),
            State::Fixed(limit) => limit.resume(now),
            State::Concurrency(_) => {}
        }
    }

    /// The server said that nothing is left: forget saved-up burst.
    pub(crate) fn drain(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Counted(limit) => limit.drain(now),
            State::TokenBucket(limit) => limit.drain(now),
            State::Fixed(limit) => limit.drain(now),
            State::Concurrency(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
