//! What is printed at the end of a run, and of each attempt with `--log-format json`.

use std::time::Duration;

use brimful::outputs::AttemptLog;
use brimful::report::Quantiles;
use brimful::run::{Stop, Summary};
use brimful_providers::text::strip_control;

use super::{say, show};
use crate::args::LogFormat;
use crate::screen::{clock, grouped};

/// Reasons of failure that are shown; all are in the summary's file.
const FAILURES_SHOWN: usize = 3;
/// Characters of a message that are shown.
const MESSAGE_MAX_CHARS: usize = 200;

pub(super) fn attempt_log() -> AttemptLog {
    AttemptLog::new(show)
}

/// The summary on standard error. `to_stdout`: there is no file to name.
pub(super) fn print(format: LogFormat, summary: &Summary, signal: Option<u8>, to_stdout: bool) {
    if let Some(message) = &summary.message {
        say(format, "error", message);
    }
    if format == LogFormat::Json {
        let line = serde_json::json!({ "level": "info", "summary": summary });
        show(&line.to_string());
        return;
    }
    for line in lines(summary, signal, to_stdout) {
        show(&line);
    }
}

fn lines(summary: &Summary, signal: Option<u8>, to_stdout: bool) -> Vec<String> {
    let requests = &summary.requests;
    let mut lines = Vec::new();
    let mut first = format!(
        "{} answered in {} ({:.1} a second)",
        grouped(requests.answered),
        took(summary.wall_s),
        summary.requests_per_s,
    );
    for (count, what) in [
        (requests.answered_before, "answered before"),
        (requests.dead, "failed"),
        (requests.unanswered, "not sent or given up"),
        (requests.stale, "stale"),
    ] {
        if count > 0 {
            first.push_str(&format!(", {} {what}", grouped(count)));
        }
    }
    lines.push(first);
    lines.extend(failures(summary));
    for limit in &summary.limits {
        if let Some(share) = limit.utilisation_percent {
            let waited = summary.waited_s.get(&limit.name).copied().unwrap_or(0.0);
            let amount = grouped(limit.amount);
            let (name, used) = (&limit.name, grouped(limit.admitted));
            lines.push(format!(
                "  {name:<11} {amount:>11}: {used} used, {share:.2} % of the rate, bound for {waited:.1} s"
            ));
        }
    }
    lines.push(format!("  attempts    {}", attempts(summary)));
    for (name, times) in [
        ("wait", summary.wait),
        ("service", summary.service),
        ("total", summary.total),
    ] {
        if let Some(times) = times {
            lines.push(format!("  {name:<11} {}", quantiles(&times)));
        }
    }
    let tokens = &summary.tokens;
    let mut spent = format!(
        "  tokens      {} in, {} out",
        grouped(tokens.input),
        grouped(tokens.output)
    );
    if let Some(cost) = summary.cost_usd {
        spent.push_str(&format!(", ${cost:.4}"));
    }
    lines.push(spent);
    if let Some(note) = &summary.concurrency_note {
        lines.push(format!("  note        {note}"));
    }
    if let Some(mock) = &summary.mock {
        lines.push(format!("  simulator   {}", simulator(mock)));
    }
    lines.extend(ending(summary, signal, to_stdout));
    lines
}

/// `2.4 s`, or as on a clock from a minute on.
fn took(wall_s: f64) -> String {
    if wall_s < 59.95 {
        return format!("{wall_s:.1} s");
    }
    clock(Duration::from_secs_f64(wall_s.round()))
}

