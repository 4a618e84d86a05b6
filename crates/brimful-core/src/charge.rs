//! What one attempt takes from a budget: estimated before, corrected by usage after.

use crate::outcome::Usage;

/// Quantities that one attempt takes, one for each kind of limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Requests; 1 for every attempt.
    pub requests: u64,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// What counts against a limit of total tokens.
    pub total: u64,
}

impl Charge {
    /// One request without tokens.
    #[must_use]
    pub const fn request() -> Self {
        Self {
            requests: 1,
            input: 0,
            output: 0,
            total: 0,
        }
    }
}

/// How a provider turns estimated input and output tokens into a charge at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeRule {
    /// The larger of input and `max_tokens` (OpenAI's published rule).
    Max,
    /// Input plus `max_tokens` (Azure, Bedrock and most others).
    Sum,
    /// Input alone (Gemini).
    Input,
}

impl ChargeRule {
    /// The charge of a request with `input` estimated tokens that may produce `output` more.
    #[must_use]
    pub fn charge(self, input: u64, output: u64) -> Charge {
        let (output, total) = match self {
            Self::Max => (output, input.max(output)),
            Self::Sum => (output, input.saturating_add(output)),
            Self::Input => (0, input),
        };
        Charge {
            requests: 1,
            input,
            output,
            total,
        }
    }

    /// What the answer really cost, for servers that settle by usage.
    #[must_use]
    pub fn actual(self, usage: Usage) -> Charge {
        let (output, total) = match self {
            Self::Max | Self::Sum => (usage.output, usage.total()),
            Self::Input => (0, usage.input),
        };
        Charge {
            requests: 1,
            input: usage.input,
            output,
            total,
        }
    }
}

/// Whether the provider corrects a charge once the answer's usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The charge taken at admission stands (OpenAI, Azure).
    None,
    /// The charge becomes the answer's usage (Bedrock, Anthropic).
    Usage,
}
