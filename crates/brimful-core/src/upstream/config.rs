//! How an upstream is declared.

use std::time::Duration;

use crate::charge::{ChargeRule, Lane, Settlement, UsageWeights};
use crate::learned::Learned;
use crate::limit::LimitSpec;

/// An upstream as the user declares it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// Unlike any other's. A live engine knows an upstream again by it. Default: empty.
    pub name: String,
    /// Its own limits.
    pub limits: Vec<LimitSpec>,
    /// Names of [`EngineConfig::shared`](crate::EngineConfig::shared) limits that count its
    /// attempts too: those of several keys of one organisation. Default: none.
    pub shares: Vec<String>,
    /// How the provider turns tokens into a charge. Default: `sum`.
    pub charge_rule: ChargeRule,
    /// Whether it corrects the charge by usage. Default: no.
    pub settlement: Settlement,
    /// What it counts of the usage when it does. Default: all of it once.
    pub usage_weights: UsageWeights,
    /// How large its part is when several could start a request at this moment; 1 to 1,000.
    /// Default 1.
    pub weight: u32,
    /// When it is used. Default: [`Role::Primary`].
    pub role: Role,
    /// What is found out about its limits while it is used. Default: nothing.
    pub learning: Learning,
    /// The lanes that it takes. `None`, the default: all.
    pub serves: Option<Vec<Lane>>,
    /// What an earlier run has learnt of it, by lane. Default: nothing. Without effect on a live
    /// engine, which knows better.
    pub learned: Vec<(Lane, Learned)>,
    /// Whether the first request of each lane goes alone, until its reply has shown which limits
    /// there are. For upstreams whose replies name them and whose limits the user did not give.
    /// Default: no.
    pub first_alone: bool,
    /// The share of what is learnt that may be used, in millionths, 1 to 1,000,000: of limits that
    /// the server names and of rates that are found out. What is declared holds as it is declared.
    /// Default 1,000,000: all of it.
    pub share_millionths: u32,
}

/// What is found out about an upstream's limits while it is used, by what it refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// Nothing: what is declared holds, whatever headers and refusals say. With
    /// [`UpstreamConfig::first_alone`], what they say all the same.
    #[default]
    Off,
    /// Where limits are declared, how the server counts, and whether it allows less; where none
    /// are, how much it allows.
    Limits,
    /// How many requests in flight bring the most tokens: for servers that never refuse and let
    /// requests wait instead (vLLM, Ollama). One that does refuse has as many places as it took.
    Concurrency,
}

/// When an upstream is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Whenever it can start a request first.
    #[default]
    Primary,
    /// Only for what the primaries keep waiting, and for everything when none of them is of use.
    Fallback {
        /// How long a request that is next in its lane must have to wait for the primaries. Zero:
        /// whenever none of them can start it at once.
        after: Duration,
    },
}

impl UpstreamConfig {
    /// Whether what it says of its limits is taken in.
    pub(crate) fn listens(&self) -> bool {
        self.learning != Learning::Off || self.first_alone
    }

    /// An upstream with these limits; everything else by default.
    #[must_use]
    pub fn new(name: impl Into<String>, limits: Vec<LimitSpec>) -> Self {
        Self {
            name: name.into(),
            limits,
            shares: Vec::new(),
            charge_rule: ChargeRule::Sum,
            settlement: Settlement::None,
            usage_weights: UsageWeights::default(),
            weight: 1,
            role: Role::Primary,
            learning: Learning::Off,
            serves: None,
            learned: Vec::new(),
            first_alone: false,
            share_millionths: 1_000_000,
        }
    }
}
