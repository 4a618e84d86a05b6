//! Which limits there are, how they are enforced, and what is published of their amounts.

use std::time::Duration;

use brimful_core::{LimitKind, LimitSpec, Shape};
use serde::{Deserialize, Serialize};

use super::Evidence;

/// One limit that a provider has.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileLimit {
    /// As the flags have it: `rpm`, `tpm`.
    pub name: String,
    /// What is counted.
    pub kind: Kind,
    /// Seconds of its window; 0 for concurrency, which has none.
    #[serde(default)]
    pub window_s: u64,
    /// For whom it is counted, the widest first: all keys of an organisation share what is the
    /// organisation's.
    pub scope: Vec<Scope>,
    /// How the server enforces it.
    pub shape: ServerShape,
    /// Whether the whole amount may be used at once: the capacity of the bucket is the window's.
    #[serde(default)]
    pub full_burst: bool,
    /// Shorter windows, in seconds, in which the server may also count a part of the amount.
    #[serde(default)]
    pub parts_s: Vec<u64>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well its shape is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

impl ProfileLimit {
    /// Its window; zero for concurrency.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    /// `spec`, enforced as this limit is.
    #[must_use]
    pub fn enforce(&self, spec: LimitSpec) -> LimitSpec {
        let amount = spec.amount;
        match self.shape {
            ServerShape::Unknown | ServerShape::Dynamic | ServerShape::Slots => spec,
            ServerShape::TokenBucket if self.full_burst => {
                spec.shape(Shape::TokenBucket).burst(amount)
            }
            ServerShape::TokenBucket => spec.shape(Shape::TokenBucket),
            ServerShape::Sliding => spec.shape(Shape::Sliding),
            ServerShape::Fixed => spec.shape(Shape::Fixed),
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Requests.
    Requests,
    /// Input and output tokens together.
    TotalTokens,
    /// Input tokens.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Requests in flight.
    Concurrency,
}

impl Kind {
    /// The engine's word for it.
    #[must_use]
    pub const fn into_core(self) -> LimitKind {
        match self {
            Self::Requests => LimitKind::Requests,
            Self::TotalTokens => LimitKind::TotalTokens,
            Self::InputTokens => LimitKind::InputTokens,
            Self::OutputTokens => LimitKind::OutputTokens,
            Self::Concurrency => LimitKind::Concurrency,
        }
    }

    /// The words for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::TotalTokens => "tokens",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
            Self::Concurrency => "requests in flight",
        }
    }
}

/// Whose requests a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All keys of an account or organisation.
    Organisation,
    /// All keys of a project, workspace or subscription.
    Project,
    /// One key.
    Key,
    /// One region.
    Region,
    /// Models of one family, which share it.
    Pool,
    /// One model.
    Model,
    /// One deployment of a model.
    Deployment,
    /// One server process.
    Process,
}

impl Scope {
    /// The word for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Project => "project",
            Self::Key => "key",
            Self::Region => "region",
            Self::Pool => "pool of models",
            Self::Model => "model",
            Self::Deployment => "deployment",
            Self::Process => "process",
        }
    }
}

/// How a server enforces a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerShape {
    /// Nobody says.
    Unknown,
    /// A level that drains continuously.
    TokenBucket,
    /// A log of the last window.
    Sliding,
    /// A count that begins anew at each edge.
    Fixed,
    /// The amount itself moves with load and use.
    Dynamic,
    /// So many at a time; what is over is refused or waits in a queue.
    Slots,
}

impl ServerShape {
    /// The words for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::TokenBucket => "token bucket",
            Self::Sliding => "sliding window",
            Self::Fixed => "fixed window",
            Self::Dynamic => "dynamic",
            Self::Slots => "slots",
        }
    }
}

/// When daily limits start anew.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DailyReset {
    /// Hour of the day, 0 to 23.
    pub hour: u8,
    /// The time zone by its IANA name.
    pub zone: String,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

/// How fast use may grow.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ramp {
    /// What may not grow faster.
    pub kind: Kind,
    /// Units a minute from which on the rule holds; 0 for always.
    pub above_per_min: u64,
    /// Most growth within the period, in per cent; `None` where no number is published.
    pub growth_percent: Option<u32>,
    /// Seconds of the period; `None` where no number is published.
    pub period_s: Option<u64>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

/// Published amounts of one tier, for some models.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tier {
    /// As `--tier` has it: `tier-1`, `free`.
    pub name: String,
    /// For which models; `*` ends a prefix, `*` alone is any.
    pub models: Vec<String>,
    /// The amounts.
    pub limits: TierLimits,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

/// Amounts by the names of the flags; `None` where a tier has no such limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TierLimits {
    /// Requests a second.
    pub rps: Option<u64>,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Requests an hour.
    pub rph: Option<u64>,
    /// Requests a day.
    pub rpd: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Tokens an hour.
    pub tph: Option<u64>,
    /// Tokens a day.
    pub tpd: Option<u64>,
    /// Input tokens a minute.
    pub itpm: Option<u64>,
    /// Output tokens a minute.
    pub otpm: Option<u64>,
    /// Requests in flight.
    pub concurrency: Option<u64>,
}

impl TierLimits {
    /// Those that there are: name, kind, window (zero for concurrency) and amount.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, LimitKind, Duration, u64)> {
        const DAY: u64 = 86_400;
        [
            ("rps", LimitKind::Requests, 1, self.rps),
            ("rpm", LimitKind::Requests, 60, self.rpm),
            ("rph", LimitKind::Requests, 3_600, self.rph),
            ("rpd", LimitKind::Requests, DAY, self.rpd),
            ("tpm", LimitKind::TotalTokens, 60, self.tpm),
            ("tph", LimitKind::TotalTokens, 3_600, self.tph),
            ("tpd", LimitKind::TotalTokens, DAY, self.tpd),
            ("itpm", LimitKind::InputTokens, 60, self.itpm),
            ("otpm", LimitKind::OutputTokens, 60, self.otpm),
            ("concurrency", LimitKind::Concurrency, 0, self.concurrency),
        ]
        .into_iter()
        .filter_map(|(name, kind, secs, amount)| {
            Some((name, kind, Duration::from_secs(secs), amount?))
        })
    }
}
