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

use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, LogFormat};
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
    let merged = config::merged(argv, &matches).map_err(|error| {
        run::say(LogFormat::Text, "error", &format!("{error:#}"));
        Exit::Usage
    })?;
    let matches = Cli::command()
        .try_get_matches_from(merged)
        .map_err(refuse)?;
    Cli::from_arg_matches(&matches).map_err(refuse)
}
