//! The server's account at regular instants, so that stretches of a run can be told apart.

use std::time::Duration;

use brimful_core::Timestamp;

use crate::limits::LimitStats;
use crate::server::Server;

/// What the server had counted at an instant, since its start. Differences of two samples are what
/// happened between them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Arrivals.
    pub arrivals: u64,
    /// 429s for speed.
    pub throttled: u64,
    /// Requests that met an outage.
    pub outage: u64,
    /// Output tokens of the answers handed over whole.
    pub output_tokens: u64,
    /// Each rate limit's own account, by whose rate what follows is measured.
    pub limits: Vec<LimitSample>,
}

/// The account of one rate limit at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LimitSample {
    /// Units a second that it allows from now on.
    pub rate_per_s: f64,
    /// The same, or nothing while the server answers no request at all: an outage, a quota that is
    /// used up.
    pub allowed_per_s: f64,
    /// Units that we took.
    pub taken: u64,
    /// Requests of foreign tenants that it admitted.
    pub foreign_admitted: u64,
    /// Requests of foreign tenants that it refused.
    pub foreign_refused: u64,
    /// Units that foreign tenants took.
    pub foreign_taken: u64,
}

impl Sample {
    /// Of all servers together; their limits one after another.
    pub(super) fn new(at: Timestamp, servers: &[Server]) -> Self {
        let mut sample = Self {
            at,
            ..Self::default()
        };
        for server in servers {
            let stats = server.stats();
            sample.arrivals += stats.arrivals;
            sample.throttled += stats.throttled.total();
            sample.outage += stats.outage;
            sample.output_tokens += stats.output_tokens;
            let limits = stats.limits.iter();
            let answers = server.answers_requests();
            sample
                .limits
                .extend(limits.map(|limit| LimitSample::new(limit, answers)));
        }
        sample
    }

    /// Seconds from the start of the run.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.at.since(Timestamp::ZERO).as_secs_f64()
    }
}

impl LimitSample {
    fn new(stats: &LimitStats, answers: bool) -> Self {
        let window_s = Duration::from_nanos(stats.window_ns).as_secs_f64();
        let rate_per_s = stats.amount as f64 / window_s;
        Self {
            rate_per_s,
            allowed_per_s: if answers { rate_per_s } else { 0.0 },
            taken: stats.taken,
            foreign_admitted: stats.foreign_admitted,
            foreign_refused: stats.foreign_refused,
            foreign_taken: stats.foreign_taken,
        }
    }

    /// Units that foreign tenants asked for: what they took, and as much for each refusal as for
    /// each admission.
    pub(super) fn foreign_asked(&self) -> f64 {
        let taken = self.foreign_taken as f64;
        match self.foreign_admitted {
            0 => self.foreign_refused as f64,
            admitted => taken * (1.0 + self.foreign_refused as f64 / admitted as f64),
        }
    }
}
