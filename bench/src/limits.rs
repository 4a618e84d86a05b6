//! End-to-end figures: the real binary against `brimful mock`, judged by the mock's own account.
//!
//! Scenarios of one group run at the same time: what a limit holds at a few hundred requests a
//! second needs some per cent of a processor, and one after the other they would take an hour.

use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::bench::Bench;
use crate::client::Client;
use crate::figure::{Better, Figure};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

/// One run against a fresh mock.
struct Scenario {
    name: &'static str,
    workload: Workload,
    mock: &'static [&'static str],
    run: &'static [&'static str],
    /// Seconds that latency or the limit itself takes, which the wall time is held against; `None`
    /// where the requests' own sizes decide.
    ideal_s: Option<f64>,
    /// Least share of the ideal time, in per cent.
    of_ideal_goal: Option<f64>,
    /// Least share of the limit, in per cent.
    used_goal: Option<f64>,
}

/// What one round of a scenario gave.
struct Measured {
    wall_s: f64,
    used: Option<f64>,
    throttled: f64,
    /// From the start of the process to the first admission.
    start_s: f64,
    /// From the last admission to the end of the process.
    tail_s: f64,
    cpu_us: f64,
    peak_mb: f64,
}

const SHORT_3000: Workload = Workload {
    requests: 3_000,
    sizes: Sizes::Short,
};
const SHORT_20000: Workload = Workload {
    requests: 20_000,
    sizes: Sizes::Short,
};
const LOG_NORMAL_3000: Workload = Workload {
    requests: 3_000,
    sizes: Sizes::LogNormal,
};
const RPM_6000: &[&str] = &[
    "--rpm",
    "6000",
    "--latency",
    "40ms",
    "--latency-sigma",
    "0.5",
];
const RPM_100000: &[&str] = &["--rpm", "100000", "--latency", "100ms"];

const GROUPS: &[&[Scenario]] = &[
    &[Scenario {
        name: "W2: 200 ms latency, 500 in flight, 20,000 requests",
        workload: SHORT_20000,
        mock: &["--latency", "200ms"],
        run: &["--concurrency", "500"],
        ideal_s: Some(8.0),
        of_ideal_goal: Some(98.0),
        used_goal: None,
    }],
    &[
        Scenario {
            name: "W3: 6,000 RPM as a bucket of 1 s, 3,000 requests, by default",
            workload: SHORT_3000,
            mock: RPM_6000,
            run: &["--rpm", "6000"],
            ideal_s: Some(29.99),
            of_ideal_goal: None,
            used_goal: Some(98.5),
        },
        Scenario {
            name: "W3 with `--limit-shape token-bucket`",
            workload: SHORT_3000,
            mock: RPM_6000,
            run: &["--rpm", "6000", "--limit-shape", "token-bucket"],
            ideal_s: Some(29.99),
            of_ideal_goal: None,
            used_goal: Some(99.5),
        },
        Scenario {
            name: "W5: 3,000,000 TPM as a bucket of 2 s, log-normal sizes, 3,000 requests, by default",
            workload: LOG_NORMAL_3000,
            mock: &["--tpm", "3M", "--burst", "2s", "--latency", "100ms"],
            run: &["--tpm", "3M"],
            ideal_s: None,
            of_ideal_goal: None,
            used_goal: Some(98.0),
        },
        Scenario {
            name: "W5 with unused tokens refunded, `--settle usage`",
            workload: LOG_NORMAL_3000,
            mock: &[
                "--tpm",
                "3M",
                "--burst",
                "2s",
                "--latency",
                "100ms",
                "--refund",
                "--output-tokens",
                "100",
                "--output-sigma",
                "0.5",
            ],
            run: &["--tpm", "3M", "--settle", "usage"],
            ideal_s: None,
            of_ideal_goal: None,
            used_goal: Some(98.0),
        },
    ],
    &[
        Scenario {
            name: "W4: 100,000 RPM, 100 ms latency, 20,000 requests, by default",
            workload: SHORT_20000,
            mock: RPM_100000,
            run: &["--rpm", "100000"],
            ideal_s: Some(12.0),
            of_ideal_goal: None,
            used_goal: Some(98.5),
        },
        Scenario {
            name: "W4 with `--limit-shape token-bucket`",
            workload: SHORT_20000,
            mock: RPM_100000,
            run: &["--rpm", "100000", "--limit-shape", "token-bucket"],
            ideal_s: Some(12.0),
            of_ideal_goal: None,
            used_goal: Some(99.5),
        },
    ],
];

