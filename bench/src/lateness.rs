//! Dispatch lateness: how long after its due instant an attempt is started, and arrives.
//!
//! The trace has the instant of each start, but not the one from which it was allowed; that follows
//! from the limit, which the program is told with its shape: starts are due in equal steps. What
//! arrives is seen by a server of the bench's own, which answers at once and keeps the instants.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Deserialize;

use self::recorder::Recorder;
use crate::bench::Bench;
use crate::client::{Client, with_suffix};
use crate::figure::{Better, Figure};
use crate::workload::{Sizes, Workload};

mod recorder;

/// What a stall of the program may catch up on (`docs/design/limits.md`); what is missed beyond is
/// given up, and starts are due from there on.
const CATCH_UP_S: f64 = 0.05;

struct Scenario {
    name: &'static str,
    rpm: u32,
    workload: Workload,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "lateness at 100 requests/s",
        rpm: 6_000,
        workload: short(600),
    },
    Scenario {
        name: "lateness at 1,667 requests/s",
        rpm: 100_000,
        workload: short(8_000),
    },
    Scenario {
        name: "lateness at 10,000 requests/s",
        rpm: 600_000,
        workload: short(30_000),
    },
];

const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

const fn short(requests: usize) -> Workload {
    Workload {
        requests,
        sizes: Sizes::Short,
    }
}

/// Seconds of lateness at each of [`PERCENTILES`].
struct Measured {
    start: [f64; 3],
    arrival: [f64; 3],
    forgiven: usize,
}

/// When each start was due.
#[derive(Debug, Default)]
struct Schedule {
    due_s: Vec<f64>,
    /// Starts so late that what was missed beyond [`CATCH_UP_S`] was given up; those behind them
    /// are held against what was left.
    forgiven: usize,
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let scenarios: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|scenario| bench.wants(scenario.name))
        .collect();
    if scenarios.is_empty() {
        return Ok(());
    }
    let mut measured: Vec<Vec<Measured>> = scenarios.iter().map(|_| Vec::new()).collect();
    bench.rounds("lateness", || {
        for (scenario, rounds) in scenarios.iter().zip(&mut measured) {
            rounds.push(measure(bench, scenario)?);
        }
        Ok(())
    })?;
    bench.report.section("Dispatch lateness");
    for (scenario, rounds) in scenarios.iter().zip(&measured) {
        for (index, (percentile, _)) in PERCENTILES.into_iter().enumerate() {
            let micros = |of: fn(&Measured) -> &[f64; 3]| {
                rounds.iter().map(|round| of(round)[index] * 1e6).collect()
            };
            for (what, samples) in [
                ("start", micros(|round| &round.start)),
                ("arrival", micros(|round| &round.arrival)),
            ] {
                let measure = format!("{what} {percentile}");
                bench.report.add(Figure::new(
                    scenario.name,
                    &measure,
                    "µs",
                    Better::Lower,
                    samples,
                ));
            }
        }
        let forgiven = rounds.iter().map(|round| round.forgiven as f64).collect();
        bench.report.add(Figure::new(
            scenario.name,
            "stalls forgiven",
            "",
            Better::Lower,
            forgiven,
        ));
    }
    bench.report.note(
        "start: by the trace, after the instant at which the limit allowed it; arrival: at a server \
         on the same machine, after the same instant. The limit is declared as a token bucket, so \
         that starts are due in equal steps; the earliest start of a run counts as on time, so that \
         a delay which all starts share is seen in neither. What a stall misses beyond 50 ms is \
         forgiven: it is in the lateness of the first start behind it, not of the others.",
    );
    Ok(())
}

fn measure(bench: &Bench, scenario: &Scenario) -> Result<Measured> {
    let server = Recorder::start()?;
    let output = bench.folder.join("lateness.jsonl");
    let trace = with_suffix(&output, ".trace");
    let client = Client {
        binary: &bench.binary,
        input: &scenario.workload.write(&bench.folder)?,
        output,
        base_url: server.base_url(),
        flags: &[
            "--rpm",
            &scenario.rpm.to_string(),
            "--limit-shape",
            "token-bucket",
            "--trace",
            &trace.to_string_lossy(),
        ],
        core: None,
    };
    client.clear()?;
    client.run()?;
    let mut starts = starts_s(&trace)?;
    client.clear()?;
    let mut arrivals = server.stop()?;
    starts.sort_by(f64::total_cmp);
    arrivals.sort_by(f64::total_cmp);
    let schedule = schedule(&starts, 60.0 / f64::from(scenario.rpm));
    Ok(Measured {
        start: percentiles_s(&schedule.due_s, &starts)?,
        arrival: percentiles_s(&schedule.due_s, &arrivals)?,
        forgiven: schedule.forgiven,
    })
}

