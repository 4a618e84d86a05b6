//! What the shell knows of a limit beside what the engine does.

use std::time::Duration;

use brimful_core::{LearnedCharge, LimitKind};

use crate::daily::DailyReset;

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user gave it.
    Given,
    /// The provider publishes it for a tier.
    Published,
    /// It was found out, by this run or an earlier one.
    Learned,
}

impl Source {
    /// The word in summaries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Published => "published",
            Self::Learned => "learned",
        }
    }
}

/// One limit of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitNote {
    /// Name of what it counts, which its level is kept under.
    pub counts: String,
    /// Its window as it was declared; zero for what is in flight.
    pub window: Duration,
    /// Where it comes from.
    pub source: Source,
    /// When it begins anew, for a limit of a day; `None`: it counts the last 24 hours.
    pub daily: Option<DailyReset>,
    /// The models that share it, as they are written; `None`: all.
    pub models: Option<String>,
}

impl LimitNote {
    /// A limit for all models that never begins anew.
    #[must_use]
    pub fn new(counts: impl Into<String>, window: Duration, source: Source) -> Self {
        Self {
            counts: counts.into(),
            window,
            source,
            daily: None,
            models: None,
        }
    }
}

/// Name of what limits of a kind count. A custom kind has the name of its limit instead.
#[must_use]
pub const fn counts(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Requests => "requests",
        LimitKind::TotalTokens => "tokens",
        LimitKind::InputTokens => "input_tokens",
        LimitKind::OutputTokens => "output_tokens",
        LimitKind::Concurrency => "in_flight",
        LimitKind::Custom(_) => "custom",
    }
}

/// The words for how a server counts.
#[must_use]
pub const fn charge_name(rule: LearnedCharge) -> &'static str {
    match rule {
        LearnedCharge::Sum => "sum",
        LearnedCharge::Max => "max",
        LearnedCharge::Input => "input",
        LearnedCharge::SumSettled => "sum-settled",
        LearnedCharge::InputSettled => "input-settled",
        LearnedCharge::Output => "output",
        LearnedCharge::OutputSettled => "output-settled",
        LearnedCharge::Produced => "produced",
    }
}
