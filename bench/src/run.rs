//! End-to-end figures: the real binary against `brimful mock`, judged by the mock's own account.
//!
//! Every limit-bound scenario prints its ratio to the ideal time of the same run: what the limit
//! itself takes. Absolute rates are of this machine, which the server shares.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::mock::Mock;
use crate::workload::{self, Workload};

/// One run against a fresh mock.
struct Scenario {
    name: &'static str,
    workload: Workload,
    mock: &'static [&'static str],
    run: &'static [&'static str],
    /// Seconds that the limit itself takes; `None` when nothing limits.
    ideal_s: Option<f64>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "no limit, no latency, 64 in flight",
        workload: Workload {
            requests: 500_000,
            sizes: workload::Sizes::Short,
        },
        mock: &["--no-detail"],
        run: &["--concurrency", "64"],
        ideal_s: None,
    },
    Scenario {
        name: "200 ms latency, 500 in flight",
        workload: Workload {
            requests: 20_000,
            sizes: workload::Sizes::Short,
        },
        mock: &["--latency", "200ms"],
        run: &["--concurrency", "500"],
        ideal_s: Some(8.0),
    },
    Scenario {
        name: "6,000 RPM (bucket of 1 s), paced",
        workload: Workload {
            requests: 3_000,
            sizes: workload::Sizes::Short,
        },
        mock: &[
            "--rpm",
            "6000",
            "--latency",
            "40ms",
            "--latency-sigma",
            "0.5",
        ],
        run: &["--rpm", "6000"],
        ideal_s: Some(29.99),
    },
    Scenario {
        name: "6,000 RPM (bucket of 1 s), shape declared",
        workload: Workload {
            requests: 3_000,
            sizes: workload::Sizes::Short,
        },
        mock: &[
            "--rpm",
            "6000",
            "--latency",
            "40ms",
            "--latency-sigma",
            "0.5",
        ],
        run: &["--rpm", "6000", "--limit-shape", "token-bucket"],
        ideal_s: Some(29.99),
    },
    Scenario {
        name: "100,000 RPM, 100 ms latency, paced",
        workload: Workload {
            requests: 20_000,
            sizes: workload::Sizes::Short,
        },
        mock: &["--rpm", "100000", "--latency", "100ms"],
        run: &["--rpm", "100000"],
        ideal_s: Some(12.0),
    },
    Scenario {
        name: "3,000,000 TPM (bucket of 2 s), log-normal sizes, paced",
        workload: Workload {
            requests: 3_000,
            sizes: workload::Sizes::LogNormal,
        },
        mock: &["--tpm", "3M", "--burst", "2s", "--latency", "100ms"],
        run: &["--tpm", "3M"],
        ideal_s: None,
    },
    Scenario {
        name: "the same with refund of unused tokens",
        workload: Workload {
            requests: 3_000,
            sizes: workload::Sizes::LogNormal,
        },
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
    },
    Scenario {
        name: "1,000,000 requests, for memory",
        workload: Workload {
            requests: 1_000_000,
            sizes: workload::Sizes::Short,
        },
        mock: &["--no-detail"],
        run: &["--concurrency", "64"],
        ideal_s: None,
    },
];

/// Runs every scenario whose name contains `filter`.
pub(crate) fn run(root: &Path, filter: &str) -> Result<()> {
    let binary = binary()?;
    let folder = root.join("target").join("bench");
    fs::create_dir_all(&folder)?;
    println!(
        "{:<55} {:>9} {:>8} {:>9} {:>8} {:>6} {:>7} {:>8}",
        "", "wall s", "of ideal", "of limit", "req/s", "429s", "CPU µs", "peak MB"
    );
    let mut ran = 0;
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(filter))
    {
        measure(&binary, &folder, scenario)?;
        ran += 1;
    }
    if "kill -9".contains(filter) {
        kill(&binary, &folder)?;
        ran += 1;
    }
    ensure!(ran > 0, "no scenario is called `{filter}`");
    println!(
        "\nof ideal: the time that the limit or latency alone takes ÷ wall time. of limit: share of \
         the limit used, by the\nserver's account. CPU µs: of the client, for each request. peak MB: of \
         the client."
    );
    Ok(())
}

