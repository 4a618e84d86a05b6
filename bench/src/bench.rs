//! What every kind of benchmark works with.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::report::Report;

/// Options, places and the report of one run.
#[derive(Debug)]
pub(crate) struct Bench {
    /// `brimful`, built into the same folder as this executable.
    pub(crate) binary: PathBuf,
    /// For files of the bench; exists.
    pub(crate) folder: PathBuf,
    /// How often everything is measured, at least once.
    pub(crate) rounds: u32,
    pub(crate) report: Report,
    only: String,
}

impl Bench {
    pub(crate) fn new(folder: &Path, rounds: u32, only: &str, quiet: bool) -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("brimful");
        ensure!(binary.exists(), "{} is not built", binary.display());
        Ok(Self {
            binary,
            folder: folder.to_owned(),
            rounds,
            report: Report::new(quiet),
            only: only.to_owned(),
        })
    }

    /// Whether the scenario of this name is asked for.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        scenario.contains(&self.only)
    }

    /// Calls `measure` once for each round; what it measures side by side is thus interleaved.
    pub(crate) fn rounds(&self, what: &str, measure: impl FnMut() -> Result<()>) -> Result<()> {
        self.rounds_up_to(self.rounds, what, measure)
    }

    /// The same for what takes long and varies little.
    pub(crate) fn rounds_up_to(
        &self,
        most: u32,
        what: &str,
        mut measure: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let rounds = self.rounds.min(most);
        for round in 1..=rounds {
            eprintln!("{what}: round {round} of {rounds}");
            measure()?;
        }
        Ok(())
    }
}
