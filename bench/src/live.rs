//! What is learnt of limits, by the real binary against `brimful mock` and its account: the rows of
//! `cargo xtask bench learn` in short.
//!
//! Each scenario runs for a while, its server may be changed meanwhile, and what is judged is the
//! last stretch alone. All run at the same time: each needs a few per cent of a processor.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::bench::Bench;
use crate::figure::{Better, Figure};
use crate::mock::{Mock, on_core};

/// One run against a mock of its own.
struct Scenario {
    name: &'static str,
    mock: &'static [&'static str],
    run: &'static [&'static str],
    /// Settings that change, and seconds after the start.
    changes: &'static [(u64, &'static str)],
    /// Seconds before what is judged.
    warm_s: u64,
    /// Seconds that are judged.
    judged_s: u64,
    /// Requests a second that could be admitted then.
    best_per_s: f64,
    /// Least share of that, in per cent.
    used_goal: f64,
    /// Most 429s, in per cent of what arrived then.
    refused_goal: f64,
}

/// What its last stretch gave, in per cent.
#[derive(Clone, Copy)]
struct Measured {
    used: f64,
    refused: f64,
}

const SILENT: &[&str] = &["--rpm", "6000", "--level-headers", "absent"];
const TOLD: &[&str] = &["--rpm", "6000", "--latency", "100ms"];

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "window of 60 s, not known, no headers",
        mock: &[
            "--rpm",
            "6000",
            "--level-headers",
            "absent",
            "--enforcement",
            "fixed",
        ],
        run: &["--rpm", "6000"],
        changes: &[],
        warm_s: 10,
        judged_s: 70,
        best_per_s: 100.0,
        used_goal: 98.5,
        refused_goal: 0.01,
    },
    Scenario {
        name: "window of 10 s, not known, no headers",
        mock: &[
            "--rpm",
            "6000",
            "--level-headers",
            "absent",
            "--enforcement",
            "fixed",
            "--judged-over",
            "10s",
        ],
        run: &["--rpm", "6000"],
        changes: &[],
        warm_s: 30,
        judged_s: 50,
        best_per_s: 100.0,
        used_goal: 98.0,
        refused_goal: 0.01,
    },
    Scenario {
        name: "window of 1 s, not known, no headers",
        mock: &[
            "--rpm",
            "6000",
            "--level-headers",
            "absent",
            "--enforcement",
            "fixed",
            "--judged-over",
            "1s",
        ],
        run: &["--rpm", "6000"],
        changes: &[],
        warm_s: 60,
        judged_s: 30,
        best_per_s: 100.0,
        used_goal: 95.0,
        refused_goal: 0.3,
    },
    Scenario {
        name: "headers, limit not given",
        mock: TOLD,
        run: &["--provider", "openai"],
        changes: &[],
        warm_s: 60,
        judged_s: 30,
        best_per_s: 100.0,
        used_goal: 98.0,
        refused_goal: 0.05,
    },
    Scenario {
        name: "headers, a foreign tenant that asks for 30 %",
        mock: &[
            "--rpm",
            "6000",
            "--latency",
            "100ms",
            "--burst",
            "60s",
            "--foreign-share",
            "0.3",
        ],
        run: &["--provider", "openai"],
        changes: &[],
        warm_s: 120,
        judged_s: 40,
        best_per_s: 70.0,
        used_goal: 98.0,
        refused_goal: 0.05,
    },
    Scenario {
        name: "limit not known, no headers",
        mock: SILENT,
        run: &[],
        changes: &[],
        warm_s: 120,
        judged_s: 40,
        best_per_s: 100.0,
        used_goal: 95.0,
        refused_goal: 0.2,
    },
    Scenario {
        name: "limit halves, headers",
        mock: TOLD,
        run: &["--provider", "openai"],
        changes: &[(40, r#"{"rpm":3000}"#)],
        warm_s: 100,
        judged_s: 30,
        best_per_s: 50.0,
        used_goal: 95.0,
        refused_goal: 0.2,
    },
    Scenario {
        name: "limit doubles, headers",
        mock: &["--rpm", "3000", "--latency", "100ms"],
        run: &["--provider", "openai"],
        changes: &[(40, r#"{"rpm":6000}"#)],
        warm_s: 100,
        judged_s: 30,
        best_per_s: 100.0,
        used_goal: 95.0,
        refused_goal: 0.2,
    },
    Scenario {
        name: "outage of 30 s",
        mock: TOLD,
        run: &["--rpm", "6000"],
        changes: &[
            (20, r#"{"outage":"unavailable"}"#),
            (50, r#"{"outage":null}"#),
        ],
        warm_s: 110,
        judged_s: 30,
        best_per_s: 100.0,
        used_goal: 95.0,
        refused_goal: 0.2,
    },
    Scenario {
        name: "a server that never refuses, best at 32 in flight",
        mock: &[
            "--latency",
            "200ms",
            "--latency-per-token",
            "50ms",
            "--saturation-in-flight",
            "32",
        ],
        run: &["--provider", "vllm"],
        changes: &[],
        warm_s: 90,
        judged_s: 40,
        best_per_s: 32.0,
        used_goal: 95.0,
        refused_goal: 0.0,
    },
    Scenario {
        name: "charges half of what is declared, headers",
        mock: &["--tpm", "240k", "--charge", "max", "--latency", "100ms"],
        run: &[
            "--provider",
            "openai",
            "--charge",
            "sum",
            "--param",
            "max_tokens=40",
        ],
        changes: &[],
        warm_s: 120,
        judged_s: 40,
        best_per_s: 100.0,
        used_goal: 95.0,
        refused_goal: 0.2,
    },
];

/// Measures every scenario that is asked for, once.
pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let wanted: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| bench.wants(scenario.name))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut rounds: Vec<Vec<Measured>> = Vec::new();
    bench.rounds("live", || {
        let (binary, folder) = (bench.binary.as_path(), bench.folder.as_path());
        rounds.push(thread::scope(|scope| {
            let running: Vec<_> = wanted
                .iter()
                .enumerate()
                .map(|(index, scenario)| {
                    scope.spawn(move || measure(binary, folder, scenario, index))
                })
                .collect();
            running
                .into_iter()
                .map(|run| run.join().map_err(|_| anyhow!("a measurement panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?);
        Ok(())
    })?;
    bench
        .report
        .section("Learning: the real binary, by the server's account");
    for (index, scenario) in wanted.iter().enumerate() {
        let of = |value: fn(&Measured) -> f64| -> Vec<f64> {
            rounds.iter().map(|round| value(&round[index])).collect()
        };
        let figure =
            |measure, better, samples| Figure::new(scenario.name, measure, "%", better, samples);
        bench.report.add(
            figure("of what could be admitted", Better::Higher, of(|m| m.used))
                .goal(scenario.used_goal),
        );
        bench
            .report
            .add(figure("429s", Better::Lower, of(|m| m.refused)).goal(scenario.refused_goal));
    }
    bench.report.note(
        "by the last stretch of each run, after what there is to learn was to be learnt; \
         `cargo xtask bench learn` has all of it in virtual time, with twenty seeds.",
    );
    Ok(())
}

fn measure(binary: &Path, folder: &Path, scenario: &Scenario, index: usize) -> Result<Measured> {
    let mock = Mock::start(binary, scenario.mock, None)?;
    let output = folder.join(format!("live-{index}"));
    // What an earlier run has learnt is what this one is to find out.
    if output.exists() {
        fs::remove_dir_all(&output)?;
    }
    fs::create_dir_all(&output)?;
    let started = Instant::now();
    let mut client = start(binary, scenario, &mock, &output)?;
    for (at_s, settings) in scenario.changes {
        wait_until(started, *at_s);
        mock.configure(settings)?;
    }
    wait_until(started, scenario.warm_s);
    mock.forget()?;
    let judged = Instant::now();
    thread::sleep(Duration::from_secs(scenario.judged_s));
    let stats = mock.stats()?;
    let judged_s = judged.elapsed().as_secs_f64();
    client.kill()?;
    client.wait()?;
    fs::remove_dir_all(&output)?;
    let of_status = |status: &str| stats["by_status"][status].as_f64().unwrap_or(0.0);
    let admitted = stats["requests_admitted"]
        .as_f64()
        .context("the account says what was admitted")?;
    let arrived = (admitted + of_status("429")).max(1.0);
    Ok(Measured {
        used: admitted / judged_s / scenario.best_per_s * 100.0,
        refused: of_status("429") / arrived * 100.0,
    })
}

/// A run that does not end by itself.
fn start(binary: &Path, scenario: &Scenario, mock: &Mock, folder: &Path) -> Result<Child> {
    on_core(binary, None)
        .args([
            "run",
            "--repeat",
            "10M",
            "--prompt",
            "x {{ index }}",
            "--model",
            "m",
        ])
        .args(["--base-url", mock.base_url(), "--progress", "none"])
        .args(["--durability", "process", "--no-state", "-o"])
        .arg(folder.join("out.jsonl"))
        .args(scenario.run)
        .env("OPENAI_API_KEY", "bench")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start `brimful run`")
}

fn wait_until(started: Instant, at_s: u64) {
    thread::sleep(Duration::from_secs(at_s).saturating_sub(started.elapsed()));
}
