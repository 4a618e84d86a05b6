//! The words of a profile.

mod limits;
mod wire;

use std::collections::BTreeMap;

use brimful_core::{ChargeRule, Settlement, UsageWeights};
use serde::{Deserialize, Serialize};

pub use self::limits::{
    DailyReset, Kind, ProfileLimit, Ramp, Scope, ServerShape, Tier, TierLimits,
};
pub use self::wire::{Address, Auth, Dialect, DialectName, Login, Replies};

/// What is known of one provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// As `--provider` has it.
    #[serde(default)]
    pub name: String,
    /// As its own pages write it.
    pub title: String,
    /// Where it answers.
    pub address: Address,
    /// How a key is shown.
    pub login: Login,
    /// How requests and answers look.
    pub dialect: Dialect,
    /// What replies say of limits.
    pub replies: Replies,
    /// How tokens are counted, the likeliest way first. Others follow where sources disagree: the
    /// run finds out which is true.
    pub charge: Vec<Charging>,
    /// What the count of a request before it is sent should be like.
    pub count: Count,
    /// Which limits there are. Amounts are not here: they depend on tier and model.
    #[serde(default)]
    pub limits: Vec<ProfileLimit>,
    /// When daily limits start anew; `None` where they drain all day long or nothing is known.
    pub daily_reset: Option<DailyReset>,
    /// Published amounts.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    /// How fast use may grow.
    #[serde(default)]
    pub ramps: Vec<Ramp>,
    /// What else is worth knowing.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What the facts rest on, by the name that they give.
    pub sources: BTreeMap<String, Source>,
}

impl Profile {
    /// Reads one file of facts.
    ///
    /// # Errors
    /// It is not TOML, lacks a fact or has an unknown one.
    pub fn parse(name: &str, text: &str) -> Result<Self, toml::de::Error> {
        let mut profile: Self = toml::from_str(text)?;
        name.clone_into(&mut profile.name);
        Ok(profile)
    }
}

/// Where a fact was read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The page, file or thread.
    pub url: String,
    /// When it was read, or of which day the copy is: year-month-day.
    pub date: String,
}

/// How well a fact is founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The provider says so: documentation, specification or source code.
    #[default]
    Documented,
    /// It follows from the arithmetic of real replies.
    Deduced,
    /// Others say so.
    Reported,
    /// Nobody says so: a cautious guess.
    Assumed,
}

impl Evidence {
    /// The word for tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Deduced => "deduced",
            Self::Reported => "reported",
            Self::Assumed => "assumed",
        }
    }
}

/// One way of counting tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Charging {
    /// What is taken when a request is admitted.
    pub rule: Rule,
    /// Whether that is corrected at the end.
    pub settle: Settle,
    /// How many per cent of cached input tokens count at the end: 0 where they are free, 100, the
    /// default, where they count like others.
    #[serde(default = "all")]
    pub cached_percent: u32,
    /// How many per cent of an output token count at the end: 500 where each counts as five.
    /// Default 100.
    #[serde(default = "all")]
    pub output_percent: u32,
    /// For which models it differs from the entry before; empty for all. `*` ends a prefix.
    #[serde(default)]
    pub models: Vec<String>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

const fn all() -> u32 {
    100
}

impl Charging {
    /// The rule by which a client reserves. Output that a server counts only as it is produced is
    /// reserved all the same, and given back by usage: else every request in flight would be one
    /// that the level does not show.
    #[must_use]
    pub const fn reserve(&self) -> ChargeRule {
        match self.rule {
            Rule::Max => ChargeRule::Max,
            Rule::Sum | Rule::Produced => ChargeRule::Sum,
            Rule::Input => ChargeRule::Input,
        }
    }

    /// Whether the reservation is corrected by usage.
    #[must_use]
    pub const fn settlement(&self) -> Settlement {
        match self.settle {
            Settle::None => Settlement::None,
            Settle::Usage => Settlement::Usage,
        }
    }

    /// What of the usage counts.
    #[must_use]
    pub const fn weights(&self) -> UsageWeights {
        UsageWeights {
            cached_percent: self.cached_percent,
            output_percent: self.output_percent,
        }
    }
}

/// What a server takes for a request when it admits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The larger of estimated input and `max_tokens`.
    Max,
    /// Estimated input and `max_tokens`.
    #[default]
    Sum,
    /// Estimated input; output is free.
    Input,
    /// Estimated input; output as it is produced.
    Produced,
}

/// Whether a server corrects what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settle {
    /// It stands.
    #[default]
    None,
    /// It becomes the usage of the answer.
    Usage,
}

/// How input is best counted before a request is sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Count {
    /// The way.
    pub rule: CountRule,
    /// Why, in one sentence.
    pub why: String,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

/// How tokens are counted before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountRule {
    /// By the tokenizer of the model, where it is public.
    Exact,
    /// Four characters are a token.
    Chars,
}

impl CountRule {
    /// As `--count` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Chars => "chars",
        }
    }
}

/// One thing worth knowing that is no number.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Note {
    /// One sentence or two.
    pub text: String,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}
