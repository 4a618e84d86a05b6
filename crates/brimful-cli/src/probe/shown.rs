//! What a probe found, for people and for programs.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use brimful_core::{LimitKind, Reset};
use brimful_providers::profile::{Charging, ProfileLimit, Rule};
use brimful_providers::text::strip_control;
use serde_json::{Value, json};

use super::found::Found;
use super::{Exchange, Probe};
use crate::limits::table;
use crate::screen::grouped;

/// Characters of a server's message that are shown.
const MESSAGE_MAX_CHARS: usize = 300;

pub(super) fn text(probe: &Probe) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let (profile, path) = (probe.profile, &probe.path);
    let base_url = strip_control(&probe.base_url, MESSAGE_MAX_CHARS);
    writeln!(
        text,
        "{} ({}) at {base_url}, {path}",
        profile.title, profile.name
    )?;
    for (index, exchange) in probe.exchanges.iter().enumerate() {
        writeln!(text, "request {}: {}", index + 1, exchange.words())?;
    }
    if let Some(last) = probe.exchanges.last() {
        writeln!(text, "protocol:  {}", protocol(last))?;
        writeln!(text, "clock:     {}", clock(last.clock_ahead_ms))?;
    }
    let found = probe.found();
    if found.is_empty() {
        writeln!(text, "\nIts headers say nothing of limits.")?;
    } else {
        text.push('\n');
        let mut rows =
            vec![["LIMIT", "AMOUNT", "LEFT", "RESET", "TAKEN", "PROFILE"].map(str::to_owned)];
        rows.extend(found.iter().map(Found::row));
        table(&mut text, "", &rows)?;
    }
    let charged = probe
        .exchanges
        .iter()
        .filter_map(|exchange| exchange.seen.as_ref()?.charged_tokens);
    for tokens in charged {
        writeln!(
            text,
            "It says itself that a request was charged {} tokens.",
            grouped(tokens)
        )?;
    }
    foretold(&mut text, probe, &found)?;
    let unnamed = probe.unnamed();
    if !unnamed.is_empty() {
        let names: Vec<&str> = unnamed.iter().map(|limit| limit.name.as_str()).collect();
        let names = names.join(", ");
        writeln!(
            text,
            "\nNot named by the server, though the profile has them: {names}."
        )?;
    }
    if !profile.replies.refuses {
        text.push_str(
            "\nThis server refuses nothing for speed: the number of requests in flight is what \
             counts.\n",
        );
    }
    Ok(text)
}

/// What the second request should have taken, where tokens are limited.
fn foretold(text: &mut String, probe: &Probe, found: &[Found<'_>]) -> std::fmt::Result {
    let mut gap = "\n";
    for one in found.iter().filter(|found| !found.foretold.is_empty()) {
        let Some(taken) = &one.taken else { continue };
        let ways: Vec<String> = one
            .foretold
            .iter()
            .map(|(charging, units)| format!("{} by `{}`", grouped(*units), rule(charging)))
            .collect();
        let (name, taken, ways) = (one.name(), range(taken), ways.join(", "));
        writeln!(text, "{gap}{name}: {taken} taken; foretold: {ways}")?;
        gap = "";
    }
    if let Some(Ok(Some(usage))) = probe.exchanges.last().map(|last| &last.outcome) {
        let (input, output) = (grouped(usage.input), grouped(usage.output));
        let estimate = grouped(probe.estimate.input_tokens);
        writeln!(
            text,
            "\nTokens used: {input} in ({estimate} estimated), {output} out."
        )?;
    }
    Ok(())
}

const fn rule(charging: &Charging) -> &'static str {
    match charging.rule {
        Rule::Max => "max",
        Rule::Sum => "sum",
        Rule::Input => "input",
        Rule::Produced => "produced",
    }
}

impl Exchange {
    fn words(&self) -> String {
        let ms = self.took.as_millis();
        match &self.outcome {
            Ok(_) => format!("{}, answered after {ms} ms", self.status),
            Err(failure) => {
                let message = strip_control(&failure.message, MESSAGE_MAX_CHARS);
                let (class, code) = (failure.failure.class, &failure.code);
                format!("{}, {class} ({code}): {message}", self.status)
            }
        }
    }
}

fn protocol(exchange: &Exchange) -> String {
    let http = format!("{:?}", exchange.protocol.http);
    match tls(exchange) {
        Some(tls) => format!("{http} over {tls}"),
        None => format!("{http} without TLS"),
    }
}

fn tls(exchange: &Exchange) -> Option<String> {
    // `TLSv1_3`
    let version = format!("{:?}", exchange.protocol.tls?);
    Some(version.replacen('v', " ", 1).replace('_', "."))
}

fn clock(ahead_ms: Option<i64>) -> String {
    match ahead_ms {
        None => "the server names no date".to_owned(),
        Some(ms) if ms.abs() <= 1_000 => "the server's agrees to a second".to_owned(),
        Some(ms) => {
            let way = if ms > 0 { "ahead" } else { "behind" };
            let secs = ms.unsigned_abs().div_ceil(1_000);
            format!("the server's is {secs} s {way}, to a second")
        }
    }
}

