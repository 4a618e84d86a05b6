//! `zoo`: the real engine against every model of the simulated provider, in virtual time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use brimful_sim::virtual_run::Report;
use brimful_sim::virtual_run::zoo::{self, Scenario, Summary, Verdict};
use clap::Args;

use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::seeds::{self, Done};

/// Requests of the run that is timed by itself.
const SPEED_REQUESTS: u64 = 1_000_000;

/// What of the zoo runs.
#[derive(Debug, Args)]
pub(crate) struct Zoo {
    /// Only scenarios whose name contains TEXT; together with --only, both
    #[arg(long, value_name = "TEXT", default_value = "")]
    scenario: String,
    /// Seeds 0 to N - 1 for each scenario
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// This seed alone
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print every step of the one scenario that matches
    #[arg(long, requires = "seed")]
    trace: bool,
}

impl Zoo {
    /// Prints what was reached; fails when a goal was missed.
    pub(crate) fn run(&self, bench: &mut Bench) -> Result<()> {
        let scenarios: Vec<Scenario> = zoo::scenarios()
            .into_iter()
            .filter(|scenario| scenario.name.contains(&self.scenario))
            .filter(|scenario| bench.wants(&scenario.name))
            .collect();
        ensure!(!scenarios.is_empty(), "no scenario has such a name");
        if self.trace {
            return trace(&scenarios, self.seed.unwrap_or(0));
        }
        let seeds: Vec<u64> = match self.seed {
            Some(seed) => vec![seed],
            None => (0..self.seeds).collect(),
        };
        bench
            .report
            .section("Zoo: the engine in virtual time, by the server's account");
        let summaries = table(&scenarios, &seeds)?;
        let mut missed = 0;
        for (scenario, summary) in scenarios.iter().zip(&summaries) {
            missed += usize::from(matches!(judged(scenario, summary), Verdict::Missed(_)));
            for figure in figures(scenario, summary) {
                bench.report.keep(figure);
            }
        }
        if self.scenario.is_empty() && self.seed.is_none() {
            speed(bench)?;
        }
        ensure!(missed == 0, "{missed} scenarios missed their goals");
        Ok(())
    }
}

/// Runs everything on all cores and prints each scenario as soon as its last seed is done.
fn table(scenarios: &[Scenario], seeds: &[u64]) -> Result<Vec<Summary>> {
    println!(
        "  {:<64} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>8}  goal",
        "", "429s", "used", "worst", "of bound", "wait s", "wall s", "Msteps/s"
    );
    let runs: Vec<_> = scenarios
        .iter()
        .map(|scenario| (scenario.name.as_str(), &scenario.run))
        .collect();
    let done = seeds::run(&runs, seeds, |index, done| {
        row(&scenarios[index], &summary(done), done.wall);
    })?;
    Ok(done.iter().map(summary).collect())
}

fn summary(done: &Done) -> Summary {
    let mut summary = Summary::default();
    for report in &done.reports {
        summary.add(report.clone());
    }
    summary
}

fn row(scenario: &Scenario, summary: &Summary, wall: Duration) {
    let reports = summary.reports();
    let steps: u64 = reports.iter().map(|report| report.steps).sum();
    let wait = reports.iter().map(|report| report.longest_wait).max();
    let (verdict, missed) = match judged(scenario, summary) {
        Verdict::Met => ("met", Vec::new()),
        Verdict::Missed(missed) => ("MISSED", missed),
        Verdict::Floor(missed) if missed.is_empty() => ("floor", missed),
        Verdict::Floor(missed) => ("short, floor", missed),
        other => ("MISSED", vec![format!("{other:?}")]),
    };
    println!(
        "  {:<64} {:>9} {:>9} {:>9} {:>9} {:>7.1} {:>7.2} {:>8.2}  {verdict}",
        scenario.name,
        percent(summary.throttled_share()),
        percent(summary.utilisation()),
        percent(summary.worst_utilisation()),
        percent(summary.of_lower_bound()),
        wait.unwrap_or_default().as_secs_f64(),
        wall.as_secs_f64(),
        steps as f64 / wall.as_secs_f64() / 1e6,
    );
    for what in &missed {
        println!("      {what}");
    }
    if let [only] = reports {
        println!("      seed {}, trace {:016x}", only.seed, only.trace_hash);
    }
}

fn judged(scenario: &Scenario, summary: &Summary) -> Verdict {
    scenario.aim.judge(summary, 1.0)
}

/// The same for files and comparisons, a sample for each seed.
fn figures(scenario: &Scenario, summary: &Summary) -> [Figure; 3] {
    let samples = |of: fn(&Report) -> f64| {
        let shares = summary.reports().iter().map(of);
        shares.map(|share| share * 100.0).collect::<Vec<f64>>()
    };
    let name = &scenario.name;
    [
        Figure::new(
            name,
            "429s",
            "%",
            Better::Lower,
            samples(Report::throttled_share),
        ),
        Figure::new(
            name,
            "used",
            "%",
            Better::Higher,
            samples(Report::utilisation),
        ),
        Figure::new(
            name,
            "of bound",
            "%",
            Better::Higher,
            samples(Report::of_lower_bound),
        ),
    ]
}

fn trace(scenarios: &[Scenario], seed: u64) -> Result<()> {
    let [scenario] = scenarios else {
        let names: Vec<&str> = scenarios.iter().map(|s| s.name.as_str()).collect();
        bail!(
            "--trace needs one scenario; these match:\n{}",
            names.join("\n")
        );
    };
    let report = scenario
        .run
        .run_traced(seed, &mut |at, step| println!("{at:?} {step}"))?;
    println!(
        "{}: seed {seed}, trace {:016x}",
        scenario.name, report.trace_hash
    );
    for violation in &report.violations {
        println!("violation at {violation}");
    }
    Ok(())
}

/// How long a million requests take, bodies, headers, classification and all.
fn speed(bench: &mut Bench) -> Result<()> {
    let run = zoo::speed(SPEED_REQUESTS);
    let started = Instant::now();
    let report = run.run(1)?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(report.answered == SPEED_REQUESTS, "not all were answered");
    bench.report.section("Speed of the simulation");
    let name = "1,000,000 requests in virtual time, on one core";
    let figure = Figure::new(name, "wall time", "s", Better::Lower, vec![wall]);
    bench.report.add(figure.goal(20.0));
    Ok(())
}

fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.3} %", share * 100.0)
    } else {
        "–".to_owned()
    }
}
