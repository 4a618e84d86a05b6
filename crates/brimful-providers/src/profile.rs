//! What is known of each provider: one file of facts, each with its source and date.
//!
//! Everything here is a default that configuration overrides, headers correct and a run learns
//! better. Amounts move most often; shapes, names and rules seldom.

mod embedded;
mod facts;
mod markdown;

use std::time::Duration;

use brimful_core::{LimitKind, LimitSpec};

pub use self::facts::{
    Address, Auth, Charging, Count, CountRule, DailyReset, Dialect, DialectName, Evidence, Kind,
    Login, Note, Profile, ProfileLimit, Ramp, Replies, Rule, Scope, ServerShape, Settle, Source,
    Tier, TierLimits,
};
pub use self::markdown::page;

impl Profile {
    /// The profile of a provider; `None` when there is none of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        embedded::by_name(name)
    }

    /// The profile for any HTTP API of which nothing is known.
    ///
    /// # Panics
    /// Never: the file is a part of the program, and a test reads it.
    #[must_use]
    pub fn generic() -> &'static Self {
        embedded::by_name("generic").expect("it is embedded")
    }

    /// The profile of whoever answers at a base URL: that of the same host, else `generic`.
    #[must_use]
    pub fn of_base_url(url: &str) -> &'static Self {
        let wanted = host(url);
        let is_same = |profile: &&Self| {
            let known = profile.address.base_url.as_deref().map(host);
            known.is_some_and(|known| !known.contains('{') && known.eq_ignore_ascii_case(wanted))
        };
        // A server on this machine may be any.
        let is_local = ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|local| wanted.starts_with(local));
        let found = Self::all().find(is_same).filter(|_| !is_local);
        found.unwrap_or_else(Self::generic)
    }

    /// All profiles, in the order of their names, `generic` last.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        embedded::all()
    }

    /// The names of all profiles, in the same order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        embedded::names()
    }

    /// A limit of `amount` units in a window, enforced as this provider does. One that the profile
    /// does not know has an unknown shape.
    #[must_use]
    pub fn spec(&self, name: &str, kind: LimitKind, amount: u64, window: Duration) -> LimitSpec {
        let spec = LimitSpec::new(name, kind, amount, window);
        match self.limit(kind, window) {
            Some(limit) => limit.enforce(spec),
            None => spec,
        }
    }

    /// What is known of a limit of this kind and window.
    #[must_use]
    pub fn limit(&self, kind: LimitKind, window: Duration) -> Option<&ProfileLimit> {
        self.limits
            .iter()
            .find(|limit| limit.kind.into_core() == kind && limit.window() == window)
    }

    /// The published limits of a tier for a model; the entry that names most of the model wins.
    /// `None` when the profile has no such tier or it says nothing of the model.
    #[must_use]
    pub fn tier(&self, name: &str, model: &str) -> Option<&Tier> {
        self.tiers
            .iter()
            .filter(|tier| tier.name.eq_ignore_ascii_case(name))
            .filter_map(|tier| {
                Some((
                    tier.models.iter().filter_map(|p| fits(p, model)).max()?,
                    tier,
                ))
            })
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, tier)| tier)
    }

    /// The names of its tiers, each once, in the order of the file.
    #[must_use]
    pub fn tier_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for tier in &self.tiers {
            if !names.contains(&tier.name.as_str()) {
                names.push(&tier.name);
            }
        }
        names
    }

    /// All ways in which this provider may count tokens: the likeliest first, then those that
    /// sources name besides.
    pub fn charges(&self) -> impl Iterator<Item = &Charging> {
        self.charge.iter()
    }

    /// The likeliest way in which this provider counts tokens of any model.
    #[must_use]
    pub fn charge(&self) -> Charging {
        self.charge_for("")
    }

    /// The likeliest way in which this provider counts tokens of a model: the first that names it,
    /// else the first that names none.
    #[must_use]
    pub fn charge_for(&self, model: &str) -> Charging {
        let names = |charge: &&Charging| charge.models.iter().any(|p| fits(p, model).is_some());
        let found = self.charges().find(names);
        found
            .or_else(|| self.charges().find(|charge| charge.models.is_empty()))
            .cloned()
            .unwrap_or_default()
    }
}

/// How much of a model's name a pattern fits: twice its length, and one more without a `*`.
fn fits(pattern: &str, model: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(prefix) => model.starts_with(prefix).then_some(prefix.len() * 2),
        None => (pattern == model).then_some(pattern.len() * 2 + 1),
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
