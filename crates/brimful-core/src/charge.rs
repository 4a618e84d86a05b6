//! What one attempt takes from a budget: estimated before, corrected by usage after.

use crate::outcome::Usage;

/// How many kinds of units a request can have besides requests and tokens.
pub const CUSTOM_KINDS: usize = 4;

/// Requests of one lane are alike in where they may go and in which limits count them: as a rule
/// those that ask for one model. A driver numbers its lanes from 0 on and keeps them few.
///
/// Within a lane the oldest request goes first. A lane that has to wait holds up another one only
/// where it would lose what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u16);

/// What a request is estimated to cost, before any upstream's way of counting is applied to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Input tokens.
    pub input: u64,
    /// The most output tokens that it may produce.
    pub max_output: u64,
    /// Units of each [`LimitKind::Custom`](crate::LimitKind::Custom), by its number.
    pub custom: [u64; CUSTOM_KINDS],
    /// The lane that it goes in.
    pub lane: Lane,
}

impl Cost {
    /// A request without tokens, in the first lane.
    #[must_use]
    pub const fn request() -> Self {
        Self::tokens(0, 0)
    }

    /// A request of so many input tokens that may produce so many more, in the first lane.
    #[must_use]
    pub const fn tokens(input: u64, max_output: u64) -> Self {
        Self {
            input,
            max_output,
            custom: [0; CUSTOM_KINDS],
            lane: Lane(0),
        }
    }

    /// The same request in another lane.
    #[must_use]
    pub const fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }
}

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
    /// Units of each custom kind.
    pub custom: [u64; CUSTOM_KINDS],
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
            custom: [0; CUSTOM_KINDS],
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
    #[inline]
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
            custom: [0; CUSTOM_KINDS],
        }
    }

    /// The charge of a request of this cost.
    #[must_use]
    #[inline]
    pub fn of(self, cost: &Cost) -> Charge {
        Charge {
            custom: cost.custom,
            ..self.charge(cost.input, cost.max_output)
        }
    }

    /// What the answer really cost in tokens, for servers that settle by usage. It reports no
    /// custom units.
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
            custom: [0; CUSTOM_KINDS],
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

/// What a provider counts of an answer's usage when it settles, in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageWeights {
    /// Of input tokens that came from its cache: 0 where they are free. Default 100.
    pub cached_percent: u32,
    /// Of output tokens: 500 where each counts as five. Default 100.
    pub output_percent: u32,
}

impl Default for UsageWeights {
    fn default() -> Self {
        Self {
            cached_percent: 100,
            output_percent: 100,
        }
    }
}

impl UsageWeights {
    /// The usage as it counts, rounded up.
    #[must_use]
    pub fn of(self, usage: Usage) -> Usage {
        let part = |tokens: u64, percent: u32| {
            let counted = (u128::from(tokens) * u128::from(percent)).div_ceil(100);
            u64::try_from(counted).unwrap_or(u64::MAX)
        };
        let cached = usage.cached.min(usage.input);
        let counted = part(cached, self.cached_percent);
        Usage {
            input: (usage.input - cached).saturating_add(counted),
            output: part(usage.output, self.output_percent),
            cached: counted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_cached_input_and_dear_output_are_weighed() {
        let usage = Usage {
            input: 1_000,
            output: 30,
            cached: 600,
        };
        let bedrock = UsageWeights {
            cached_percent: 0,
            output_percent: 500,
        };
        assert_eq!(
            bedrock.of(usage),
            Usage {
                input: 400,
                output: 150,
                cached: 0
            }
        );
        assert_eq!(UsageWeights::default().of(usage), usage);
    }

    #[test]
    fn weighing_cannot_overflow_and_believes_no_more_cached_than_input() {
        let usage = Usage {
            input: 5,
            output: u64::MAX,
            cached: u64::MAX,
        };
        let dear = UsageWeights {
            cached_percent: 0,
            output_percent: 1_500,
        };
        assert_eq!(dear.of(usage).input, 0);
        assert_eq!(dear.of(usage).output, u64::MAX);
    }
}
