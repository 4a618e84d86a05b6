//! What a run came to, for people and programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::Serialize;

use super::plan::Plan;
use super::{RunOptions, Target, Totals};
use crate::clock::Clock;
use crate::driver::{DriverReport, EndCause};
use crate::outputs::WriteError;
use crate::progress::{LimitProgress, Notice};
use crate::report::{FailureSum, Quantiles};
use crate::upstreams::UpstreamProgress;

/// Ids that a summary names at most; more are counted.
const IDS_MAX: usize = 1000;

/// What a run came to. Its JSON form is `OUTPUT.summary.json`; fields may be added.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Version of this form.
    pub version: u32,
    /// Whether every request of the input is answered or a dead letter.
    pub complete: bool,
    /// Why the run stopped before the end of its input.
    pub stopped_by: Option<Stop>,
    /// What to do, when it did.
    pub message: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Seconds from the first read to the last write.
    pub wall_s: f64,
    /// Requests by how they ended.
    pub requests: RequestSums,
    /// Requests that ended without an answer in this run, by code, the most frequent first.
    pub failures: Vec<FailureSum>,
    /// Attempts by class.
    pub attempts: BTreeMap<String, u64>,
    /// Pauses of the whole upstream after a 429.
    pub cooldowns: u64,
    /// From reaching the engine to the last attempt's start, of answered requests.
    pub wait: Option<Quantiles>,
    /// From an attempt's start to its end, of answered requests.
    pub service: Option<Quantiles>,
    /// From reaching the engine to the answer.
    pub total: Option<Quantiles>,
    /// Answers a second of wall time.
    pub requests_per_s: f64,
    /// Output tokens a second of wall time.
    pub output_tokens_per_s: f64,
    /// Tokens reported by the answers of this run.
    pub tokens: Tokens,
    /// By the price that was given.
    pub cost_usd: Option<f64>,
    /// Each limit and its use.
    pub limits: Vec<LimitProgress>,
    /// What went to each upstream, when there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamProgress>,
    /// Seconds in which the next request waited for each limit, or for the cooldown.
    pub waited_s: BTreeMap<String, f64>,
    /// What the provider said with the last 429, if there was one.
    pub throttled_message: Option<String>,
    /// Said when not a limit but `--concurrency` held the run back.
    pub concurrency_note: Option<String>,
    /// What people were told while the run went on, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// Ids of requests that were given up in flight; their answers may have been billed.
    pub abandoned_ids: Vec<String>,
    /// Ids whose answer or dead letter could not be written.
    pub unwritten_ids: Vec<String>,
    /// Trouble with files at the end.
    pub problems: Vec<String>,
    /// Where the answers are; absent for standard output.
    pub output: Option<String>,
    /// Where dead letters are, if there are any.
    pub errors: Option<String>,
    /// What this process used.
    pub resources: Option<Resources>,
    /// What the simulator counted, when it was the provider.
    pub mock: Option<serde_json::Value>,
}

/// Why a run stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The upstream is of no use: see the message.
    Upstream,
    /// Answers could not be written.
    Output,
    /// The input could not be read on.
    Input,
    /// The spending cap was reached.
    SpendingCap,
    /// The deadline was reached.
    Deadline,
    /// It was asked to stop.
    Asked,
}

/// Requests by how they ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RequestSums {
    /// Rows of the input that were read.
    pub read: u64,
    /// Answered by this run.
    pub answered: u64,
    /// Answered by earlier runs.
    pub answered_before: u64,
    /// Dead letters, of this run and earlier ones; bad rows included.
    pub dead: u64,
    /// Rows of this run that could not become a request.
    pub bad_rows: u64,
    /// Read, but neither answered nor dead; the same command sends them.
    pub unanswered: u64,
    /// Answers that moved away because their request is no longer in the input.
    pub stale: u64,
}

/// What a process used until now.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resources {
    /// Seconds of CPU time, user and system.
    pub cpu_s: f64,
    /// Largest resident memory in bytes; on Linux of this program alone, elsewhere perhaps that of
    /// the process which it was started from.
    pub peak_memory_bytes: u64,
}

impl Resources {
    fn of_this_process() -> Option<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let seconds = |time: TimeVal| {
            // Their width differs from system to system.
            let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            (Duration::from_secs(secs) + Duration::from_micros(micros)).as_secs_f64()
        };
        Some(Self {
            cpu_s: round(seconds(usage.user_time()) + seconds(usage.system_time())),
            peak_memory_bytes: peak_memory_bytes(
                Path::new("/proc/self/status"),
                // Its width differs, too.
                u64::try_from(usage.max_rss()).unwrap_or(0),
            ),
        })
    }
}

