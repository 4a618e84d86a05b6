//! How the engine is set up.

use std::collections::BTreeSet;

use crate::limit::{LimitSpec, LimitSpecError};
use crate::retry::RetryPolicy;
use crate::upstream::UpstreamConfig;

const WEIGHT_MAX: u32 = 1_000;
const UPSTREAMS_MAX: usize = 1_000;

/// How the engine is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Where requests may go; at least one, at most 1,000.
    pub upstreams: Vec<UpstreamConfig>,
    /// Limits that several upstreams share; those that do name them in
    /// [`UpstreamConfig::shares`]. Default: none.
    pub shared: Vec<LimitSpec>,
    /// How failures are answered.
    pub retry: RetryPolicy,
    /// Seed of every random choice. Default 0.
    pub seed: u64,
}

impl EngineConfig {
    /// One upstream with these limits; everything else by default (charge `sum`, settled by
    /// nothing, seed 0).
    #[must_use]
    pub fn new(limits: Vec<LimitSpec>) -> Self {
        Self::with(vec![UpstreamConfig::new("", limits)])
    }

    /// These upstreams; everything else by default.
    #[must_use]
    pub const fn with(upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            upstreams,
            shared: Vec::new(),
            retry: RetryPolicy::new(),
            seed: 0,
        }
    }

    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), EngineConfigError> {
        if self.upstreams.is_empty() || self.upstreams.len() > UPSTREAMS_MAX {
            return Err(EngineConfigError::Upstreams);
        }
        let mut shared = BTreeSet::new();
        for spec in &self.shared {
            spec.check()?;
            if !shared.insert(spec.name.as_str()) {
                let limit = spec.name.clone();
                return Err(EngineConfigError::LimitTwice { limit });
            }
        }
        let mut names = BTreeSet::new();
        for upstream in &self.upstreams {
            let name = || upstream.name.clone();
            if !names.insert(upstream.name.as_str()) {
                return Err(EngineConfigError::UpstreamTwice { upstream: name() });
            }
            if upstream.weight == 0 || upstream.weight > WEIGHT_MAX {
                return Err(EngineConfigError::Weight { upstream: name() });
            }
            if !(1..=1_000_000).contains(&upstream.share_millionths) {
                return Err(EngineConfigError::Share { upstream: name() });
            }
            let mut own = BTreeSet::new();
            for spec in &upstream.limits {
                spec.check()?;
                if !own.insert((spec.kind, spec.name.as_str())) {
                    let limit = spec.name.clone();
                    return Err(EngineConfigError::LimitTwice { limit });
                }
            }
            for limit in &upstream.shares {
                if !shared.contains(limit.as_str()) {
                    return Err(EngineConfigError::Shares {
                        upstream: name(),
                        limit: limit.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Why an engine cannot be set up in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineConfigError {
    /// A limit is not valid.
    #[error(transparent)]
    Limit(#[from] LimitSpecError),
    /// No upstream, or too many.
    #[error("there are not between 1 and {UPSTREAMS_MAX} upstreams")]
    Upstreams,
    /// Two upstreams have one name.
    #[error("there are two upstreams named `{upstream}`")]
    UpstreamTwice {
        /// The name.
        upstream: String,
    },
    /// Two limits of an upstream, or two shared ones, have one name.
    #[error("there are two limits named `{limit}`")]
    LimitTwice {
        /// The name.
        limit: String,
    },
    /// The share of what is learnt is out of range.
    #[error("the share of upstream `{upstream}` is not between 1 and 1000000 millionths")]
    Share {
        /// Its name.
        upstream: String,
    },
    /// The weight is out of range.
    #[error("upstream `{upstream}`: its weight is not between 1 and {WEIGHT_MAX}")]
    Weight {
        /// Name of the upstream.
        upstream: String,
    },
    /// An upstream shares a limit that does not exist.
    #[error("upstream `{upstream}` shares a limit `{limit}`, which does not exist")]
    Shares {
        /// Name of the upstream.
        upstream: String,
        /// Name of the limit.
        limit: String,
    },
}
