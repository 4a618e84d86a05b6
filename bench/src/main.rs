//! Benchmarks, one file per kind. Run them as `cargo xtask bench`, which builds what they measure.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talks to a developer's terminal"
)]

use std::env;
use std::path::Path;
use std::process::ExitCode;

mod mock;
mod run;
mod workload;
mod zoo;

const USAGE: &str = "\
usage: cargo xtask bench [NAME]

  NAME   only the scenarios whose name contains it";

/// Started by xtask in the workspace's root, with everything built beside this executable.
fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(".");
    let outcome = match arguments.as_slice() {
        [] => run::run(root, ""),
        ["zoo", arguments @ ..] => zoo::run(arguments),
        [name] => run::run(root, name),
        _ => {
            eprintln!("{USAGE}\n  {}", zoo::USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