fn starts_s(trace: &Path) -> Result<Vec<f64>> {
    #[derive(Deserialize)]
    struct Line {
        started_ms: f64,
    }
    let text = fs::read_to_string(trace).context("cannot read the trace")?;
    text.lines()
        .map(|line| Ok(serde_json::from_str::<Line>(line)?.started_ms / 1e3))
        .collect()
}

/// When each start was due: one step after the one before, or after what a stall gave up. Shifted
/// so that no start is early: the first start tells only roughly when the schedule began.
fn schedule(starts: &[f64], step: f64) -> Schedule {
    let mut schedule = Schedule::default();
    let due = &mut schedule.due_s;
    let mut next = starts.first().copied().unwrap_or_default();
    for &start in starts {
        due.push(next);
        // A microsecond more, so that rounding is no stall.
        schedule.forgiven += usize::from(start - CATCH_UP_S > next + 1e-6);
        next = next.max(start - CATCH_UP_S) + step;
    }
    let early = starts
        .iter()
        .zip(due.iter())
        .map(|(start, due)| due - start)
        .fold(0.0, f64::max);
    due.iter_mut().for_each(|due| *due -= early);
    schedule
}

/// Percentiles of how much later than due the first, second … of what happened was.
fn percentiles_s(due: &[f64], happened: &[f64]) -> Result<[f64; 3]> {
    let mut lateness = Histogram::<u64>::new(3)?;
    for (due, happened) in due.iter().zip(happened) {
        lateness.record(((happened - due).max(0.0) * 1e9) as u64)?;
    }
    Ok(PERCENTILES.map(|(_, share)| lateness.value_at_quantile(share) as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Face, Load};

    fn rounded(times: &[f64]) -> Vec<i64> {
        times
            .iter()
            .map(|time| (time * 1e6).round() as i64)
            .collect()
    }

    #[test]
    fn starts_are_due_in_equal_steps_from_the_earliest() {
        // The first is 3 ms late, so the second, which is on time, seems early.
        let starts = [10.003, 10.010, 10.025];
        let schedule = schedule(&starts, 0.01);
        assert_eq!(rounded(&schedule.due_s), rounded(&[10.0, 10.01, 10.02]));
        assert_eq!(schedule.forgiven, 0);
    }

    #[test]
    fn what_a_stall_missed_beyond_the_catching_up_is_not_due_any_more() {
        let starts = [10.0, 10.2, 10.21];
        let schedule = schedule(&starts, 0.01);
        assert_eq!(rounded(&schedule.due_s), rounded(&[10.0, 10.01, 10.16]));
        assert_eq!(
            schedule.forgiven, 1,
            "one stall, however many starts were missed"
        );
    }

    #[test]
    fn a_stall_that_can_be_caught_up_on_is_not_forgiven() {
        let starts = [10.0, 10.055, 10.056, 10.2, 10.5];
        assert_eq!(schedule(&starts, 0.01).forgiven, 2);
    }

    #[test]
    fn percentiles_are_those_of_the_lateness() {
        let due: Vec<f64> = (0..1000).map(f64::from).collect();
        let happened: Vec<f64> = (0..1000)
            .map(|k| f64::from(k) + f64::from(k) * 1e-5)
            .collect();
        let [p50, p99, p999] = percentiles_s(&due, &happened).unwrap();
        for (value, expected) in [(p50, 0.005), (p99, 0.0099), (p999, 0.00999)] {
            assert!((value / expected - 1.0).abs() < 0.01, "{value} {expected}");
        }
    }

    #[test]
    fn every_request_of_the_bare_client_arrives_once() {
        let folder = tempfile::tempdir().unwrap();
        let input = short(50).write(folder.path()).unwrap();
        for face in [Face::Pooled, Face::Connection] {
            let server = Recorder::start().unwrap();
            let load = Load {
                url: server.base_url().parse().unwrap(),
                input: input.clone(),
                in_flight: 8,
                face,
            };
            assert_eq!(load.run().unwrap().requests, 50, "{face:?}");
            assert_eq!(server.stop().unwrap().len(), 50, "{face:?}");
        }
    }

    #[test]
    fn nothing_that_happened_has_no_lateness() {
        assert_eq!(percentiles_s(&[], &[]).unwrap(), [0.0; 3]);
        assert!(schedule(&[], 0.01).due_s.is_empty());
    }
}
