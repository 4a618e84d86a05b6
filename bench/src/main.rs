//! Benchmarks, one file per kind. Run them as `cargo xtask bench`, which builds what they measure.
//!
//! A new kind is a module with a function from [`Bench`] to its figures, a variant of [`Command`]
//! and a line of [`Command::run`]; table, file and comparison come of themselves.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talks to a developer's terminal"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};

use self::bench::Bench;
use self::learn::Learn;
use self::load::Load;
use self::saved::Saved;
use self::zoo::Zoo;

mod bare;
mod bench;
mod client;
mod core;
mod figure;
mod kill;
mod lateness;
mod learn;
mod limits;
mod live;
mod load;
mod mock;
mod peers;
mod report;
mod saved;
mod scale;
mod seeds;
mod server;
mod text;
mod workload;
mod zoo;

/// Figures of the engine and of the program.
///
/// Without a command: the standard table, everything but `zoo`, `learn`, `live` and `peers`, in
/// about ten minutes.
/// What is compared runs in turns, round by round, and what is printed is the median of the rounds
/// with least and most beside it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// Only scenarios whose name contains TEXT
    #[arg(long, global = true, value_name = "TEXT", default_value = "")]
    only: String,
    /// How often everything is measured [default: 5]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Write the figures to FILE, with version, date, processors and commit
    #[arg(long, global = true, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Set the figures beside those that an earlier run saved in FILE
    #[arg(long, global = true, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Print Markdown tables, at the end
    #[arg(long, global = true)]
    markdown: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// `brimful run` with its journal against the bare HTTP client library
    Bare,
    /// One admission and one engine step of the core, against governor
    Core,
    /// Tokens counted, and levels read out of headers
    Text,
    /// `brimful run` against servers with limits and latency, judged by the server's account
    Limits,
    /// `kill -9` in the middle and the same command again: what was lost, what was paid twice
    Kill,
    /// How long after their due instants attempts start and arrive, at 100 to 10,000 a second
    Lateness,
    /// Memory and processor time at 10,000 to 1,000,000 requests, and how fast a rerun finds what
    /// is done
    Scale {
        /// Also with N requests; 10,000,000 need 10 GB of disk and some minutes
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        requests: Option<u64>,
    },
    /// Requests a second and processor time of `brimful mock` on one core
    Mock,
    /// The engine against every model of the simulated provider, in virtual time
    Zoo(Zoo),
    /// The same where limits have to be found out: unknown, wrong, changed
    Learn(Learn),
    /// The same in short by the real binary against `brimful mock`; one round of three minutes
    /// unless `--rounds` says otherwise
    Live,
    /// `brimful run` beside the rivals from Python's registry, in a virtual environment of its own;
    /// one round unless `--rounds` says otherwise, about 25 minutes
    Peers,
    /// One run of the bare HTTP client against any server; prints a line of JSON
    Load(Load),
}

impl Command {
    /// How often everything is measured when the command line does not say.
    fn rounds(&self) -> u32 {
        match self {
            Self::Peers | Self::Live => 1,
            _ => ROUNDS,
        }
    }

    fn run(&self, bench: &mut Bench, root: &Path) -> Result<()> {
        match self {
            Self::Bare => bare::run(bench),
            Self::Core => core::run(bench),
            Self::Text => text::run(bench),
            Self::Limits => limits::run(bench),
            Self::Kill => kill::run(bench),
            Self::Lateness => lateness::run(bench),
            Self::Scale { requests } => scale::run(bench, *requests),
            Self::Mock => server::run(bench),
            Self::Zoo(zoo) => zoo.run(bench),
            Self::Learn(learn) => learn.run(bench),
            Self::Live => live::run(bench),
            Self::Peers => peers::run(bench, root),
            Self::Load(load) => {
                println!("{}", serde_json::to_string(&load.run()?)?);
                Ok(())
            }
        }
    }
}

/// Rounds of everything that does not take long.
const ROUNDS: u32 = 5;

/// What the standard table has.
fn standard(bench: &mut Bench) -> Result<()> {
    core::run(bench)?;
    text::run(bench)?;
    bare::run(bench)?;
    server::run(bench)?;
    limits::run(bench)?;
    kill::run(bench)?;
    lateness::run(bench)?;
    scale::run(bench, None)
}

/// Started by xtask in the workspace's root, with everything built beside this executable.
fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let options = &cli.options;
    let root = Path::new(".");
    // First, so that ten minutes are not spent before a wrong name is noticed.
    let before = options.compare.as_deref().map(Saved::read).transpose()?;
    let folder = root.join("target").join("bench");
    fs::create_dir_all(&folder)?;
    let rounds = options
        .rounds
        .unwrap_or_else(|| cli.command.as_ref().map_or(ROUNDS, Command::rounds));
    let mut bench = Bench::new(&folder, rounds, &options.only, options.markdown)?;
    match &cli.command {
        Some(command) => command.run(&mut bench, root)?,
        None => standard(&mut bench)?,
    }
    let report = &bench.report;
    ensure!(
        !report.figures().is_empty() || options.only.is_empty(),
        "the name of no scenario contains `{}`",
        options.only
    );
    if options.markdown {
        print!("{}", report.markdown());
    }
    if let Some(path) = &options.save {
        Saved::new(root, report.figures()).write(path)?;
    }
    if let Some(before) = before {
        print!("\n{}", before.compare(report.figures()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_or_behind_a_command() {
        for words in [
            ["bench", "--rounds", "3", "limits"],
            ["bench", "limits", "--rounds", "3"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.options.rounds, Some(3));
            assert!(matches!(cli.command, Some(Command::Limits)));
        }
    }

    #[test]
    fn no_rounds_are_refused() {
        assert!(Cli::try_parse_from(["bench", "--rounds", "0"]).is_err());
    }
}
