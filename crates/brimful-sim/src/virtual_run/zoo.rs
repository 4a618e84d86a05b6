//! The table of scenarios: which server, which client, which goal.

mod faults;
mod rates;
mod tokens;

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec};

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
#[derive(Clone, Copy, Debug, PartialEq)]
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

impl Goal {
    /// No laws but those of every run.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            throttled_share_most: None,
            utilisation_least: None,
            of_lower_bound_least: None,
            all_answered: false,
        }
    }

    /// Every request is answered.
    #[must_use]
    pub const fn answered() -> Self {
        Self {
            all_answered: true,
            ..Self::none()
        }
    }

    /// Every request is answered, with at most this share of 429s and at least this utilisation.
    #[must_use]
    pub const fn rate(throttled_share_most: f64, utilisation_least: f64) -> Self {
        Self {
            throttled_share_most: Some(throttled_share_most),
            utilisation_least: Some(utilisation_least),
            ..Self::answered()
        }
    }

    /// Every request is answered, at this share of the lower bound's rate or more.
    #[must_use]
    pub const fn makespan(of_lower_bound_least: f64) -> Self {
        Self {
            of_lower_bound_least: Some(of_lower_bound_least),
            ..Self::answered()
        }
    }

    /// The same with other figures allowed for chance: a few seeds scatter more than many. Shares
    /// of 429s may be this many times as high; zero stays zero.
    #[must_use]
    pub fn with_margin(self, times: f64) -> Self {
        Self {
            throttled_share_most: self.throttled_share_most.map(|most| most * times),
            ..self
        }
    }

    /// Whether anything is asked for besides the laws of every run.
    #[must_use]
    pub fn asks(&self) -> bool {
        *self != Self::none()
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
