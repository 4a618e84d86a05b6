//! A `brimful mock` of its own for each measurement.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::client::since_1970_s;

pub(crate) struct Mock {
    process: Child,
    base_url: String,
}

/// When the server admitted what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admissions {
    /// Seconds since 1970.
    pub(crate) first_s: f64,
    /// Seconds since 1970.
    pub(crate) last_s: f64,
}

/// What ties the server's clock to ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What to add to the server's seconds to have seconds since 1970.
    offset_s: f64,
}

impl Mock {
    /// Starts one that may use one processor only, or all.
    pub(crate) fn start(binary: &Path, flags: &[&str], core: Option<usize>) -> Result<Self> {
        let mut process = on_core(binary, core)
            .args(["mock", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the mock")?;
        let stdout = process
            .stdout
            .take()
            .context("the mock has a standard output")?;
        let mut base_url = String::new();
        BufReader::new(stdout).read_line(&mut base_url)?;
        let base_url = base_url.trim().to_owned();
        ensure!(
            base_url.starts_with("http"),
            "the mock did not start with {flags:?}"
        );
        Ok(Self { process, base_url })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The server's account.
    pub(crate) fn stats(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.exchange("GET", "/stats", "")?)?)
    }

    /// Changes settings while it serves.
    pub(crate) fn configure(&self, settings: &str) -> Result<()> {
        let said = self.exchange("POST", "/config", settings)?;
        let said: Value = serde_json::from_str(&said)?;
        ensure!(
            said["error"].is_null(),
            "the mock refuses {settings}: {said}"
        );
        Ok(())
    }

    /// Empties its account; levels stay.
    pub(crate) fn forget(&self) -> Result<()> {
        self.exchange("POST", "/reset", "").map(|_| ())
    }

    /// Reads the server's clock by a request, and empties its account before and after.
    ///
    /// The request takes what it costs from the server's limits until they have refilled.
    pub(crate) fn clock(&self) -> Result<Clock> {
        self.exchange("POST", "/reset", "")?;
        let before = since_1970_s()?;
        let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"?"}]}"#;
        self.exchange("POST", "/v1/chat/completions", body)?;
        let stats = self.stats()?;
        let admitted = seconds(&stats, "first_admission_ns")?;
        self.exchange("POST", "/reset", "")?;
        Ok(Clock {
            offset_s: before - admitted,
        })
    }

    /// Processor time that the mock has used, in seconds; `None` where the system does not tell.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        let ticks = cpu_ticks(&stat)?;
        Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let address = self
            .base_url
            .trim_start_matches("http://")
            .trim_end_matches("/v1");
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text
            .split_once("\r\n\r\n")
            .context("the mock answers in HTTP")?;
        Ok(body.to_owned())
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It has nothing to lose; if it is gone already, so much the better.
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Clock {
    /// The first and last admission of an account; an error when there was none.
    pub(crate) fn admissions(self, stats: &Value) -> Result<Admissions> {
        Ok(Admissions {
            first_s: seconds(stats, "first_admission_ns")? + self.offset_s,
            last_s: seconds(stats, "last_admission_ns")? + self.offset_s,
        })
    }
}

fn seconds(stats: &Value, field: &str) -> Result<f64> {
    let nanoseconds = stats[field]
        .as_f64()
        .with_context(|| format!("the mock's account has no `{field}`"))?;
    Ok(nanoseconds / 1e9)
}

/// User and system time of `/proc/PID/stat` (proc(5)): fields 14 and 15, counted behind the name,
/// which is in brackets and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A command that may use one processor only (by `taskset` of util-linux), or all.
pub(crate) fn on_core(binary: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else {
        return Command::new(binary);
    };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(binary);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_process_name() {
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 17 0 0 20 0 9 0";
        assert_eq!(cpu_ticks(stat), Some(267));
        assert_eq!(cpu_ticks("77 (short) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn admissions_are_moved_to_our_clock() {
        let clock = Clock { offset_s: 1000.0 };
        let stats = serde_json::json!({
            "first_admission_ns": 2_500_000_000_u64, "last_admission_ns": 4_000_000_000_u64
        });
        let admissions = clock.admissions(&stats).unwrap();
        assert_eq!((admissions.first_s, admissions.last_s), (1002.5, 1004.0));
        assert!(clock.admissions(&serde_json::json!({})).is_err());
    }
}
