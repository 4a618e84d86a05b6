//! Developer automation, one file per command. Run it as `cargo xtask COMMAND`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talks to a developer's terminal"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

mod bench;
mod fuzz;
mod test;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--only STEP]  everything that must pass before a commit lands
  bench [ARGUMENTS]   figures; `bench --help` lists them
  fuzz [TARGET] [SECONDS]
                      new inputs for one fuzz target, or for each; 60 s by default
  tidy                the structure of the code: crate edges, sizes, names, dead files, links";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test"] => workspace_root().and_then(|root| test::run(&root, None)),
        ["test", "--only", step] => workspace_root().and_then(|root| test::run(&root, Some(step))),
        ["bench", rest @ ..] => workspace_root().and_then(|root| bench::run(&root, rest)),
        ["fuzz", rest @ ..] => workspace_root().and_then(|root| fuzz::run(&root, rest)),
        ["tidy"] => workspace_root().and_then(|root| tidy::run(&root)),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace's `Cargo.toml`: the parent of this crate's.
///
/// Cargo's variable at run time comes first, because work trees that share a target folder share
/// the compiled path too.
fn workspace_root() -> Result<PathBuf> {
    let manifest_dir =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&manifest_dir)
        .parent()
        .context("xtask lies in no workspace")?;
    Ok(root.to_owned())
}
