//! One rule of a provider: so much of a kind in a window, enforced in a certain shape.
//!
//! Each shape lives in a file of its own. All levels are integers: a level is scaled by the
//! nanoseconds in which its rate earns a whole number of units, so that each of them adds one.

mod concurrency;
mod counted;
mod fixed;
mod pace;
mod paced;
mod sliding;
mod token_bucket;
mod window;

use std::time::Duration;

use crate::charge::Charge;
use crate::time::Timestamp;

pub(crate) use pace::{Pace, time_to_earn};

use concurrency::Concurrency;
use counted::Counted;
use fixed::Fixed;
use token_bucket::TokenBucket;

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
}

impl LimitKind {
    /// What `charge` takes from a limit of this kind.
    #[must_use]
    pub const fn units(self, charge: &Charge) -> u64 {
        match self {
            Self::Requests | Self::Concurrency => charge.requests,
            Self::TotalTokens => charge.total,
            Self::InputTokens => charge.input,
            Self::OutputTokens => charge.output,
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

    pub(crate) fn check(&self) -> Result<(), LimitSpecError> {
        let name = || self.name.clone();
        if self.amount == 0 || self.amount > AMOUNT_MAX {
            return Err(LimitSpecError::Amount {
                name: name(),
                amount: self.amount,
            });
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
    /// An edge was declared for windows that have none.
    #[error("limit `{name}`: an edge needs the shape `fixed`")]
    EdgeNeedsFixed {
        /// Name of the limit.
        name: String,
    },
}

/// Why a request can never be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// Name of the limit that it cannot fit.
    pub limit: String,
    /// What the request needs.
    pub needs: u64,
    /// The most that the limit ever admits at once.
    pub most: u64,
}

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, needs, most } = self;
        write!(
            f,
            "needs {needs} of limit `{limit}`, which never admits more than {most}"
        )
    }
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

/// A limit with its level.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) spec: LimitSpec,
    state: State,
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

impl Limit {
    pub(crate) fn new(spec: LimitSpec) -> Result<Self, LimitSpecError> {
        spec.check()?;
        let state = match (spec.kind, spec.shape) {
            (LimitKind::Concurrency, _) => State::Concurrency(Concurrency::new(spec.amount)),
            (_, Shape::Paced) => State::Counted(paced::paced(&spec)),
            (_, Shape::TokenBucket) => State::TokenBucket(TokenBucket::new(&spec)),
            (_, Shape::Sliding) => State::Counted(sliding::sliding(&spec)),
            (_, Shape::Fixed) => match Fixed::new(&spec) {
                Some(fixed) => State::Fixed(fixed),
                None => State::Counted(sliding::sliding(&spec)),
            },
        };
        Ok(Self { spec, state })
    }

    /// The earliest instant at which `units` may start: `Ok(now)` when they may start now.
    /// `Err(most)`: they never may, because no more than `most` ever can.
    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units == 0 {
            return Ok(now);
        }
        match &self.state {
            State::Counted(limit) => limit.earliest(now, units),
            State::TokenBucket(limit) => limit.earliest(now, units),
            State::Fixed(limit) => limit.earliest(now, units),
            State::Concurrency(limit) => limit.earliest(now, units),
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
    pub(crate) fn release(&mut self, units: u64) {
        if let State::Concurrency(limit) = &mut self.state {
            limit.release(units);
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
