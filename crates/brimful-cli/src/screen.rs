//! What a person, or a program, sees of a running run on standard error.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use brimful::progress::Progress;
use brimful::run::Totals;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use crate::args;
use crate::run::say;

/// Width of the bar itself.
const BAR_COLUMNS: usize = 24;
/// Rates are shown over this stretch of time.
const RECENT: Duration = Duration::from_secs(5);

/// Shows progress until the sender is gone.
pub(crate) async fn show(
    style: args::ProgressStyle,
    every: Duration,
    format: args::LogFormat,
    totals: Totals,
    mut progress: watch::Receiver<Progress>,
) {
    let terminal = std::io::stderr().is_terminal();
    let told = Told { format, count: 0 };
    match style {
        args::ProgressStyle::None => notices(told, &mut progress).await,
        args::ProgressStyle::Json => lines(every, told, &totals, &mut progress).await,
        args::ProgressStyle::Auto if !terminal => {
            lines(every, told, &totals, &mut progress).await;
        }
        args::ProgressStyle::Auto | args::ProgressStyle::Bar => {
            bar(told, &totals, &mut progress).await;
        }
    }
}

/// Which notices were told.
struct Told {
    format: args::LogFormat,
    count: usize,
}

impl Told {
    /// Tells those that are new.
    fn tell(&mut self, progress: &Progress) {
        for notice in progress.notices.iter().skip(self.count) {
            say(self.format, notice.level, &notice.text);
        }
        self.count = progress.notices.len();
    }
}

async fn notices(mut told: Told, progress: &mut watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        told.tell(&now);
    }
}

async fn bar(mut told: Told, totals: &Totals, progress: &mut watch::Receiver<Progress>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let template = format!("{{bar:{BAR_COLUMNS}.green/dim}} {{msg}}\n{{prefix:.dim}}");
    let style = ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    bar.set_style(style);
    let mut rate = Rate::default();
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        if now.notices.len() > told.count {
            bar.suspend(|| told.tell(&now));
        }
        let total = totals.rows();
        let done = done(&now, totals);
        rate.note(now.at, done);
        if let Some(total) = total {
            bar.set_length(total.max(done));
        }
        bar.set_position(done);
        let columns = usize::from(console::Term::stderr().size().1);
        bar.set_message(cut(
            &first_line(&now, totals, &rate),
            columns.saturating_sub(BAR_COLUMNS + 2),
        ));
        bar.set_prefix(cut(&second_line(&now), columns.saturating_sub(1)));
    }
    bar.finish_and_clear();
}

async fn lines(
    every: Duration,
    mut told: Told,
    totals: &Totals,
    progress: &mut watch::Receiver<Progress>,
) {
    let mut rate = Rate::default();
    let mut next = Instant::now() + every;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        told.tell(&now);
        rate.note(now.at, done(&now, totals));
        if now.at < next {
            continue;
        }
        next += every;
        let line = serde_json::json!({
            "progress": {
                "elapsed_s": round(now.elapsed.as_secs_f64()),
                "done": done(&now, totals),
                "total": totals.rows(),
                "answered": now.counts.answered,
                "failed": now.counts.dead,
                "throttled": now.counts.throttled(),
                "in_flight": now.in_flight,
                "rate_per_s": round(rate.per_second()),
                "binding": now.binding,
                "limits": now.limits,
                "upstreams": now.upstreams,
                "input_tokens": now.counts.usage.input,
                "output_tokens": now.counts.usage.output,
                "cost_usd": now.counts.cost_usd,
                "eta_s": eta(&now, totals, &rate).map(|eta| round(eta.as_secs_f64())),
                "upstream_message": now.cooldown.map(|_| now.upstream_message.as_str()),
                "concurrency_note": now.concurrency_note,
                "stopping": now.stopping,
            }
        });
        // Progress that nobody can read must not stop a run.
        let _unread = writeln!(std::io::stderr(), "{line}");
    }
}