impl Found<'_> {
    /// `tokens, 60 s`
    fn name(&self) -> String {
        let kind = match self.reading.kind {
            LimitKind::Requests => "requests",
            LimitKind::TotalTokens => "tokens",
            LimitKind::InputTokens => "input tokens",
            LimitKind::OutputTokens => "output tokens",
            LimitKind::Concurrency => "requests in flight",
            LimitKind::Custom(_) => "units",
        };
        match self.reading.window {
            Some(window) => format!("{kind} in {}", span(window)),
            None if self.reading.kind == LimitKind::Concurrency => kind.to_owned(),
            None => format!("{kind}, window unknown"),
        }
    }

    fn row(&self) -> [String; 6] {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
        let rounded = match self.reading.granularity {
            1 => String::new(),
            to => format!(" (to {})", grouped(to)),
        };
        let reset = match self.reading.reset {
            Some(Reset::Full(wait)) => format!("all free in {}", span(wait)),
            Some(Reset::Restart(wait)) => format!("restarts in {}", span(wait)),
            Some(Reset::Unclear(wait)) => span(wait),
            None => "-".to_owned(),
        };
        let profile = match self.known {
            Some(limit) => format!("{}: {}", limit.name, limit.shape_words()),
            None => "has no such limit".to_owned(),
        };
        [
            self.name(),
            number(self.reading.limit),
            format!("{}{rounded}", number(self.reading.remaining)),
            reset,
            self.taken.as_ref().map_or_else(|| "-".to_owned(), range),
            profile,
        ]
    }

    fn document(&self) -> Value {
        let (reset_s, reset_means) = match self.reading.reset {
            Some(Reset::Full(wait)) => (Some(wait.as_secs_f64()), Some("full")),
            Some(Reset::Restart(wait)) => (Some(wait.as_secs_f64()), Some("restart")),
            Some(Reset::Unclear(wait)) => (Some(wait.as_secs_f64()), Some("unclear")),
            None => (None, None),
        };
        let foretold: Vec<Value> = self
            .foretold
            .iter()
            .map(|(charging, units)| json!({"rule": charging.rule, "units": units}))
            .collect();
        json!({
            "kind": kind_word(self.reading.kind),
            "window_s": self.reading.window.map(|window| window.as_secs_f64()),
            "limit": self.reading.limit,
            "remaining": self.reading.remaining,
            "granularity": self.reading.granularity,
            "reset_s": reset_s,
            "reset_means": reset_means,
            "taken_least": self.taken.as_ref().map(RangeInclusive::start),
            "taken_most": self.taken.as_ref().map(RangeInclusive::end),
            "foretold": foretold,
            "profile": self.known,
        })
    }
}

const fn kind_word(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Requests => "requests",
        LimitKind::TotalTokens => "total-tokens",
        LimitKind::InputTokens => "input-tokens",
        LimitKind::OutputTokens => "output-tokens",
        LimitKind::Concurrency => "concurrency",
        LimitKind::Custom(_) => "custom",
    }
}

/// `17`, or `12 to 18`
fn range(units: &RangeInclusive<u64>) -> String {
    let (least, most) = (grouped(*units.start()), grouped(*units.end()));
    if least == most {
        return least;
    }
    format!("{least} to {most}")
}

/// `12 ms`, `3.1 s`, `60 s`, `24 h`
fn span(time: Duration) -> String {
    let secs = time.as_secs_f64();
    if secs < 1.0 {
        return format!("{} ms", time.as_millis().max(1));
    }
    if time.subsec_millis() == 0 && time.as_secs().is_multiple_of(3_600) {
        return format!("{} h", time.as_secs() / 3_600);
    }
    if time.subsec_millis() == 0 || secs >= 100.0 {
        return format!("{secs:.0} s");
    }
    format!("{secs:.1} s")
}

pub(super) fn document(probe: &Probe) -> Value {
    let exchanges: Vec<Value> = probe.exchanges.iter().map(exchange).collect();
    let limits: Vec<Value> = probe.found().iter().map(Found::document).collect();
    let unnamed: Vec<&ProfileLimit> = probe.unnamed();
    let last = probe.exchanges.last();
    json!({
        "provider": probe.profile.name,
        "base_url": probe.base_url,
        "path": probe.path,
        "headers": probe.grammar.to_string(),
        "http": last.map(|last| format!("{:?}", last.protocol.http)),
        "tls": last.and_then(tls),
        "clock_ahead_ms": last.and_then(|last| last.clock_ahead_ms),
        "estimated": {
            "input_tokens": probe.estimate.input_tokens,
            "max_output_tokens": probe.estimate.max_output_tokens,
        },
        "requests": exchanges,
        "limits": limits,
        "unnamed": unnamed,
    })
}

fn exchange(exchange: &Exchange) -> Value {
    let (usage, failure) = match &exchange.outcome {
        Ok(usage) => (usage.as_ref(), None),
        Err(failure) => (None, Some(failure)),
    };
    json!({
        "status": exchange.status,
        "request_id": exchange.request_id,
        "took_ms": exchange.took.as_secs_f64() * 1_000.0,
        "usage": usage.map(|usage| json!({
            "input": usage.input, "output": usage.output, "cached": usage.cached,
        })),
        "charged_tokens": exchange.seen.as_ref().and_then(|seen| seen.charged_tokens),
        "error": failure.map(|failure| json!({
            "class": failure.failure.class.as_str(),
            "code": failure.code,
            "message": failure.message,
        })),
    })
}
