//! The engine against providers of whom it knows too little, in virtual time, by the server's
//! account of each part of the run. See `docs/design/learning.md`.

use anyhow::{Result, bail, ensure};
use brimful_sim::virtual_run::learn::{self, Judgement, Outcome, Scenario};
use clap::Args;

use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::seeds::{self, Done};

/// Which seeds run.
#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// Seeds 0 to N - 1 for each scenario
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// This seed alone
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print every step of the one scenario that `--only` leaves
    #[arg(long, requires = "seed")]
    trace: bool,
}

impl Learn {
    /// Prints what was reached; fails when a goal was missed.
    pub(crate) fn run(&self, bench: &mut Bench) -> Result<()> {
        let scenarios: Vec<Scenario> = learn::scenarios()
            .into_iter()
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
            .section("Learning: the engine in virtual time, by the server's account");
        println!("  {:<46} {:>10} {:>10}  goal", "", "all seeds", "worst");
        let runs: Vec<_> = scenarios
            .iter()
            .map(|scenario| (scenario.name.as_str(), &scenario.run))
            .collect();
        let done = seeds::run(&runs, &seeds, |index, done| {
            let scenario = &scenarios[index];
            println!("{}", block(scenario, &scenario.judge(&done.reports, 1.0)));
        })?;
        let missed = keep(bench, &scenarios, &done);
        ensure!(missed == 0, "{missed} scenarios missed their goals");
        Ok(())
    }
}

/// Puts all figures into the report and counts the scenarios that missed something.
fn keep(bench: &mut Bench, scenarios: &[Scenario], done: &[Done]) -> usize {
    let mut missed = 0;
    for (scenario, done) in scenarios.iter().zip(done) {
        let judgement = scenario.judge(&done.reports, 1.0);
        missed += usize::from(!judgement.missed().is_empty());
        for (outcome, check) in judgement.outcomes.iter().zip(&scenario.checks) {
            let better = if check.measure.less_is_better() {
                Better::Lower
            } else {
                Better::Higher
            };
            bench.report.keep(figure(&scenario.name, outcome, better));
        }
    }
    missed
}

/// What a scenario came to, a line for each check. One string, so that threads do not mix lines.
fn block(scenario: &Scenario, judgement: &Judgement) -> String {
    let mut text = format!("  {}", scenario.name);
    for outcome in &judgement.outcomes {
        text.push_str(&format!(
            "\n    {:<44} {:>10} {:>10}  {:<12} {}",
            outcome.name,
            outcome.shown(),
            outcome.worst_shown(),
            outcome.verdict(),
            outcome.asked,
        ));
    }
    for broken in &judgement.broken {
        text.push_str(&format!("\n    {broken}"));
    }
    text
}

/// The same for files and comparisons, a sample for each seed.
fn figure(scenario: &str, outcome: &Outcome, better: Better) -> Figure {
    let times = if outcome.unit == "%" { 100.0 } else { 1.0 };
    let samples = outcome.each.iter().map(|value| value * times).collect();
    Figure::new(scenario, &outcome.name, outcome.unit, better, samples)
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
