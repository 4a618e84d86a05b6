//! Memory and processor time as the number of requests grows, and how fast a rerun finds what is
//! done.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use anyhow::Result;

use crate::bench::Bench;
use crate::client::{Client, Ran, with_suffix};
use crate::figure::{Better, Figure};
use crate::mock::Mock;
use crate::workload::{Sizes, Workload};

const CONNECTIONS: u32 = 64;
/// Journal lines a second that a rerun has to go through.
const SCAN_GOAL_PER_S: f64 = 500_000.0;
/// Fewer lines than these take less time than starting.
const SCAN_JUDGED_FROM: u64 = 1_000_000;
/// Memory does not vary from round to round, and a round takes half a minute.
const MOST_ROUNDS: u32 = 3;

/// One round.
struct Measured {
    /// All requests.
    run: Ran,
    /// The same command when all are answered.
    again: Ran,
    /// From the start of the process to the first admission, when one answer near the beginning is
    /// missing: the scan of the journal is all that lies between.
    scan_s: f64,
}

/// 10⁴, 10⁵ and 10⁶ requests, and `more` if it is given.
pub(crate) fn run(bench: &mut Bench, more: Option<u64>) -> Result<()> {
    let sizes: Vec<(u64, String)> = [Some(10_000), Some(100_000), Some(1_000_000), more]
        .into_iter()
        .flatten()
        .map(|requests| (requests, name(requests)))
        .filter(|(_, name)| bench.wants(name))
        .collect();
    if sizes.is_empty() {
        return Ok(());
    }
    let mut measured: Vec<Vec<Measured>> = sizes.iter().map(|_| Vec::new()).collect();
    bench.rounds_up_to(MOST_ROUNDS, "scale", || {
        for ((requests, _), rounds) in sizes.iter().zip(&mut measured) {
            rounds.push(measure(bench, *requests)?);
        }
        Ok(())
    })?;
    bench.report.section("Scale");
    for ((requests, name), rounds) in sizes.iter().zip(&measured) {
        for figure in figures(*requests, name, rounds) {
            bench.report.add(figure);
        }
    }
    bench.report.note(
        "64 in flight. Memory is held against 60 MB + 48 B × requests + 40 KB × connections. \
         Again: the same command when everything is answered, which reads journal and input and \
         sends nothing; rows ÷ its whole time. Resume: an early answer is missing; lines of the \
         journal ÷ the time from the start of the process until its request is sent again.",
    );
    Ok(())
}

fn name(requests: u64) -> String {
    format!("{} requests", crate::figure::number(requests as f64))
}

fn measure(bench: &Bench, requests: u64) -> Result<Measured> {
    let workload = Workload {
        requests: usize::try_from(requests)?,
        sizes: Sizes::Short,
    };
    let mock = Mock::start(&bench.binary, &["--no-detail"], None)?;
    let client = Client {
        binary: &bench.binary,
        input: &workload.write(&bench.folder)?,
        output: bench.folder.join("scale.jsonl"),
        base_url: mock.base_url(),
        flags: &["--concurrency", &CONNECTIONS.to_string()],
        core: None,
    };
    client.clear()?;
    let run = client.run()?;
    let again = client.run()?;
    drop_first_line(&client.output)?;
    let clock = mock.clock()?;
    let resumed = client.run()?;
    let admissions = clock.admissions(&mock.stats()?)?;
    client.clear()?;
    Ok(Measured {
        run,
        again,
        scan_s: admissions.first_s - resumed.began_s,
    })
}

fn drop_first_line(path: &Path) -> Result<()> {
    let shorter = with_suffix(path, ".shorter");
    let mut lines = BufReader::new(File::open(path)?);
    lines.skip_until(b'\n')?;
    io::copy(&mut lines, &mut File::create(&shorter)?)?;
    fs::rename(shorter, path)?;
    Ok(())
}

fn figures(requests: u64, name: &str, rounds: &[Measured]) -> Vec<Figure> {
    let count = requests as f64;
    let of = |value: &dyn Fn(&Measured) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let lower = |measure, unit, samples| Figure::new(name, measure, unit, Better::Lower, samples);
    let higher = |measure, unit, samples| Figure::new(name, measure, unit, Better::Higher, samples);
    let mut scan = higher(
        "resume, scan of the journal",
        "lines/s",
        of(&|round| count / round.scan_s),
    );
    if requests >= SCAN_JUDGED_FROM {
        scan = scan.goal(SCAN_GOAL_PER_S);
    }
    vec![
        lower("wall", "s", of(&|round| round.run.wall_s)),
        lower(
            "CPU",
            "µs a request",
            of(&|round| round.run.cpu_s * 1e6 / count),
        ),
        lower("peak memory", "MB", of(&|round| round.run.peak_mb)).goal(memory_mb(requests)),
        scan,
        higher(
            "again, whole",
            "rows/s",
            of(&|round| count / round.again.wall_s),
        ),
        lower(
            "again, CPU",
            "µs a request",
            of(&|round| round.again.cpu_s * 1e6 / count),
        ),
        lower("again, peak memory", "MB", of(&|round| round.again.peak_mb))
            .goal(memory_mb(requests)),
    ]
}

/// What the design allows.
fn memory_mb(requests: u64) -> f64 {
    60.0 + (48.0 * requests as f64 + 40e3 * f64::from(CONNECTIONS)) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_design_allows_48_bytes_for_each_request() {
        assert_eq!(memory_mb(0), 62.56);
        assert!((memory_mb(1_000_000) - 110.56).abs() < 1e-9);
    }

    #[test]
    fn dropping_the_first_line_keeps_every_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        drop_first_line(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
    }

    #[test]
    fn the_scan_is_judged_only_where_starting_is_small_beside_it() {
        let ran = Ran {
            began_s: 0.0,
            wall_s: 1.0,
            cpu_s: 1.0,
            peak_mb: 10.0,
        };
        let judged = |requests| {
            let rounds = [Measured {
                run: ran,
                again: ran,
                scan_s: 1.0,
            }];
            figures(requests, "", &rounds)
                .iter()
                .any(|figure| figure.unit == "lines/s" && figure.goal.is_some())
        };
        assert!(!judged(100_000));
        assert!(judged(1_000_000));
    }
}