/// Measures every scenario that is asked for.
pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let groups: Vec<Vec<&Scenario>> = GROUPS
        .iter()
        .map(|group| group.iter().filter(|of| bench.wants(of.name)).collect())
        .collect();
    if groups.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut measured: Vec<Vec<Vec<Measured>>> = groups.iter().map(|_| Vec::new()).collect();
    bench.rounds("limits", || {
        for (group, rounds) in groups.iter().zip(&mut measured) {
            rounds.push(measure_group(bench, group)?);
        }
        Ok(())
    })?;
    bench.report.section("Limits and latency");
    for (group, rounds) in groups.iter().zip(&measured) {
        for (index, scenario) in group.iter().enumerate() {
            let rounds: Vec<&Measured> = rounds.iter().filter_map(|of| of.get(index)).collect();
            for figure in figures(scenario, &rounds) {
                bench.report.add(figure);
            }
        }
    }
    bench.report.note(
        "limit used: (admitted less the first) ÷ (rate × time from the first to the last \
         admission), by the server's account. start: from the start of the process to the first \
         admission; tail: from the last admission to the end of the process.",
    );
    Ok(())
}

fn measure_group(bench: &Bench, group: &[&Scenario]) -> Result<Vec<Measured>> {
    for scenario in group {
        scenario.workload.write(&bench.folder)?;
    }
    let (binary, folder) = (bench.binary.as_path(), bench.folder.as_path());
    thread::scope(|scope| {
        let running: Vec<_> = group
            .iter()
            .enumerate()
            .map(|(index, scenario)| scope.spawn(move || measure(binary, folder, scenario, index)))
            .collect();
        running
            .into_iter()
            .map(|run| run.join().map_err(|_| anyhow!("a measurement panicked"))?)
            .collect()
    })
}

fn measure(binary: &Path, folder: &Path, scenario: &Scenario, index: usize) -> Result<Measured> {
    let mock = Mock::start(binary, scenario.mock, None)?;
    let clock = mock.clock()?;
    let client = Client {
        binary,
        input: &scenario.workload.write(folder)?,
        output: folder.join(format!("limits-{index}.jsonl")),
        base_url: mock.base_url(),
        flags: scenario.run,
        core: None,
    };
    client.clear()?;
    let ran = client.run().with_context(|| scenario.name)?;
    client.clear()?;
    let stats = mock.stats()?;
    let admissions = clock.admissions(&stats)?;
    let used = stats["utilisation_requests"]
        .as_f64()
        .or_else(|| stats["utilisation_tokens"].as_f64());
    Ok(Measured {
        wall_s: ran.wall_s,
        used: used.map(|share| share * 100.0),
        throttled: stats["by_status"]["429"].as_f64().unwrap_or(0.0),
        start_s: admissions.first_s - ran.began_s,
        tail_s: ran.began_s + ran.wall_s - admissions.last_s,
        cpu_us: ran.cpu_s * 1e6 / scenario.workload.requests as f64,
        peak_mb: ran.peak_mb,
    })
}

fn figures(scenario: &Scenario, rounds: &[&Measured]) -> Vec<Figure> {
    let requests = scenario.workload.requests as f64;
    let of =
        |value: &dyn Fn(&Measured) -> f64| rounds.iter().copied().map(value).collect::<Vec<f64>>();
    let lower =
        |measure, unit, samples| Figure::new(scenario.name, measure, unit, Better::Lower, samples);
    let higher =
        |measure, unit, samples| Figure::new(scenario.name, measure, unit, Better::Higher, samples);
    let mut figures = vec![lower("wall", "s", of(&|round| round.wall_s))];
    if let Some(ideal_s) = scenario.ideal_s {
        let share = of(&|round| ideal_s / round.wall_s * 100.0);
        let mut figure = higher("ideal ÷ wall", "%", share);
        figure.goal = scenario.of_ideal_goal;
        figures.push(figure);
    }
    let used: Vec<f64> = rounds.iter().filter_map(|round| round.used).collect();
    if !used.is_empty() {
        let mut figure = higher("limit used", "%", used);
        figure.goal = scenario.used_goal;
        figures.push(figure);
        figures.push(lower("429s", "", of(&|round| round.throttled)).goal(0.0));
    }
    figures.extend([
        lower("start", "s", of(&|round| round.start_s)),
        lower("tail", "s", of(&|round| round.tail_s)),
        higher("rate", "req/s", of(&|round| requests / round.wall_s)),
        lower("CPU", "µs a request", of(&|round| round.cpu_us)),
        lower("peak memory", "MB", of(&|round| round.peak_mb)),
    ]);
    figures
}
