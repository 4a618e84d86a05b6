//! Scenarios in which the client has to find out what it was not told, or what has changed since.
//!
//! Unlike those of the [zoo](super::zoo), a run here has parts: until something is learnt and
//! after, before a change and after. Each is asked for something of its own, by the server's
//! account of that stretch of virtual time. The figures of `cargo xtask bench learn` and the tests
//! of `tests/virtual_runs/learn.rs` are made of this table.

mod changes;
mod charge;
mod check;
mod headers;
mod measure;
mod saturating;
mod told;
mod unknown;
mod upstreams;
mod windows;

use std::time::Duration;

use brimful_core::{EngineConfig, Learning};

use crate::config::ServerConfig;

use super::report::Report;
use super::{Amount, Delay, Sizes, VirtualRun, Workload};

pub use check::{Check, Judgement, Outcome};
pub use measure::{Measure, Stretch};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// One row of the table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scenario {
    /// Unlike any other's.
    pub name: String,
    /// What runs. Its samples are taken every second.
    pub run: VirtualRun,
    /// What it has to reach, besides the laws of every run.
    pub checks: Vec<Check>,
}

impl Scenario {
    /// Judges the same scenario under several seeds. A few seeds scatter more than many: shares of
    /// 429s may be `margin` times as high as asked; zero stays zero.
    #[must_use]
    pub fn judge(&self, reports: &[Report], margin: f64) -> Judgement {
        Judgement::new(&self.checks, reports, margin)
    }
}

/// All scenarios, in the order of the table.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    windows::unknown(&mut all);
    upstreams::keys(&mut all);
    unknown::unknown(&mut all);
    changes::changes(&mut all);
    saturating::saturating(&mut all);
    headers::foreign(&mut all);
    headers::misleading(&mut all);
    charge::wrong(&mut all);
    told::changes(&mut all);
    all
}

/// A client that always has enough to send, on the way that all figures of `docs/design/limits.md`
/// were taken on, for so long.
fn saturated(
    engine: EngineConfig,
    server: ServerConfig,
    sizes: Sizes,
    time: Duration,
) -> VirtualRun {
    let workload = Workload {
        amount: Amount::Saturated(time),
        ..Workload::shuffled(0, sizes)
    };
    let mut run = VirtualRun::new(engine, server, workload);
    run.network.send = Delay::LogNormal {
        median: 40 * MS,
        sigma: 0.5,
    };
    run.network.back = Delay::Fixed(20 * MS);
    run.client.wake_late = Delay::LogNormal {
        median: Duration::from_micros(1_100),
        sigma: 0.3,
    };
    run.learns = true;
    for upstream in &mut run.engine.upstreams {
        upstream.learning = Learning::Limits;
    }
    run.sample_every = Some(SECOND);
    run.give_up_after = time + 60 * MINUTE;
    run
}
