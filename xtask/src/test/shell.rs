//! Runs commands in the workspace and shows what they print.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

use super::tally::Tally;

/// A cargo command that does not come with every toolchain.
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// Arguments to cargo that succeed only when the tool is there.
    pub(super) probe: &'static [&'static str],
    /// The command that installs it.
    pub(super) install: &'static str,
}

pub(super) struct Shell {
    root: PathBuf,
    cargo: OsString,
}

impl Shell {
    pub(super) fn new(root: &Path) -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self {
            root: root.to_owned(),
            cargo,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is a run of continuous integration, where one run has to show every failure.
    pub(super) fn in_ci(&self) -> bool {
        env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
    }

    /// Whether cargo succeeds with these arguments; prints nothing.
    pub(super) fn has(&self, probe: &[&str]) -> bool {
        let status = self
            .command(probe)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    /// Installs the tool when it is missing; an error when that does not help.
    pub(super) fn need(&self, tool: &Tool) -> Result<()> {
        if self.has(tool.probe) {
            return Ok(());
        }
        println!("{} is missing; trying `{}`", tool.name, tool.install);
        let mut words = tool.install.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        let status = command.args(words).current_dir(&self.root).status();
        if status.is_ok_and(|status| status.success()) && self.has(tool.probe) {
            return Ok(());
        }
        bail!(
            "{} is missing; install it with `{}`",
            tool.name,
            tool.install
        )
    }

    /// Runs cargo with the terminal as its own.
    pub(super) fn cargo(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        announce(arguments, variables);
        let mut command = self.command(arguments);
        let status = command.envs(variables.iter().copied()).status();
        verdict(arguments, status.context("cargo cannot be started")?)
    }

    /// Runs cargo and counts the tests it reports, while its output is passed on line by line.
    pub(super) fn cargo_tests(&self, arguments: &[&str], tally: &mut Tally) -> Result<()> {
        announce(arguments, &[]);
        let mut command = self.command(arguments);
        // The runner sees a pipe: without this its output would lose its colours.
        if io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cargo cannot be started")?;
        let stdout = child.stdout.take().context("standard output was piped")?;
        let stderr = child.stderr.take().context("standard error was piped")?;
        let (from_stdout, from_stderr) = thread::scope(|scope| {
            let other = scope.spawn(|| count_and_forward(stderr, io::stderr()));
            let own = count_and_forward(stdout, io::stdout());
            (
                own,
                other
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("the reader panicked"))),
            )
        });
        let status = child.wait().context("cargo cannot be waited for")?;
        tally.add(from_stdout?);
        tally.add(from_stderr?);
        verdict(arguments, status)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }
}

fn announce(arguments: &[&str], variables: &[(&str, &str)]) {
    let variables: String = variables
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\" "))
        .collect();
    println!("{variables}cargo {}", arguments.join(" "));
}

fn verdict(arguments: &[&str], status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`cargo {}` ended with {status}", arguments.join(" "))
}

/// Bytes, not text: a failing test may print anything.
fn count_and_forward(from: impl Read, mut to: impl Write) -> io::Result<Tally> {
    let mut from = BufReader::new(from);
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally.add(Tally::of_line(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_passes_on_unchanged() {
        let printed =
            b"\xff noise\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\nend";
        let mut shown = Vec::new();
        let tally = count_and_forward(&printed[..], &mut shown).unwrap();
        assert_eq!(shown, printed);
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 0,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_tool_that_cannot_be_installed_is_named_with_the_command_that_installs_it() {
        let shell = Shell::new(Path::new("."));
        let tool = Tool {
            name: "no-such-tool",
            probe: &["no-such-tool"],
            install: "no-program x",
        };
        let error = shell.need(&tool).unwrap_err().to_string();
        assert_eq!(
            error,
            "no-such-tool is missing; install it with `no-program x`"
        );
    }
}
