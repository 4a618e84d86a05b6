//! The rivals that install from their registry, beside the program, in one run against one server.
//!
//! Each is a short script in `bench/peers` that uses its package as its documents say. The
//! server's account judges all of them alike; the scripts only say what they hold in hand.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use self::load::{LOADS, Load};
use crate::bench::Bench;
use crate::client::{Client, lines, since_1970_s};
use crate::figure::{Better, Figure};
use crate::mock::Mock;

mod load;

/// A run that takes longer is ended, and what it has reached is reported.
const LONGEST: Duration = Duration::from_secs(75);

/// One client.
struct Peer {
    name: &'static str,
    /// In `bench/peers`; `None` for the program itself.
    script: Option<&'static str>,
    /// With their versions, as pip takes them.
    packages: &'static [&'static str],
    /// Index of its share of the requests in [`Load::requests`].
    speed: Speed,
    /// Whether the pattern is ours, with a client library below it.
    by_hand: bool,
    /// Whether the shape of the limit is declared to it, which only the program can be told.
    shape: bool,
}

/// How many requests fill some ten seconds where nothing limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speed {
    Program,
    HandMade,
    Fast,
    Slow,
}

const PEERS: &[Peer] = &[
    Peer {
        name: "brimful",
        script: None,
        packages: &[],
        speed: Speed::Program,
        by_hand: false,
        shape: false,
    },
    Peer {
        name: "brimful, `--limit-shape token-bucket`",
        script: None,
        packages: &[],
        speed: Speed::Program,
        by_hand: false,
        shape: true,
    },
    Peer {
        name: "aiohttp, by hand",
        script: Some("aiohttp_pattern.py"),
        packages: &["aiohttp==3.14.5"],
        speed: Speed::HandMade,
        by_hand: true,
        shape: false,
    },
    Peer {
        name: "flexllm 0.17.10",
        script: Some("flexllm_batch.py"),
        packages: &["flexllm==0.17.10"],
        speed: Speed::Fast,
        by_hand: false,
        shape: false,
    },
    Peer {
        name: "async-batch-llm 0.28.0",
        script: Some("async_batch_llm_stream.py"),
        packages: &["async-batch-llm==0.28.0", "openai==2.54.0"],
        speed: Speed::Slow,
        by_hand: false,
        shape: false,
    },
    Peer {
        name: "rate_limited 0.4.0 with httpx",
        script: Some("rate_limited_httpx.py"),
        packages: &["rate-limited==0.4.0", "httpx==0.28.1"],
        speed: Speed::Slow,
        by_hand: false,
        shape: false,
    },
    Peer {
        name: "litellm 1.106.2, Router",
        script: Some("litellm_router.py"),
        packages: &["litellm==1.106.2", "openai==2.54.0"],
        speed: Speed::Slow,
        by_hand: false,
        shape: false,
    },
    Peer {
        name: "openai 2.54.0, workers by hand",
        script: Some("openai_workers.py"),
        packages: &["openai==2.54.0"],
        speed: Speed::Slow,
        by_hand: true,
        shape: false,
    },
];

/// What one run gave.
struct Measured {
    requests: u64,
    wall_s: f64,
    /// Admitted a second from the first to the last admission: without start, import and tail.
    per_s: f64,
    used: Option<f64>,
    throttled: f64,
    /// Requests without an answer in the client's hands.
    lost: u64,
    /// Whether it was ended because it took too long.
    cut: bool,
    start_s: f64,
    tail_s: f64,
    cpu_s: f64,
    peak_mb: f64,
}

/// The line that a script prints.
#[derive(Debug, PartialEq, Deserialize)]
struct Line {
    answered: u64,
    cpu_s: f64,
    peak_bytes: f64,
}

