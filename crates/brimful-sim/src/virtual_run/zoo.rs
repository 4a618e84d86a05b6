//! The table of scenarios: which server, which client, which goal.

mod faults;
mod goal;
mod rates;
mod tokens;

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec};

use crate::config::ServerConfig;

use super::report::Report;
use super::{Delay, VirtualRun, Workload};

pub use goal::{Aim, Goal, Verdict};

const MINUTE: Duration = Duration::from_secs(60);
const MS: Duration = Duration::from_millis(1);

/// One row of the table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scenario {
    /// Unlike any other's.
    pub name: String,
    /// What runs.
    pub run: VirtualRun,
    /// What it has to reach.
    pub aim: Aim,
}

/// The same scenario under several seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    reports: Vec<Report>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// The runs.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// 429s ÷ arrivals of all runs together.
    #[must_use]
    pub fn throttled_share(&self) -> f64 {
        let sum = |of: fn(&Report) -> u64| self.reports.iter().map(of).sum::<u64>() as f64;
        sum(|report| report.server.throttled.total())
            / sum(|report| report.server.arrivals).max(1.0)
    }

    /// Mean utilisation.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        self.mean(Report::utilisation)
    }

    /// Utilisation of the worst run.
    #[must_use]
    pub fn worst_utilisation(&self) -> f64 {
        let each = self.reports.iter().map(Report::utilisation);
        each.fold(f64::INFINITY, f64::min)
    }

    /// Mean of lower bound ÷ makespan.
    #[must_use]
    pub fn of_lower_bound(&self) -> f64 {
        self.mean(Report::of_lower_bound)
    }

    /// Requests that were answered ÷ those of the workload, all runs together. What a run never
    /// submitted because it stopped early is not answered either.
    #[must_use]
    pub fn answered_share(&self) -> f64 {
        let sum = |of: fn(&Report) -> u64| self.reports.iter().map(of).sum::<u64>() as f64;
        sum(|report| report.answered) / sum(Report::asked).max(1.0)
    }

    fn mean(&self, of: fn(&Report) -> f64) -> f64 {
        self.reports.iter().map(of).sum::<f64>() / self.reports.len().max(1) as f64
    }
}

/// All scenarios, in the order of the table.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    rates::known(&mut all);
    rates::unknown(&mut all);
    tokens::charging_rules(&mut all);
    tokens::several_limits(&mut all);
    faults::safety(&mut all);
    faults::liveness(&mut all);
    all
}

/// A run of so many requests at 60,000 a minute, to time the simulation by.
#[must_use]
pub fn speed(requests: u64) -> VirtualRun {
    let rpm = 60_000;
    let mut server = server();
    server.rpm = Some(rpm);
    let workload = Workload::fixed(requests, 10, 10);
    run(vec![requests_per(rpm, MINUTE)], server, workload)
}

/// A server whose answers take 200 ms.
fn server() -> ServerConfig {
    ServerConfig {
        latency_ms_median: 200.0,
        latency_sigma: 0.3,
        ..ServerConfig::default()
    }
}

/// A client of these limits, on the way that all figures of `docs/design/limits.md` were taken on,
/// with the wake-ups of tokio's timer.
fn run(limits: Vec<LimitSpec>, server: ServerConfig, workload: Workload) -> VirtualRun {
    let mut run = VirtualRun::new(EngineConfig::new(limits), server, workload);
    run.network.send = Delay::LogNormal {
        median: 40 * MS,
        sigma: 0.5,
    };
    run.network.back = Delay::Fixed(20 * MS);
    run.client.wake_late = Delay::LogNormal {
        median: Duration::from_micros(1_100),
        sigma: 0.3,
    };
    run
}

fn requests_per(amount: u64, window: Duration) -> LimitSpec {
    LimitSpec::new("rpm", LimitKind::Requests, amount, window)
}