/// Why requests failed, the most frequent reasons first, and whether limits are told too high.
fn failures(summary: &Summary) -> Vec<String> {
    let shown = |text: &str| strip_control(text, MESSAGE_MAX_CHARS);
    let mut lines: Vec<String> = summary
        .failures
        .iter()
        .take(FAILURES_SHOWN)
        .map(|sum| {
            let (count, code) = (grouped(sum.count), shown(&sum.code));
            let (id, message) = (shown(&sum.first_id), shown(&sum.first_message));
            format!("  failed      {count} {code}, first `{id}`: {message}")
        })
        .collect();
    let throttled = summary.attempts.get("throttled").copied().unwrap_or(0);
    let all: u64 = summary.attempts.values().sum();
    if let Some(message) = summary
        .throttled_message
        .as_deref()
        .filter(|_| throttled * 20 > all)
    {
        let (throttled, all, message) = (grouped(throttled), grouped(all), shown(message));
        lines.push(format!(
            "  note        {throttled} of {all} attempts were throttled, so the limits are told too \
             high, or the server counts them by another --limit-shape or --jitter: {message}"
        ));
    }
    lines
}

fn attempts(summary: &Summary) -> String {
    let total: u64 = summary.attempts.values().sum();
    let parts: Vec<String> = summary
        .attempts
        .iter()
        .map(|(class, count)| format!("{} {class}", grouped(*count)))
        .collect();
    if parts.is_empty() {
        return "0".to_owned();
    }
    format!("{} ({})", grouped(total), parts.join(", "))
}

fn quantiles(times: &Quantiles) -> String {
    let ms = |value: f64| {
        if value >= 10_000.0 {
            format!("{:.1} s", value / 1000.0)
        } else {
            format!("{value:.0} ms")
        }
    };
    format!(
        "mean {}, p50 {}, p95 {}, p99 {}, max {}",
        ms(times.mean_ms),
        ms(times.p50_ms),
        ms(times.p95_ms),
        ms(times.p99_ms),
        ms(times.max_ms)
    )
}

/// The server's own account, of which the client knows nothing.
fn simulator(mock: &serde_json::Value) -> String {
    let count = |name: &str| mock[name].as_u64().unwrap_or(0);
    let throttled = mock["by_status"]["429"].as_u64().unwrap_or(0);
    let mut text = format!(
        "admitted {}, answered 429 to {}",
        grouped(count("requests_admitted")),
        grouped(throttled)
    );
    for (name, unit) in [
        ("utilisation_requests", "requests"),
        ("utilisation_tokens", "tokens"),
    ] {
        if let Some(share) = mock[name].as_f64() {
            text.push_str(&format!(", {:.2} % of its {unit} used", share * 100.0));
        }
    }
    text
}

fn ending(summary: &Summary, signal: Option<u8>, to_stdout: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(output) = summary.output.as_deref().filter(|_| !to_stdout) {
        let part = if summary.complete { "" } else { " (so far)" };
        lines.push(format!("  answers     {output}{part}"));
    }
    if let Some(errors) = &summary.errors {
        lines.push(format!(
            "  failed      {errors} (send them again with --retry-failed)"
        ));
    }
    for problem in &summary.problems {
        lines.push(format!("brimful: {problem}"));
    }
    let name = |ids: &[String]| {
        // Ids are the input's: they may hold what a terminal obeys.
        let some: Vec<String> = ids.iter().take(5).map(|id| strip_control(id, 60)).collect();
        let more = if ids.len() > 5 { ", …" } else { "" };
        format!("{}{more}", some.join(", "))
    };
    if !summary.abandoned_ids.is_empty() {
        let ids = name(&summary.abandoned_ids);
        lines.push(format!(
            "{} given up in flight, perhaps billed: {ids}",
            grouped(summary.abandoned_ids.len() as u64)
        ));
    }
    if !summary.unwritten_ids.is_empty() {
        lines.push(format!(
            "answered but not written: {}",
            name(&summary.unwritten_ids)
        ));
    }
    let stopped = signal.is_some() || matches!(summary.stopped_by, Some(Stop::Asked));
    if stopped && !summary.complete {
        let how = if summary.output.is_some() {
            "run the same command again to go on"
        } else {
            "without --journal there is nothing to go on from"
        };
        lines.push(format!("brimful: stopped before the end; {how}"));
    }
    lines
}
