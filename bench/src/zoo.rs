//! `zoo`: the real engine against every model of the simulated provider, in virtual time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use brimful_sim::virtual_run::Report;
use brimful_sim::virtual_run::zoo::{self, Scenario, Summary};

pub(crate) const USAGE: &str = "\
zoo [--scenario NAME] [--seeds COUNT] [--seed N [--trace]]
         every server model against every client, in virtual time
         NAME   only the scenarios whose name contains it
         COUNT  seeds 0 to COUNT - 1 for each scenario (20)
         N      this seed alone; with --trace, every step of the one scenario called NAME";

/// Requests of the run that is timed by itself.
const SPEED_REQUESTS: u64 = 1_000_000;

#[derive(Debug, Default)]
struct Options {
    scenario: String,
    seeds: Option<u64>,
    seed: Option<u64>,
    trace: bool,
}

/// Runs the zoo. Says on standard output what was reached, and fails when a goal was missed.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let options = options(arguments)?;
    let scenarios: Vec<Scenario> = zoo::scenarios()
        .into_iter()
        .filter(|scenario| scenario.name.contains(&options.scenario))
        .collect();
    ensure!(
        !scenarios.is_empty(),
        "no scenario is called `{}`",
        options.scenario
    );
    if options.trace {
        return trace(&scenarios, &options);
    }
    let seeds: Vec<u64> = match options.seed {
        Some(seed) => vec![seed],
        None => (0..options.seeds.unwrap_or(20)).collect(),
    };
    let started = Instant::now();
    let missed = table(&scenarios, &seeds)?;
    println!("\n{:.1} s for all of it", started.elapsed().as_secs_f64());
    if options.scenario.is_empty() && options.seed.is_none() {
        speed()?;
    }
    ensure!(missed == 0, "{missed} scenarios missed their goal");
    Ok(())
}

fn options(arguments: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(&name) = arguments.next() {
        if name == "--trace" {
            options.trace = true;
            continue;
        }
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name {
            "--scenario" => options.scenario = (*value).to_owned(),
            "--seeds" => options.seeds = Some(value.parse()?),
            "--seed" => options.seed = Some(value.parse()?),
            _ => bail!("{name} is not known\n{USAGE}"),
        }
    }
    Ok(options)
}

/// One run of one scenario.
struct Done {
    report: Report,
    wall: Duration,
}

/// Runs everything on all cores and prints each scenario as soon as its last seed is done.
fn table(scenarios: &[Scenario], seeds: &[u64]) -> Result<usize> {
    println!(
        "{:<66} {:>8} {:>9} {:>9} {:>9} {:>8} {:>7} {:>8}  goal",
        "", "429s", "used", "worst", "of bound", "wait s", "wall s", "Msteps/s"
    );
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Vec<Done>>> = Mutex::new(BTreeMap::new());
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let missed = AtomicUsize::new(0);
    let work = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(task / seeds.len()) else {
                return;
            };
            let started = Instant::now();
            let report = match scenario.run.run(seeds[task % seeds.len()]) {
                Ok(report) => report,
                Err(error) => {
                    let error = anyhow::Error::new(error).context(scenario.name.clone());
                    *failed.lock().expect("no thread panics while it holds this") = Some(error);
                    return;
                }
            };
            let wall = started.elapsed();
            let mut done = done.lock().expect("no thread panics while it holds this");
            let runs = done.entry(task / seeds.len()).or_default();
            runs.push(Done { report, wall });
            if runs.len() == seeds.len() {
                missed.fetch_add(usize::from(!row(scenario, runs)), Ordering::Relaxed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failed.into_inner()? {
        Some(error) => Err(error),
        None => Ok(missed.into_inner()),
    }
}

/// Prints one scenario and says whether it met its goal.
fn row(scenario: &Scenario, runs: &mut Vec<Done>) -> bool {
    runs.sort_by_key(|done| done.report.seed);
    let wall: Duration = runs.iter().map(|done| done.wall).sum();
    let mut summary = Summary::default();
    for done in runs.drain(..) {
        summary.add(done.report);
    }
    let reports = summary.reports();
    let steps: u64 = reports.iter().map(|report| report.steps).sum();
    let wait = reports.iter().map(|report| report.longest_wait).max();
    let missed = summary.missed(&scenario.goal);
    let verdict = if missed.is_empty() { "met" } else { "MISSED" };
    println!(
        "{:<66} {:>8} {:>9} {:>9} {:>9} {:>8.1} {:>7.2} {:>8.1}  {verdict}",
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
        println!("    {what}");
    }
    if let [only] = reports {
        println!("    seed {}, trace {:016x}", only.seed, only.trace_hash);
    }
    missed.is_empty()
}

fn trace(scenarios: &[Scenario], options: &Options) -> Result<()> {
    let [scenario] = scenarios else {
        let names: Vec<&str> = scenarios.iter().map(|s| s.name.as_str()).collect();
        bail!(
            "--trace needs one scenario; these match:\n{}",
            names.join("\n")
        );
    };
    let seed = options.seed.unwrap_or(0);
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
fn speed() -> Result<()> {
    let run = zoo::speed(SPEED_REQUESTS);
    let started = Instant::now();
    let report = run.run(1)?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(report.answered == SPEED_REQUESTS, "not all were answered");
    println!(
        "{SPEED_REQUESTS} requests in {wall:.1} s on one core ({:.0} virtual minutes)",
        report.makespan.as_secs_f64() / 60.0
    );
    Ok(())
}

fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.3} %", share * 100.0)
    } else {
        "–".to_owned()
    }
}