/// The peak that Linux shows in `status`, else the one of getrusage(2): over an exec that one keeps
/// what the process had before, which is the memory of whoever started this program.
fn peak_memory_bytes(status: &Path, max_rss: u64) -> u64 {
    let own = fs::read_to_string(status).ok();
    own.as_deref()
        .and_then(high_water_bytes)
        .unwrap_or_else(|| {
            // Linux counts in KiB, macOS in bytes.
            let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
            max_rss.saturating_mul(unit)
        })
}

/// `VmHWM` of a `/proc/PID/status` (proc(5)), which is in KiB; `None` where there is none.
fn high_water_bytes(status: &str) -> Option<u64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// Tokens.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tokens {
    /// Input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Part of the input that came from the provider's cache.
    pub cached: u64,
}

impl Summary {
    #[expect(clippy::cast_precision_loss, reason = "rates are rounded anyway")]
    pub(super) fn new(
        options: &RunOptions,
        plan: &Plan,
        report: &DriverReport,
        totals: &Totals,
        clock: Clock,
        stale: u64,
        problems: Vec<String>,
    ) -> Self {
        let wall = clock.now().since(brimful_core::Timestamp::ZERO);
        let wall_s = wall.as_secs_f64().max(0.001);
        let counts = report.tally.counts();
        let [wait, service, total] = report.tally.times();
        let requests = sums(report, totals, stale);
        let stopped_by = stopped_by(report);
        let complete = stopped_by.is_none() && report.unanswered == 0 && problems.is_empty();
        let shown = |path: &Path| path.display().to_string();
        let output = match &options.target {
            Target::File(path) => Some(shown(path)),
            Target::Stdout => plan.journal.as_deref().map(shown),
        };
        let errors = plan
            .dead_letters
            .as_deref()
            .filter(|_| requests.dead > 0)
            .map(shown);
        Self {
            version: 1,
            complete,
            stopped_by,
            message: message(report),
            started_at: clock.started_at(),
            wall_s: round(wall.as_secs_f64()),
            requests,
            attempts: counts
                .attempts
                .iter()
                .map(|(&class, &n)| (class.to_owned(), n))
                .collect(),
            failures: report.tally.failures(),
            cooldowns: counts.cooldowns,
            wait,
            service,
            total,
            requests_per_s: round(counts.answered as f64 / wall_s),
            output_tokens_per_s: round(counts.usage.output as f64 / wall_s),
            tokens: Tokens {
                input: counts.usage.input,
                output: counts.usage.output,
                cached: counts.usage.cached,
            },
            cost_usd: counts.cost_usd,
            waited_s: waited(report),
            limits: report.limits.clone(),
            upstreams: report.upstreams.clone(),
            throttled_message: Some(report.throttled_message.clone()).filter(|m| !m.is_empty()),
            concurrency_note: report.concurrency_note.clone(),
            notices: report.notices.clone(),
            abandoned_ids: some(&report.abandoned_ids),
            unwritten_ids: some(&report.unwritten_ids),
            problems,
            output,
            errors,
            resources: Resources::of_this_process(),
            mock: options
                .upstreams
                .first()
                .and_then(|way| way.transport.mock_stats()),
        }
    }

    /// `OUTPUT.summary.json`.
    pub(super) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Whether the run ended in a way that the user has to act on.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self.stopped_by,
            Some(Stop::Upstream | Stop::Output | Stop::Input)
        ) || !self.problems.is_empty()
    }
}

fn sums(report: &DriverReport, totals: &Totals, stale: u64) -> RequestSums {
    let counts = report.tally.counts();
    RequestSums {
        read: counts.rows_read + totals.skipped(),
        answered: counts.answered,
        answered_before: totals.answered_before(),
        dead: counts.dead + dead_before(totals),
        bad_rows: counts.bad_rows,
        unanswered: report.unanswered,
        stale,
    }
}

/// Dead letters of earlier runs. After an early stop the reader may still be counting: what it adds
/// between the two readings must not turn the difference round.
fn dead_before(totals: &Totals) -> u64 {
    totals.skipped().saturating_sub(totals.answered_before())
}

fn stopped_by(report: &DriverReport) -> Option<Stop> {
    match &report.cause {
        Some(EndCause::Upstream { .. } | EndCause::Misdirected(_)) => Some(Stop::Upstream),
        Some(EndCause::Output(_)) => Some(Stop::Output),
        Some(EndCause::Source(_)) => Some(Stop::Input),
        Some(EndCause::SpendingCap) => Some(Stop::SpendingCap),
        Some(EndCause::Deadline) => Some(Stop::Deadline),
        None if !report.source_finished || report.unanswered > 0 => Some(Stop::Asked),
        None => None,
    }
}

