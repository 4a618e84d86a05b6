//! One limit whose level, amount and reset stand in three headers of fixed names.

use std::time::Duration;

use brimful_core::{LimitKind, Reading, Reset};
use http::HeaderName;

use super::names::MISSPELT_RESET;
use super::window::inferred;
use super::{RESET_MAX, Seen, amount};
use crate::duration::parse_wait;

/// The headers of one limit and what they mean.
pub(super) struct Named {
    pub limit: HeaderName,
    pub remaining: HeaderName,
    pub reset: HeaderName,
    pub kind: LimitKind,
    pub window: Window,
    pub meaning: Meaning,
    pub granularity: u64,
}

/// How the window of a limit is known.
#[derive(Clone, Copy)]
pub(super) enum Window {
    /// The provider or the name says it.
    Secs(u64),
    /// It follows from the level and the time until that is free.
    Inferred,
    /// Nothing tells.
    Unknown,
}

/// What the reset of a limit means.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    Full,
    Restart,
    Unclear,
    /// A duration with units means completely free (OpenAI), a bare number the restart (Azure).
    ByForm,
}

impl Named {
    pub(super) fn read(&self, seen: &mut Seen<'_>) -> Option<Reading> {
        let limit = seen.text(&self.limit).and_then(amount);
        let limit = limit.filter(|limit| *limit > 0);
        let remaining = seen.text(&self.remaining).and_then(amount);
        if limit.is_none() && remaining.is_none() {
            return None;
        }
        let written = seen.text(&self.reset).or_else(|| self.misspelt(seen));
        let written = written.map(str::trim);
        let wait = written.and_then(|text| {
            let clock = if may_be_instant(text) {
                seen.clock()
            } else {
                0
            };
            parse_wait(text, clock).filter(|wait| *wait <= RESET_MAX)
        });
        // Azure's Responses endpoint says 0 where it means nothing.
        if limit.is_none() && wait.is_none() && remaining == Some(0) {
            return None;
        }
        let remaining = remaining.map(|left| left.min(limit.unwrap_or(u64::MAX)));
        let reset = wait.zip(written).map(|(wait, text)| self.means(wait, text));
        let window = match (self.window, limit, remaining, reset) {
            (Window::Secs(secs), ..) => Some(Duration::from_secs(secs)),
            (Window::Inferred, Some(limit), Some(remaining), Some(Reset::Full(wait))) => inferred(
                limit,
                remaining,
                wait,
                resolution(written.unwrap_or_default()),
            ),
            _ => None,
        };
        Some(Reading {
            kind: self.kind,
            window,
            limit,
            remaining,
            reset,
            granularity: self.granularity,
        })
    }

    fn misspelt<'a>(&self, seen: &Seen<'a>) -> Option<&'a str> {
        let may_be_azure = matches!(self.meaning, Meaning::Restart | Meaning::ByForm);
        if self.kind != LimitKind::TotalTokens || !may_be_azure {
            return None;
        }
        seen.text(&MISSPELT_RESET)
    }

    fn means(&self, wait: Duration, written: &str) -> Reset {
        match self.meaning {
            Meaning::Full => Reset::Full(wait),
            Meaning::Restart => Reset::Restart(wait),
            Meaning::Unclear => Reset::Unclear(wait),
            Meaning::ByForm if has_unit(written) => Reset::Full(wait),
            Meaning::ByForm => Reset::Restart(wait),
        }
    }
}

/// Whether the clock matters to a reset: instants are longer than most durations.
const fn may_be_instant(text: &str) -> bool {
    text.len() > 9
}

fn has_unit(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_alphabetic())
}

/// By how much a reset may be off as it is written: whole seconds are rounded ones, durations with
/// units are exact to the millisecond.
fn resolution(text: &str) -> Duration {
    if has_unit(text) || text.contains('.') {
        Duration::from_millis(1)
    } else {
        Duration::from_secs(1)
    }
}
