//! How an attempt ended, in the words of the glossary.

use std::fmt;
use std::time::Duration;

use crate::observation::QuotaNumbers;

/// Tokens that the provider reported after the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input (prompt) tokens, cached ones included.
    pub input: u64,
    /// Output (completion) tokens, reasoning included.
    pub output: u64,
    /// Input tokens that came from the provider's cache; part of `input`.
    pub cached: u64,
}

impl Usage {
    /// Input plus output.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// Why an attempt gave no answer. The class alone decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 429 for speed: the limit's level is full. Not the request's fault, uses up no attempts.
    Throttled,
    /// 503, 529: the provider has no capacity.
    Overloaded,
    /// Network trouble and other 5xx. The request may have been counted and billed.
    Transient,
    /// An answer arrived but is not usable: it is not JSON, or failed validation.
    Invalid,
    /// No money or no daily quota is left. Waiting a minute does not help.
    Exhausted,
    /// The same request will never succeed.
    Fatal,
}

impl Class {
    /// All classes, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Throttled,
        Self::Overloaded,
        Self::Transient,
        Self::Invalid,
        Self::Exhausted,
        Self::Fatal,
    ];

    /// The word used in reports, traces and journals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Overloaded => "overloaded",
            Self::Transient => "transient",
            Self::Invalid => "invalid",
            Self::Exhausted => "exhausted",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a failure speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This request only: others may well succeed.
    Request,
    /// Every request to this upstream will fail the same way (wrong key, empty wallet).
    Upstream,
}

/// A failed attempt as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Decides what happens next.
    pub class: Class,
    /// Whom it concerns.
    pub scope: Scope,
    /// How long the provider asked to wait, counted from now. `None` when it did not say.
    pub retry_after: Option<Duration>,
    /// What a refusal for speed said of the limit that refused. `None` when it said nothing.
    pub quota: Option<QuotaNumbers>,
}

impl Failure {
    /// A failure of one request without a wait.
    #[must_use]
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            scope: Scope::Request,
            retry_after: None,
            quota: None,
        }
    }
}