fn message(report: &DriverReport) -> Option<String> {
    use brimful_core::{Class, StopReason};
    Some(match report.cause.as_ref()? {
        EndCause::Upstream { reason, message } => match reason {
            StopReason::Upstream(Class::Exhausted) => format!(
                "the provider says that no money or quota is left: {message}; \
                 top up, then run the same command again"
            ),
            StopReason::Upstream(_) => format!(
                "the provider refuses this key for every request: {message}; \
                 check the key, then run the same command again"
            ),
            StopReason::OnlyThrottled => format!(
                "the provider has answered nothing but 429 for 15 minutes beyond what it asked to \
                 wait: {message}; lower the limits or try later"
            ),
            _ => format!(
                "the provider cannot be reached: {message}; check the address and the network, then \
                 run the same command again"
            ),
        },
        EndCause::Output(WriteError::Closed) => {
            "whoever read standard output closed it; nothing more was sent".to_owned()
        }
        EndCause::Output(error) => {
            format!("{error}; make room, then run the same command again")
        }
        EndCause::Source(text) => {
            format!("the input cannot be read on: {text}; what was answered is kept")
        }
        EndCause::Misdirected(text) => format!(
            "the first replies were all of this kind: {text}; check --base-url, --endpoint and the \
             model, then run the same command again with --retry-failed"
        ),
        EndCause::SpendingCap => {
            "the spending cap is reached; raise --max-cost to go on".to_owned()
        }
        EndCause::Deadline => "the deadline is reached; the same command goes on".to_owned(),
    })
}

fn waited(report: &DriverReport) -> BTreeMap<String, f64> {
    let limits = report.limits.iter().enumerate();
    let mut waited: BTreeMap<String, f64> = limits
        .map(|(index, limit)| (limit.name.clone(), seconds(report.tally.bound(index))))
        .collect();
    waited.insert(
        "cooldown".to_owned(),
        seconds(report.tally.bound(usize::MAX)),
    );
    waited.retain(|_, seconds| *seconds > 0.0);
    waited
}

fn some(ids: &[String]) -> Vec<String> {
    let mut some: Vec<String> = ids.iter().take(IDS_MAX).cloned().collect();
    if ids.len() > IDS_MAX {
        some.push(format!("and {} more", ids.len() - IDS_MAX));
    }
    some
}

fn seconds(time: Duration) -> f64 {
    round(time.as_secs_f64())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_this_process_used_is_known() {
        let used = Resources::of_this_process().unwrap();
        assert!(used.peak_memory_bytes > 1 << 20, "{used:?}");
        assert!((0.0..1e6).contains(&used.cpu_s), "{used:?}");
    }

    #[test]
    fn the_peak_of_memory_is_the_high_water_mark_of_a_status() {
        let status = "Name:\tbrimful\nVmPeak:\t  999999 kB\nVmHWM:\t   38148 kB\nVmRSS:\t   1 kB\n";
        assert_eq!(high_water_bytes(status), Some(38_148 * 1024));
        for hostile in [
            "",
            "VmRSS:\t 1 kB\n",
            "VmHWM:",
            "VmHWM:\t12\n",
            "VmHWM:\t-1 kB\n",
            "VmHWM:\t18446744073709551615 kB\n",
        ] {
            assert_eq!(high_water_bytes(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn without_a_status_the_peak_of_memory_is_that_of_getrusage() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("status");
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        assert_eq!(peak_memory_bytes(&status, 7), 7 * unit, "no file");
        fs::write(&status, "Name:\tx\n").unwrap();
        assert_eq!(peak_memory_bytes(&status, 7), 7 * unit, "no such line");
        fs::write(&status, "VmHWM:\t5 kB\n").unwrap();
        assert_eq!(peak_memory_bytes(&status, 7), 5 * 1024);
    }

    #[test]
    fn counts_that_grow_while_they_are_read_do_no_harm() {
        let totals = Totals::default();
        let stop = Arc::new(AtomicBool::new(false));
        let reader = {
            let (totals, stop) = (totals.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    totals.0.answered_before.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        while totals.answered_before() == 0 {
            std::hint::spin_loop();
        }
        let most = (0..1_000_000).map(|_| dead_before(&totals)).max();
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert_eq!(most, Some(0));
    }
}
