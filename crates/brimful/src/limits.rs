//! What the shell knows of a limit beside what the engine does.

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
    pub fn new(counts: impl Into<String>, source: Source) -> Self {
        Self {
            counts: counts.into(),
            source,
            daily: None,
            models: None,
        }
    }
}
