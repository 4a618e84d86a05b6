//! Figures kept in a file, and two runs compared.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::figure::{Better, Figure};

/// The format of the file; a file of another version is refused.
const VERSION: u32 = 1;

/// The figures of one run with what they depend on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    /// The version of Brimful.
    brimful: String,
    /// When, in UTC.
    date: String,
    /// Processors that the bench could use.
    cpus: usize,
    /// Of the sources, with `+` behind it when they were changed since; `None` outside of a clone.
    commit: Option<String>,
    figures: Vec<Figure>,
}

impl Saved {
    pub(crate) fn new(root: &Path, figures: &[Figure]) -> Self {
        Self {
            version: VERSION,
            brimful: env!("CARGO_PKG_VERSION").to_owned(),
            date: jiff::Timestamp::now().to_string(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            commit: commit(root),
            figures: figures.to_vec(),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path)
            .with_context(|| format!("cannot read figures from {}", path.display()))?;
        let saved: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} holds no saved figures", path.display()))?;
        ensure!(
            saved.version == VERSION,
            "{} is of version {}, this bench writes {VERSION}",
            path.display(),
            saved.version
        );
        Ok(saved)
    }

    /// A line for each figure that both runs have.
    pub(crate) fn compare(&self, new: &[Figure]) -> String {
        let mut text = format!(
            "against {} of {} on {} processors, commit {}\n",
            self.brimful,
            self.date,
            self.cpus,
            self.commit.as_deref().unwrap_or("unknown")
        );
        for new in new {
            let Some(old) = self.figures.iter().find(|old| old.same_as(new)) else {
                continue;
            };
            let change = change(old, new);
            text.push_str(&format!(
                "  {:<70} {:>14} → {:>14}  {:>9} {}\n",
                format!("{}, {}", new.scenario, new.measure),
                old.value(),
                new.value(),
                change.map_or_else(|| "–".to_owned(), |share| format!("{share:+.1} %")),
                mark(old, new),
            ));
        }
        text
    }
}

/// From old to new in per cent; `None` from nothing to something.
fn change(old: &Figure, new: &Figure) -> Option<f64> {
    let (old, new) = (old.median(), new.median());
    if old == new {
        return Some(0.0);
    }
    let share = (new - old) / old * 100.0;
    share.is_finite().then_some(share)
}

/// Says that no round of one run lies within the rounds of the other, and which way.
fn mark(old: &Figure, new: &Figure) -> &'static str {
    let above = new.least() > old.most();
    let below = new.most() < old.least();
    match (above, below, new.better) {
        (true, _, Better::Higher) | (_, true, Better::Lower) => {
            "better, outside the spread of both"
        }
        (true, _, Better::Lower) | (_, true, Better::Higher) => "worse, outside the spread of both",
        (false, false, _) => "",
    }
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(root)
            .output()
            .ok()?;
        let text = output.status.success().then_some(output.stdout)?;
        Some(String::from_utf8(text).ok()?.trim().to_owned())
    };
    let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    if git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty()) {
        commit.push('+');
    }
    Some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(better: Better, samples: &[f64]) -> Figure {
        Figure::new("W1", "rate", "req/s", better, samples.to_vec())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures.json");
        let figures = [figure(Better::Higher, &[1.0, 2.5]).goal(2.0)];
        Saved::new(folder.path(), &figures).write(&path).unwrap();
        let saved = Saved::read(&path).unwrap();
        assert_eq!(saved.figures, figures);
        assert_eq!(saved.brimful, env!("CARGO_PKG_VERSION"));
        assert!(saved.cpus >= 1);
    }

    #[test]
    fn files_of_another_version_or_kind_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures.json");
        let newer = Saved {
            version: VERSION + 1,
            ..Saved::new(folder.path(), &[])
        };
        newer.write(&path).unwrap();
        let refusal = Saved::read(&path).unwrap_err().to_string();
        assert!(
            refusal.contains("figures.json is of version 2"),
            "{refusal}"
        );
        fs::write(&path, "[]").unwrap();
        let refusal = Saved::read(&path).unwrap_err().to_string();
        assert!(refusal.contains("figures.json holds no saved"), "{refusal}");
    }

    #[test]
    fn a_change_is_marked_only_where_the_rounds_of_both_runs_do_not_meet() {
        let old = figure(Better::Higher, &[100.0, 110.0, 120.0]);
        for (samples, better, expected) in [
            (&[119.0, 130.0, 140.0], Better::Higher, ""),
            (
                &[121.0, 130.0, 140.0],
                Better::Higher,
                "better, outside the spread of both",
            ),
            (
                &[121.0, 130.0, 140.0],
                Better::Lower,
                "worse, outside the spread of both",
            ),
            (
                &[80.0, 90.0, 99.0],
                Better::Higher,
                "worse, outside the spread of both",
            ),
            (
                &[80.0, 90.0, 99.0],
                Better::Lower,
                "better, outside the spread of both",
            ),
        ] {
            assert_eq!(
                mark(&old, &figure(better, samples)),
                expected,
                "{samples:?}"
            );
        }
    }

    #[test]
    fn a_change_is_in_per_cent_of_the_old_median() {
        let old = figure(Better::Higher, &[100.0, 200.0, 300.0]);
        assert_eq!(change(&old, &figure(Better::Higher, &[250.0])), Some(25.0));
        assert_eq!(change(&old, &figure(Better::Higher, &[150.0])), Some(-25.0));
        let nothing = figure(Better::Lower, &[0.0]);
        assert_eq!(change(&nothing, &nothing), Some(0.0));
        assert_eq!(change(&nothing, &old), None);
    }

    #[test]
    fn only_figures_of_both_runs_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::new(folder.path(), &[figure(Better::Higher, &[100.0])]);
        let mut other = figure(Better::Higher, &[50.0]);
        other.measure = "latency".to_owned();
        let text = saved.compare(&[figure(Better::Higher, &[150.0]), other]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("100 req/s →"), "{text}");
        assert!(text.contains("150 req/s"), "{text}");
        assert!(text.contains("+50.0 % better, outside"), "{text}");
    }
}