/// Measures what is asked for, one client after the other, round by round.
pub(crate) fn run(bench: &mut Bench, root: &Path) -> Result<()> {
    let loads: Vec<&Load> = LOADS.iter().filter(|load| bench.wants(load.name)).collect();
    if loads.is_empty() {
        return Ok(());
    }
    let python = Python::new(
        &bench.folder.join("peers"),
        &root.join("bench").join("peers"),
    )?;
    let mut missing = Vec::new();
    let mut present = Vec::new();
    for peer in PEERS {
        match python.install(peer.packages) {
            Ok(()) => present.push(peer),
            Err(error) => missing.push(format!("{}: did not install: {error:#}", peer.name)),
        }
    }
    for load in loads {
        let peers: Vec<&Peer> = present
            .iter()
            .copied()
            .filter(|peer| !peer.shape || load.rpm.is_some() || load.tpm.is_some())
            .collect();
        let mut measured: Vec<Vec<Measured>> = peers.iter().map(|_| Vec::new()).collect();
        bench.rounds(load.name, || {
            for (peer, rounds) in peers.iter().zip(&mut measured) {
                eprintln!("  {}", peer.name);
                rounds.push(measure(bench, &python, load, peer)?);
            }
            Ok(())
        })?;
        bench.report.section(load.name);
        for (peer, rounds) in peers.iter().zip(&measured) {
            for figure in figures(load, peer, rounds) {
                bench.report.add(figure);
            }
        }
        // Where a limit holds all, a higher rate is no merit.
        if load.best_goal.is_some() {
            for figure in against_best(load, &peers, &measured) {
                bench.report.add(figure);
            }
        }
        for line in &missing {
            bench.report.note(line);
        }
    }
    bench.report.note(
        "rate, limit used and 429s by the server's account; rate without start and tail. CPU: of a \
         script once its packages are imported and the requests read, of the program from the start \
         of its process. Peak memory: of the whole process, with packages and requests. Only the \
         program writes what it receives to a file. A run is cut after 75 s. In W1 and W4 slow \
         clients have fewer requests; their rate is what counts there.",
    );
    Ok(())
}

fn measure(bench: &Bench, python: &Python, load: &Load, peer: &Peer) -> Result<Measured> {
    let input = load.workload.write(&bench.folder)?;
    let mock = Mock::start(&bench.binary, load.mock, None)?;
    let clock = mock.clock()?;
    let began_s = since_1970_s()?;
    let (ended, requests) = match peer.script {
        Some(script) => {
            let requests = load.requests(peer.speed);
            (python.run(script, load, &mock, &input, requests)?, requests)
        }
        None => (
            program(bench, load, peer, &mock, &input)?,
            load.workload.requests as u64,
        ),
    };
    let stats = mock.stats()?;
    let admissions = clock.admissions(&stats)?;
    let admitted = stats["requests_admitted"].as_f64().unwrap_or(0.0);
    let used = stats["utilisation_tokens"]
        .as_f64()
        .or_else(|| stats["utilisation_requests"].as_f64());
    Ok(Measured {
        requests,
        wall_s: ended.wall_s,
        per_s: (admitted - 1.0) / (admissions.last_s - admissions.first_s),
        used: used.map(|share| share * 100.0),
        throttled: stats["by_status"]["429"].as_f64().unwrap_or(0.0),
        lost: requests.saturating_sub(ended.answered),
        cut: ended.cut,
        start_s: admissions.first_s - began_s,
        tail_s: began_s + ended.wall_s - admissions.last_s,
        cpu_s: ended.cpu_s,
        peak_mb: ended.peak_mb,
    })
}

/// How a client ended.
struct Ended {
    answered: u64,
    wall_s: f64,
    cpu_s: f64,
    peak_mb: f64,
    cut: bool,
}

