//! One `brimful run` with what it took.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mock;

/// What is run, and where.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) input: &'a Path,
    /// Its answers; everything whose name begins so belongs to it.
    pub(crate) output: PathBuf,
    pub(crate) base_url: &'a str,
    pub(crate) flags: &'a [&'a str],
    /// The only processor that it may use; `None` for all.
    pub(crate) core: Option<usize>,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// When it was started, seconds since 1970.
    pub(crate) began_s: f64,
    /// From before the process to behind it.
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_mb: f64,
}

impl Client<'_> {
    /// Runs to the end, which must be a good one.
    pub(crate) fn run(&self) -> Result<Ran> {
        let began_s = since_1970_s()?;
        let started = Instant::now();
        let status = self.command().status()?;
        let wall_s = started.elapsed().as_secs_f64();
        ensure!(status.success(), "`brimful run` ended with {status}");
        let summary = fs::read(with_suffix(&self.output, ".summary.json"))?;
        let used = &serde_json::from_slice::<Value>(&summary)?["resources"];
        let figure = |name: &str| {
            used[name]
                .as_f64()
                .with_context(|| format!("the summary has no `{name}`"))
        };
        Ok(Ran {
            began_s,
            wall_s,
            cpu_s: figure("cpu_s")?,
            peak_mb: figure("peak_memory_bytes")? / 1e6,
        })
    }

    /// Starts it and leaves it to the caller.
    pub(crate) fn start(&self) -> Result<Child> {
        Ok(self.command().spawn()?)
    }

    fn command(&self) -> Command {
        let mut command = mock::on_core(self.binary, self.core);
        command
            .arg("run")
            .arg(self.input)
            .arg("-o")
            .arg(&self.output)
            .args([
                "--base-url",
                self.base_url,
                "--progress",
                "none",
                "--no-state",
            ])
            .args(self.flags)
            .stderr(Stdio::null());
        // A run that is measured under limits that it is told, or none, is to keep to them.
        if !self.flags.contains(&"--learn") {
            command.args(["--learn", "off"]);
        }
        command
    }

    /// Removes what a run of this output has left.
    pub(crate) fn clear(&self) -> Result<()> {
        let folder = self.output.parent().context("an output is in a folder")?;
        let prefix = self.output.file_name().unwrap_or_default();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&*prefix.to_string_lossy()) {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Lines of a file, without taking it into memory.
pub(crate) fn lines(path: &Path) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut lines = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(lines);
        }
        lines += chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let length = chunk.len();
        reader.consume(length);
    }
}

/// The path of a file beside `path`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Now, on the clock that traces show.
pub(crate) fn since_1970_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "one\n\ntorn").unwrap();
        assert_eq!(lines(&path).unwrap(), 2);
        fs::write(&path, "x\n".repeat(100_000)).unwrap();
        assert_eq!(lines(&path).unwrap(), 100_000);
        assert!(lines(&folder.path().join("none")).is_err());
    }
}
