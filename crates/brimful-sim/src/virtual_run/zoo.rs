//! The table of scenarios: which server, which client, which goal.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec, Shape};

use crate::config::ServerConfig;

use super::report::Report;
use super::{Delay, VirtualRun, Workload};

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
    pub goal: Goal,
}

/// What a scenario has to reach. Shares are 0 to 1, over all seeds together; `None` asks nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Goal {
    /// The largest share of 429s.
    pub throttled_share_most: Option<f64>,
    /// The least mean utilisation.
    pub utilisation_least: Option<f64>,
    /// The least mean of lower bound ÷ makespan.
    pub of_lower_bound_least: Option<f64>,
    /// Whether every request must end with an answer.
    pub all_answered: bool,
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

    fn mean(&self, of: fn(&Report) -> f64) -> f64 {
        self.reports.iter().map(of).sum::<f64>() / self.reports.len().max(1) as f64
    }

    /// What of `goal` was missed, and which laws were broken.
    #[must_use]
    pub fn missed(&self, goal: &Goal) -> Vec<String> {
        let mut missed = Vec::new();
        let throttled = self.throttled_share();
        if goal
            .throttled_share_most
            .is_some_and(|most| throttled > most)
        {
            missed.push(format!("{:.4} % of 429s", throttled * 100.0));
        }
        let utilisation = self.utilisation();
        if goal
            .utilisation_least
            .is_some_and(|least| utilisation < least)
        {
            missed.push(format!("utilisation {:.3} %", utilisation * 100.0));
        }
        let of_lower_bound = self.of_lower_bound();
        if goal
            .of_lower_bound_least
            .is_some_and(|least| of_lower_bound < least)
        {
            missed.push(format!(
                "{:.3} % of the lower bound's rate",
                of_lower_bound * 100.0
            ));
        }
        for report in &self.reports {
            if goal.all_answered && report.answered != report.submitted {
                let without = report.submitted - report.answered;
                missed.push(format!("seed {}: {without} without an answer", report.seed));
            }
            if let Some(first) = report.violations.first() {
                let (seed, count) = (report.seed, report.violated);
                missed.push(format!("seed {seed}: {count} violations, first {first}"));
            }
        }
        missed
    }
}

/// All scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for rpm in [600, 6_000] {
        for (name, burst) in [("60 s", MINUTE), ("10 s", MINUTE / 6), ("1 s", MINUTE / 60)] {
            buckets(&mut all, rpm, name, burst);
        }
    }
    all
}

fn buckets(all: &mut Vec<Scenario>, rpm: u64, burst_name: &str, burst: Duration) {
    let mut server = server();
    server.rpm = Some(rpm);
    server.burst = burst;
    let limit = LimitSpec::new("rpm", LimitKind::Requests, rpm, MINUTE);
    let held = (rpm as f64 * burst.as_secs_f64() / 60.0) as u64;
    let clients = [
        ("paced", limit.clone(), 0.99),
        (
            "token-bucket",
            limit.clone().shape(Shape::TokenBucket),
            0.999,
        ),
        ("token-bucket, burst", limit.burst(held), 0.999),
    ];
    for (client, limit, utilisation) in clients {
        all.push(Scenario {
            name: format!("{rpm} rpm, bucket of {burst_name}, {client}"),
            run: ten_minutes(vec![limit], server.clone(), rpm),
            goal: Goal {
                throttled_share_most: Some(0.0),
                utilisation_least: Some(utilisation),
                all_answered: true,
                ..Goal::default()
            },
        });
    }
}

/// A run of so many requests at 60,000 a minute, to time the simulation by.
#[must_use]
pub fn speed(requests: u64) -> VirtualRun {
    let rpm = 60_000;
    let mut server = server();
    server.rpm = Some(rpm);
    let limit = LimitSpec::new("rpm", LimitKind::Requests, rpm, MINUTE);
    let mut run = ten_minutes(vec![limit], server, rpm);
    run.workload = Workload::fixed(requests, 10, 10);
    run
}

/// A server whose answers take 200 ms.
fn server() -> ServerConfig {
    ServerConfig {
        latency_ms_median: 200.0,
        latency_sigma: 0.3,
        ..ServerConfig::default()
    }
}

/// As many requests as the limit lets through in ten minutes, over the way that all figures of
/// `docs/design/limits.md` were taken on.
fn ten_minutes(limits: Vec<LimitSpec>, server: ServerConfig, rpm: u64) -> VirtualRun {
    let workload = Workload::fixed(rpm * 10, 10, 10);
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