fn program(bench: &Bench, load: &Load, peer: &Peer, mock: &Mock, input: &Path) -> Result<Ended> {
    let mut flags: Vec<String> = Vec::new();
    for (flag, limit) in [("--rpm", load.rpm), ("--tpm", load.tpm)] {
        if let Some(limit) = limit {
            flags.extend([flag.to_owned(), limit.to_string()]);
        }
    }
    if flags.is_empty() {
        flags.extend(["--concurrency".to_owned(), load.in_flight.to_string()]);
    }
    if peer.shape {
        flags.extend(["--limit-shape".to_owned(), "token-bucket".to_owned()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let client = Client {
        binary: &bench.binary,
        input,
        output: bench.folder.join("peers-answers.jsonl"),
        base_url: mock.base_url(),
        flags: &flags,
        core: None,
    };
    client.clear()?;
    let ran = client.run()?;
    let answered = lines(&client.output)?;
    client.clear()?;
    Ok(Ended {
        answered,
        wall_s: ran.wall_s,
        cpu_s: ran.cpu_s,
        peak_mb: ran.peak_mb,
        cut: false,
    })
}

/// A virtual environment for the packages.
struct Python {
    folder: PathBuf,
    scripts: PathBuf,
}

impl Python {
    fn new(folder: &Path, scripts: &Path) -> Result<Self> {
        let python = Self {
            folder: std::path::absolute(folder)?,
            scripts: scripts.to_owned(),
        };
        if !python.executable().exists() {
            let made = Command::new("python3")
                .args(["-m", "venv"])
                .arg(&python.folder)
                .status()
                .context("cannot start python3, which the rivals need")?;
            ensure!(made.success(), "`python3 -m venv` ended with {made}");
        }
        Ok(python)
    }

    fn executable(&self) -> PathBuf {
        self.folder.join("bin").join("python")
    }

    /// Installs them unless this environment has them already.
    fn install(&self, packages: &[&str]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let marker = self
            .folder
            .join(format!("{}.installed", packages.join("+")));
        if marker.exists() {
            return Ok(());
        }
        eprintln!("installing {}", packages.join(" "));
        let output = Command::new(self.executable())
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages)
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{}", text.lines().last().unwrap_or("pip gave no reason"));
        }
        fs::write(marker, "")?;
        Ok(())
    }

    fn run(
        &self,
        script: &str,
        load: &Load,
        mock: &Mock,
        input: &Path,
        requests: u64,
    ) -> Result<Ended> {
        let mut command = Command::new(self.executable());
        command
            .arg(self.scripts.join(script))
            .args(["--url", mock.base_url(), "--input"])
            .arg(input)
            .args(["--in-flight", &load.in_flight.to_string()])
            .args(["--requests", &requests.to_string()]);
        for (flag, limit) in [("--rpm", load.rpm), ("--tpm", load.tpm)] {
            if let Some(limit) = limit {
                command.args([flag, &limit.to_string()]);
            }
        }
        let started = Instant::now();
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let cut = wait(&mut process)?;
        let wall_s = started.elapsed().as_secs_f64();
        let mut text = String::new();
        if let Some(mut stdout) = process.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        let line = last_line(&text).with_context(|| format!("{script} gave no result"))?;
        Ok(Ended {
            answered: line.answered,
            wall_s,
            cpu_s: line.cpu_s,
            peak_mb: line.peak_bytes / 1e6,
            cut,
        })
    }
}

/// Waits for the end, for [`LONGEST`] at most; whether it had to be asked to end.
fn wait(process: &mut Child) -> Result<bool> {
    let started = Instant::now();
    let mut asked = false;
    loop {
        if process.try_wait()?.is_some() {
            return Ok(asked);
        }
        let late = started.elapsed();
        if late > LONGEST + Duration::from_secs(10) {
            process.kill()?;
        } else if late > LONGEST && !asked {
            let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            kill_process(id.context("a process has an id")?, Signal::TERM)?;
            asked = true;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The result among whatever else a package has printed.
fn last_line(text: &str) -> Option<Line> {
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
}

fn figures(load: &Load, peer: &Peer, rounds: &[Measured]) -> Vec<Figure> {
    let of = |value: &dyn Fn(&Measured) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let higher =
        |measure, unit, samples| Figure::new(peer.name, measure, unit, Better::Higher, samples);
    let lower =
        |measure, unit, samples| Figure::new(peer.name, measure, unit, Better::Lower, samples);
    let program = peer.script.is_none();
    let cut = rounds.iter().any(|round| round.cut);
    let wall = if cut { "wall, cut" } else { "wall" };
    let mut figures = vec![
        lower(wall, "s", of(&|round| round.wall_s)),
        higher("rate", "req/s", of(&|round| round.per_s)),
    ];
    if let Some(ideal_per_s) = load.ideal_per_s {
        // Of a run that was cut, what it answered until then.
        let share = |of_s: &dyn Fn(&Measured) -> f64| {
            of(&|round| (round.requests - round.lost) as f64 / of_s(round) / ideal_per_s * 100.0)
        };
        let whole = share(&|round| round.wall_s);
        let mut figure = higher("of the ideal rate, start and tail included", "%", whole);
        figure.goal = load.of_ideal_goal.filter(|_| program);
        figures.push(figure);
        let started = share(&|round| round.wall_s - round.start_s);
        figures.push(higher("of the ideal rate, without the start", "%", started));
    }
    let used: Vec<f64> = rounds.iter().filter_map(|round| round.used).collect();
    if !used.is_empty() {
        let mut figure = higher("limit used", "%", used);
        let goal = if peer.shape {
            load.shape_goal
        } else {
            load.used_goal
        };
        figure.goal = goal.filter(|_| program);
        figures.push(figure);
        let mut figure = lower("429s", "", of(&|round| round.throttled));
        figure.goal = program.then_some(0.0);
        figures.push(figure);
    }
    let lost = if cut { "unfinished" } else { "rows lost" };
    figures.extend([
        lower(lost, "", of(&|round| round.lost as f64)),
        lower("start", "s", of(&|round| round.start_s)),
        lower("tail", "s", of(&|round| round.tail_s)),
        lower(
            "CPU",
            "s per 1,000",
            of(&|round| round.cpu_s * 1e3 / (round.requests - round.lost).max(1) as f64),
        ),
        lower("peak memory", "MB", of(&|round| round.peak_mb)),
    ]);
    figures
}

/// The program's rate ÷ that of the fastest of the others: of all, and of the packages alone.
fn against_best(load: &Load, peers: &[&Peer], measured: &[Vec<Measured>]) -> Vec<Figure> {
    let all = || peers.iter().zip(measured);
    let ratio = |scenario, among: &dyn Fn(&Peer) -> bool| {
        let (_, own) = all().find(|(peer, _)| peer.script.is_none())?;
        let best = all()
            .filter(|(peer, _)| peer.script.is_some() && among(peer))
            .map(|(_, rounds)| rounds)
            .max_by(|one, other| median_rate(one).total_cmp(&median_rate(other)))?;
        let ratios = own
            .iter()
            .zip(best)
            .map(|(own, best)| own.per_s / best.per_s)
            .collect();
        Some(Figure::new(scenario, "rate", "×", Better::Higher, ratios))
    };
    let mut of_all = ratio("brimful ÷ the best of all others", &|_| true);
    if let Some(figure) = &mut of_all {
        figure.goal = load.best_goal;
    }
    let of_packages = ratio("brimful ÷ the best of the packages", &|peer| !peer.by_hand);
    of_all.into_iter().chain(of_packages).collect()
}

fn median_rate(rounds: &[Measured]) -> f64 {
    let rates = rounds.iter().map(|round| round.per_s).collect();
    Figure::new("", "", "", Better::Higher, rates).median()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_s: f64) -> Measured {
        Measured {
            requests: 10,
            wall_s: 2.0,
            per_s,
            used: None,
            throttled: 0.0,
            lost: 0,
            cut: false,
            start_s: 0.0,
            tail_s: 0.0,
            cpu_s: 1.0,
            peak_mb: 1.0,
        }
    }

    #[test]
    fn a_result_is_found_among_what_a_package_prints() {
        let text = "warming up\n{\"answered\": 7, \"cpu_s\": 0.5, \"peak_bytes\": 1e6}\nbye\n{}\n";
        let expected = Line {
            answered: 7,
            cpu_s: 0.5,
            peak_bytes: 1e6,
        };
        assert_eq!(last_line(text), Some(expected));
        assert_eq!(last_line("Traceback\n"), None);
    }

    #[test]
    fn the_best_of_the_others_is_the_fastest_and_never_the_program_itself() {
        let peers = [&PEERS[0], &PEERS[2], &PEERS[3]];
        let rounds = [
            vec![measured(900.0), measured(1000.0), measured(1100.0)],
            vec![measured(100.0), measured(100.0), measured(110.0)],
            vec![measured(50.0), measured(60.0), measured(200.0)],
        ];
        let ratios: Vec<Vec<f64>> = against_best(&LOADS[0], &peers, &rounds)
            .into_iter()
            .map(|figure| figure.samples)
            .collect();
        assert_eq!(ratios[0], [9.0, 10.0, 10.0], "of all");
        assert_eq!(ratios[1], [18.0, 1000.0 / 60.0, 5.5], "of the packages");
        assert!(against_best(&LOADS[0], &peers[..1], &rounds[..1]).is_empty());
    }

    #[test]
    fn the_share_of_the_ideal_is_the_same_for_all_with_the_start_and_without() {
        let load = LOADS
            .iter()
            .find(|load| load.ideal_per_s.is_some())
            .unwrap();
        let round = || Measured {
            requests: 20_000,
            lost: 5_000,
            cut: true,
            wall_s: 10.0,
            start_s: 2.5,
            ..measured(1.0)
        };
        for peer in PEERS {
            assert_eq!(load.requests(peer.speed), 20_000, "{}", peer.name);
            let shares: Vec<f64> = figures(load, peer, &[round()])
                .iter()
                .filter(|figure| figure.measure.starts_with("of the ideal"))
                .map(Figure::median)
                .collect();
            assert_eq!(shares, [60.0, 80.0], "{}", peer.name);
        }
    }

    #[test]
    fn goals_are_for_the_program_only() {
        let limited = LOADS.iter().find(|load| load.rpm.is_some()).unwrap();
        let round = || Measured {
            used: Some(99.0),
            ..measured(100.0)
        };
        let goals = |peer| {
            figures(limited, peer, &[round()])
                .iter()
                .filter(|figure| figure.goal.is_some())
                .count()
        };
        assert_eq!((goals(&PEERS[0]), goals(&PEERS[2])), (2, 0));
    }
}
