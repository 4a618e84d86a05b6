//! `cargo xtask test`: everything that must pass before a commit lands.
//!
//! The steps are a table, cheapest first. A new kind of test is one more row.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use self::shell::{Shell, Tool};
use self::tally::Tally;
use crate::tidy;

mod shell;
mod tally;

/// One row of the table.
struct Step {
    /// What `--only` takes.
    name: &'static str,
    run: fn(&Shell, &mut Tally) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "tidy",
        run: |shell, _| tidy::run(shell.root()),
    },
    Step {
        name: "deny",
        run: deny,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "tests",
        run: tests,
    },
    Step {
        name: "doc-tests",
        run: doc_tests,
    },
    Step {
        name: "docs",
        run: docs,
    },
];

const RUSTFMT: Tool = Tool {
    name: "rustfmt",
    probe: &["fmt", "--version"],
    install: "rustup component add rustfmt",
};

const CLIPPY: Tool = Tool {
    name: "clippy",
    probe: &["clippy", "--version"],
    install: "rustup component add clippy",
};

/// Without optimisation: that halves the build, and a check of some hundred crates stays quick.
const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    probe: &["deny", "--version"],
    install: "cargo install cargo-deny@0.20.2 --locked --debug",
};

/// Runs every step, or the one named `only`, and stops at the first that fails.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<()> {
    let shell = Shell::new(root);
    let mut tally = Tally::default();
    let mut took = Vec::new();
    for step in selected(only)? {
        println!("==> {}", step.name);
        let start = Instant::now();
        if let Err(error) = (step.run)(&shell, &mut tally) {
            print_tally(tally);
            return Err(anyhow!(
                "{} failed: {error:#}; to rerun it alone: cargo xtask test --only {0}",
                step.name
            ));
        }
        took.push((step.name, start.elapsed()));
        println!(
            "==> {} passed in {:.1} s",
            step.name,
            start.elapsed().as_secs_f64()
        );
    }
    println!("{}", durations(&took));
    print_tally(tally);
    Ok(())
}

fn selected(only: Option<&str>) -> Result<Vec<&'static Step>> {
    let steps: Vec<_> = STEPS
        .iter()
        .filter(|step| only.is_none_or(|name| name == step.name))
        .collect();
    if steps.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no such step; there are: {}", names.join(", "));
    }
    Ok(steps)
}

/// How long each step took, and all together.
fn durations(took: &[(&str, Duration)]) -> String {
    let steps: Vec<_> = took
        .iter()
        .map(|(name, took)| format!("{name} {:.1} s", took.as_secs_f64()))
        .collect();
    let all: Duration = took.iter().map(|(_, took)| took).sum();
    format!("{} = {:.1} s", steps.join(" + "), all.as_secs_f64())
}

/// The closing line. Nothing when only steps without tests were run.
fn print_tally(tally: Tally) {
    if tally != Tally::default() {
        println!("{tally}");
    }
}

fn format(shell: &Shell, _: &mut Tally) -> Result<()> {
    shell.need(&RUSTFMT)?;
    shell.cargo(&["fmt", "--all", "--check"], &[])
}

/// Licences, refused crates, duplicates and sources. Advisories are not among them: their database
/// is not in the registry, and a new one must not break an old commit.
fn deny(shell: &Shell, _: &mut Tally) -> Result<()> {
    shell.need(&CARGO_DENY)?;
    shell.cargo(&["deny", "check", "bans", "licenses", "sources"], &[])
}

fn clippy(shell: &Shell, _: &mut Tally) -> Result<()> {
    shell.need(&CLIPPY)?;
    shell.cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )
}

/// Unit and integration tests; the binaries that integration tests start are built along.
fn tests(shell: &Shell, tally: &mut Tally) -> Result<()> {
    let mut command = if shell.has(&["nextest", "--version"]) {
        let profile = if shell.in_ci() { "ci" } else { "default" };
        vec!["nextest", "run", "--workspace", "--profile", profile]
    } else {
        println!("cargo-nextest is not installed; the same tests run under `cargo test`");
        vec![
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]
    };
    if shell.in_ci() {
        command.push("--no-fail-fast");
    }
    let passed_before = tally.passed;
    shell.cargo_tests(&command, tally)?;
    if tally.passed == passed_before {
        bail!("the runner closed without having run a test");
    }
    Ok(())
}

fn doc_tests(shell: &Shell, tally: &mut Tally) -> Result<()> {
    shell.cargo_tests(&["test", "--workspace", "--doc"], tally)
}

fn docs(shell: &Shell, _: &mut Tally) -> Result<()> {
    shell.cargo(
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_steps_are_unique() {
        for step in STEPS {
            assert_eq!(selected(Some(step.name)).unwrap().len(), 1, "{}", step.name);
        }
    }

    #[test]
    fn without_a_name_every_step_runs_in_the_order_of_the_table() {
        let names: Vec<_> = selected(None)
            .unwrap()
            .iter()
            .map(|step| step.name)
            .collect();
        assert_eq!(
            names,
            [
                "format",
                "tidy",
                "deny",
                "clippy",
                "tests",
                "doc-tests",
                "docs"
            ]
        );
    }

    #[test]
    fn durations_are_shown_step_by_step_with_their_sum() {
        let took = [
            ("tidy", Duration::from_millis(1_250)),
            ("tests", Duration::from_secs(61)),
        ];
        assert_eq!(durations(&took), "tidy 1.2 s + tests 61.0 s = 62.2 s");
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_names_that_exist() {
        let error = selected(Some("fmt")).err().unwrap();
        assert!(error.to_string().contains("format, tidy, deny"), "{error}");
    }
}
