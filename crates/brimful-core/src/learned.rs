//! What a run has found out, for the next one: plain data.

use std::time::Duration;

use crate::limit::{LimitKind, Shape};

/// What was learnt of one upstream. The engine exports it, the shell keeps it, and the next run's
/// configuration takes it in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Learned {
    /// Limits that the server named, or that were inferred.
    pub limits: Vec<LearnedLimit>,
    /// What the server takes for requests, where that differs from what was declared.
    pub charges: Vec<LearnedFactor>,
    /// What the server allows or how it counts, found out by what it refused without a word.
    pub rates: Vec<LearnedRate>,
    /// How many requests in flight brought the most tokens. `None` when that was not searched, or
    /// not found.
    pub places: Option<u64>,
}

impl Learned {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            limits: Vec::new(),
            charges: Vec::new(),
            rates: Vec::new(),
            places: None,
        }
    }
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearnedLimit {
    /// What it counts.
    pub kind: LimitKind,
    /// How much of it, in units of the kind, is allowed in each window.
    pub amount: u64,
    /// The window.
    pub window: Duration,
    /// How the server enforces it; [`Shape::Paced`] when that is not known.
    pub shape: Shape,
    /// What the server's bucket holds, in units of the kind. `None` when it is not known.
    pub burst: Option<u64>,
    /// The variation of the delay to the server that it was found safe under. `None` when nothing
    /// was found out.
    pub jitter: Option<Duration>,
    /// What others took of its rate in the end, in thousandths; 0 for nothing.
    pub foreign_permille: u32,
}

impl LearnedLimit {
    /// A limit of `amount` per `window` of which nothing else is known.
    #[must_use]
    pub const fn new(kind: LimitKind, amount: u64, window: Duration) -> Self {
        Self {
            kind,
            amount,
            window,
            shape: Shape::Paced,
            burst: None,
            jitter: None,
            foreign_permille: 0,
        }
    }
}

/// A rate that was found out by refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearnedRate {
    /// What is counted.
    pub kind: LimitKind,
    /// Units of the kind that were let through in an hour, at that rate.
    pub per_hour: u64,
    /// The window by which a declared limit turned out to be judged. `None` where no limit was
    /// declared, or none that holds.
    pub window: Option<Duration>,
}

impl LearnedRate {
    /// So many units an hour, judged by no window that is known.
    #[must_use]
    pub const fn new(kind: LimitKind, per_hour: u64) -> Self {
        Self {
            kind,
            per_hour,
            window: None,
        }
    }
}

/// What the server takes for requests under limits of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearnedFactor {
    /// The kind of limit.
    pub kind: LimitKind,
    /// How it counts.
    pub rule: LearnedCharge,
    /// What it takes for a unit of ours, in thousandths; 1000 is as estimated.
    pub permille: u32,
}

impl LearnedFactor {
    /// This much for each unit of ours, counted so.
    #[must_use]
    pub const fn new(kind: LimitKind, rule: LearnedCharge, permille: u32) -> Self {
        Self {
            kind,
            rule,
            permille,
        }
    }
}

/// How a server counts what a request takes from a limit on tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LearnedCharge {
    /// Input plus the most output, at admission.
    Sum,
    /// The larger of input and the most output, at admission.
    Max,
    /// Input, at admission.
    Input,
    /// Input plus the most output, corrected to usage at the end.
    SumSettled,
    /// Input, corrected to usage at the end.
    InputSettled,
    /// The most output, at admission.
    Output,
    /// The most output, corrected to usage at the end.
    OutputSettled,
    /// Output as it is produced.
    Produced,
}
