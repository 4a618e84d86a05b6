//! One limit and how it is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// How a rate limit of N a window is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// A level that refills continuously and holds `burst` of the rate. A request of more than it
    /// holds, but no more than N, is admitted when it is full and leaves a debt.
    #[default]
    TokenBucket,
    /// A count that starts at zero when each window begins. Windows begin at `window_phase`.
    #[serde(rename = "fixed")]
    FixedWindow,
    /// A list of all admissions: what was admitted in the last window, to the nanosecond.
    #[serde(rename = "sliding")]
    SlidingLog,
    /// Two counts, this window's and the last one's, of which the share counts that a window ending
    /// at this moment would still cover (Cloudflare's approximation of a sliding window).
    #[serde(rename = "counter")]
    SlidingCounter,
    /// At least window ÷ N between two admissions, more for those that take more than one.
    Spacing,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// One for each request.
    Requests,
    /// Input and output, as [`Charge`](super::Charge) says.
    Tokens,
    /// The estimated input.
    InputTokens,
    /// The output: the request's maximum, or with [`Charge::Produced`](super::Charge::Produced)
    /// what is generated. Requests without output, such as embeddings, are not judged.
    OutputTokens,
}

/// One limit beside those that have fields of their own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct LimitRule {
    /// What statistics call it; different from all others, and not a field's name (`rpm`).
    pub name: String,
    /// What it counts.
    pub measure: Measure,
    /// How much of it a window allows (units of the measure); at least 1.
    pub amount: u64,
    /// The window; more than zero, at most 366 days.
    #[serde(deserialize_with = "human::duration")]
    pub window: Duration,
    /// How it is judged. `None`: as [`ServerConfig::enforcement`](super::ServerConfig) says.
    #[serde(default)]
    pub enforcement: Option<Enforcement>,
    /// How much of its rate a bucket holds, in time. `None`: as the configuration says.
    #[serde(default, deserialize_with = "human::optional")]
    pub burst: Option<Duration>,
    /// When windows begin. `None`: as the configuration says.
    #[serde(default, deserialize_with = "human::optional")]
    pub window_phase: Option<Duration>,
    /// The shorter time over which it is judged. `None`: as the configuration says.
    #[serde(default, deserialize_with = "human::optional")]
    pub judged_over: Option<Duration>,
}

impl LimitRule {
    /// `amount` of `measure` a `window`, judged as the configuration says.
    #[must_use]
    pub fn new(name: impl Into<String>, measure: Measure, amount: u64, window: Duration) -> Self {
        Self {
            name: name.into(),
            measure,
            amount,
            window,
            enforcement: None,
            burst: None,
            window_phase: None,
            judged_over: None,
        }
    }
}