fn done(progress: &Progress, totals: &Totals) -> u64 {
    totals.skipped() + progress.counts.answered + progress.counts.dead
}

fn first_line(now: &Progress, totals: &Totals, rate: &Rate) -> String {
    let done = done(now, totals);
    let mut text = match totals.rows() {
        Some(total) => format!("{}/{}", grouped(done), grouped(total)),
        None => grouped(done),
    };
    text.push_str(&format!("  {}/s", short(rate.per_second())));
    let binding = now.binding.as_deref();
    let used = now
        .limits
        .iter()
        .filter_map(|limit| Some((limit, limit.utilisation_percent?)))
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((limit, share)) = used {
        text.push_str(&format!("  {} {share:.1} %", limit.name));
    }
    if now.stopping {
        text.push_str("  stopping");
    } else if let Some(eta) = eta(now, totals, rate) {
        text.push_str(&format!("  ETA {}", clock(eta)));
    }
    match (now.cooldown, binding) {
        (Some(left), _) => text.push_str(&format!("  cooldown {:.1} s", left.as_secs_f64())),
        (None, Some(name)) => text.push_str(&format!("  limited by {name}")),
        (None, None) => {}
    }
    text
}

fn second_line(now: &Progress) -> String {
    if now.stopping {
        let oldest = now.oldest_in_flight.unwrap_or_default().as_secs_f64();
        return format!(
            "waiting for {} in flight, oldest {oldest:.1} s; Ctrl-C again abandons them",
            now.in_flight
        );
    }
    let counts = &now.counts;
    let mut text = format!(
        "{} in flight  {} throttled  {} failed  {} retries  tokens {} in {} out",
        grouped(now.in_flight as u64),
        grouped(counts.throttled()),
        grouped(counts.dead),
        grouped(counts.retries),
        short(to_f64(counts.usage.input)),
        short(to_f64(counts.usage.output)),
    );
    if let Some(cost) = counts.cost_usd {
        let digits = if cost < 1.0 { 4 } else { 2 };
        text.push_str(&format!("  ${cost:.digits$}"));
    }
    if let Some(note) = &now.concurrency_note {
        text.push_str(&format!("  {note}"));
    }
    if now.cooldown.is_some() && !now.upstream_message.is_empty() {
        text.push_str(&format!("  {}", now.upstream_message));
    }
    text
}

fn eta(now: &Progress, totals: &Totals, rate: &Rate) -> Option<Duration> {
    let left = totals.rows()?.saturating_sub(done(now, totals));
    let per_second = rate.per_second();
    if per_second <= 0.0 || now.elapsed < Duration::from_secs(1) {
        return None;
    }
    Duration::try_from_secs_f64(to_f64(left) / per_second).ok()
}

/// Requests done in the last [`RECENT`].
#[derive(Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn note(&mut self, at: Instant, done: u64) {
        self.0.push_back((at, done));
        while self.0.len() > 2 && at.duration_since(self.0[1].0) > RECENT {
            self.0.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return 0.0;
        };
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        if seconds > 0.0 {
            to_f64(last.1 - first.1) / seconds
        } else {
            0.0
        }
    }
}

/// As much of a line as fits: a line that wraps would leave its rest on the screen.
fn cut(line: &str, columns: usize) -> String {
    console::truncate_str(line, columns, "…").into_owned()
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a unit.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}G", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v == v.trunc() => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

/// `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        return format!("{hours}:{minutes:02}:{seconds:02}");
    }
    format!("{minutes}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn times_are_shown_as_on_a_clock() {
        assert_eq!(clock(Duration::from_secs(5)), "0:05");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for second in 0..20 {
            let done = if second < 10 { 0 } else { (second - 10) * 100 };
            rate.note(start + Duration::from_secs(second), done);
        }
        assert!(
            (rate.per_second() - 100.0).abs() < 1.0,
            "{}",
            rate.per_second()
        );
    }
}