/// `brimful`, built into the same folder as this executable.
fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("brimful");
    ensure!(binary.exists(), "{} is not built", binary.display());
    Ok(binary)
}

fn measure(binary: &Path, folder: &Path, scenario: &Scenario) -> Result<()> {
    let input = scenario.workload.write(folder)?;
    let output = fresh_output(folder)?;
    let mock = Mock::start(binary, scenario.mock)?;
    let started = Instant::now();
    let status = client(binary, &input, &output, &mock, scenario.run).status()?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(status.success(), "`{}` ended with {status}", scenario.name);
    let stats = mock.stats()?;
    let requests = scenario.workload.requests as f64;
    let ideal = scenario
        .ideal_s
        .map_or_else(|| "–".to_owned(), |ideal| percent(ideal / wall));
    let used = stats["utilisation_requests"]
        .as_f64()
        .or_else(|| stats["utilisation_tokens"].as_f64());
    let used = used.map_or_else(|| "–".to_owned(), percent);
    let summary = fs::read(folder.join("answers.jsonl.summary.json"))?;
    let used_up = &serde_json::from_slice::<Value>(&summary)?["resources"];
    let cpu_s = used_up["cpu_s"].as_f64().unwrap_or_default();
    let peak_mb = used_up["peak_memory_bytes"].as_f64().unwrap_or_default() / 1e6;
    println!(
        "{:<55} {wall:>9.2} {ideal:>8} {used:>9} {:>8.0} {:>6} {:>7.1} {peak_mb:>8.0}",
        scenario.name,
        requests / wall,
        stats["by_status"]["429"].as_u64().unwrap_or(0),
        cpu_s * 1e6 / requests,
    );
    Ok(())
}

/// 3,000 requests at 200 ms and 64 in flight: killed after 5 s, run again; what was paid twice?
fn kill(binary: &Path, folder: &Path) -> Result<()> {
    let workload = Workload {
        requests: 3_000,
        sizes: workload::Sizes::Short,
    };
    let input = workload.write(folder)?;
    let output = fresh_output(folder)?;
    let mock = Mock::start(binary, &["--latency", "200ms"])?;
    let flags = ["--concurrency", "64"];
    let mut first = client(binary, &input, &output, &mock, &flags).spawn()?;
    thread::sleep(Duration::from_secs(5));
    first.kill()?;
    first.wait()?;
    let kept = fs::read(&output)?
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count() as u64;
    let in_flight = mock.stats()?["requests_admitted"].as_u64().unwrap_or(0) - kept;
    let status = client(binary, &input, &output, &mock, &flags).status()?;
    ensure!(status.success(), "the second run ended with {status}");
    let admitted = mock.stats()?["requests_admitted"].as_u64().unwrap_or(0);
    let lines = fs::read_to_string(&output)?;
    let ids: std::collections::BTreeSet<String> = lines.lines().filter_map(id_of).collect();
    let rows = lines.lines().count();
    if ids.len() != 3_000 || rows != 3_000 {
        bail!(
            "{rows} rows with {} different ids instead of 3,000",
            ids.len()
        );
    }
    println!(
        "kill -9 after 5 s, then run again (3,000 requests): {kept} answers kept, {in_flight} in \
         flight, {} sent again, {} journaled answers paid again, 3,000 rows",
        admitted - 3_000,
        (admitted - 3_000).saturating_sub(in_flight),
    );
    Ok(())
}

fn id_of(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["custom_id"].as_str()?.to_owned())
}

fn client(binary: &Path, input: &Path, output: &Path, mock: &Mock, flags: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .arg("run")
        .arg(input)
        .arg("-o")
        .arg(output)
        .args(["--base-url", mock.base_url()]);
    command
        .args(["--progress", "none"])
        .args(flags)
        .stderr(Stdio::null());
    command
}

/// The path of an output of which nothing is left.
fn fresh_output(folder: &Path) -> Result<PathBuf> {
    let output = folder.join("answers.jsonl");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("answers.jsonl") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(output)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
