//! The command `brimful` as a library: one file per subcommand.

mod args;
mod config;
mod exit;
mod limits;
mod mock;
mod pages;
mod probe;
mod run;
mod screen;
mod signals;
mod units;
mod variable;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, LogFormat, RunArgs, UpstreamArgs};
pub use exit::Exit;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(argv) {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let log_format = match &cli.command {
        Command::Run(args) => args.watch.log_format,
        _ => LogFormat::Text,
    };
    let complain = |error: &anyhow::Error| run::say(log_format, "error", &format!("{error:#}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&anyhow::Error::new(error).context("cannot start the runtime"));
            return Exit::Fatal.into();
        }
    };
    let done = match cli.command {
        Command::Run(args) => run::run(&runtime, *args),
        Command::Mock(args) => runtime.block_on(mock::mock(&args)),
        Command::Limits(args) => limits::limits(&args),
        Command::Probe(args) => runtime.block_on(probe::probe(&args)),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { command } => pages::man(command.as_deref()),
    };
    // A reader may still wait for standard input; nothing depends on it.
    runtime.shutdown_background();
    done.unwrap_or_else(|error| {
        complain(&error);
        error
            .downcast_ref::<Usage>()
            .map_or(Exit::Fatal, |_| Exit::Usage)
    })
    .into()
}

/// Marks an error as wrong usage: exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Parses twice where a configuration file is named: what it says becomes arguments.
fn parse(argv: Vec<OsString>) -> Result<Cli, Exit> {
    let refuse = |error: clap::Error| {
        // There is nobody to tell if standard error is gone.
        let _unseen = error.print();
        if error.use_stderr() {
            Exit::Usage
        } else {
            Exit::Complete
        }
    };
    let matches = Cli::command()
        .try_get_matches_from(argv.clone())
        .map_err(refuse)?;
    let refuse_file = |error: anyhow::Error| {
        run::say(LogFormat::Text, "error", &format!("{error:#}"));
        Exit::Usage
    };
    let merged = config::merged(argv, &matches).map_err(refuse_file)?;
    let matches = Cli::command()
        .try_get_matches_from(merged.argv)
        .map_err(refuse)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(refuse)?;
    if let Command::Run(args) = &mut cli.command {
        args.upstreams = upstreams(args, merged.upstreams).map_err(refuse_file)?;
    }
    Ok(cli)
}

/// The same command line as it reads now, for a live run: the file may have changed.
pub(crate) fn read_again() -> anyhow::Result<RunArgs> {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let matches = Cli::command().try_get_matches_from(argv.clone())?;
    let merged = config::merged(argv, &matches)?;
    let matches = Cli::command().try_get_matches_from(merged.argv)?;
    let Command::Run(mut args) = Cli::from_arg_matches(&matches)?.command else {
        anyhow::bail!("only a run can be told something new");
    };
    args.upstreams = upstreams(&args, merged.upstreams)?;
    Ok(*args)
}

/// Parses the flags of each upstream by the parser of `run`.
fn upstreams(
    run: &RunArgs,
    tables: Vec<config::UpstreamTable>,
) -> anyhow::Result<Vec<UpstreamArgs>> {
    let parsed = tables.into_iter().map(|table| {
        // With a file named, neither input nor output is asked for.
        let argv = ["brimful", "run", "--config", "-"].map(OsString::from);
        let argv = argv.into_iter().chain(table.flags.iter().cloned());
        let matches = Cli::command().try_get_matches_from(argv);
        let wrong = |error: &clap::Error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let line = line.strip_prefix("error: ").unwrap_or(line);
            anyhow::anyhow!("{}: {line}", table.place)
        };
        let matches = matches.map_err(|error| wrong(&error))?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| wrong(&error))?;
        let Command::Run(mut args) = cli.command else {
            unreachable!("the argument is `run`");
        };
        let given = |name: &str| {
            let own = matches.subcommand().map(|(_, own)| own.value_source(name));
            own.flatten() == Some(ValueSource::CommandLine)
        };
        args.inherit(run, given);
        Ok(UpstreamArgs { table, run: *args })
    });
    parsed.collect()
}
