//! What the numbers of one reply mean.

use std::time::Duration;

use super::mirror::Seen;
use crate::limit::LimitKind;
use crate::observation::{Reading, Reset};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The level that a reply shows, with what rounding hides of it. `None` when it shows none.
pub(super) fn seen(reading: &Reading) -> Option<Seen> {
    let remaining = i64::try_from(reading.remaining?).unwrap_or(i64::MAX / 4);
    let half = i64::try_from(reading.granularity / 2).unwrap_or(i64::MAX / 4);
    // Whole units are rounded down by nature.
    let most = remaining + half.max(1);
    Some(Seen {
        // Nothing left may be a debt of any size.
        least: (remaining > half).then_some(remaining - half),
        most,
    })
}

/// The time until a window starts anew, where that is what the reset means.
pub(super) fn restart(reading: &Reading, is_window: bool) -> Option<Duration> {
    match reading.reset? {
        Reset::Restart(time) => Some(time),
        Reset::Full(time) | Reset::Unclear(time) => is_window.then_some(time),
    }
}

/// The window of a limit whose name does not tell it: what the numbers say, if they are those of a
/// known window, else the usual one. `None` when nothing is used yet, so that nothing is said.
pub(super) fn window(reading: &Reading) -> Option<Duration> {
    let (limit, remaining) = (reading.limit?, reading.remaining?);
    let used = limit.checked_sub(remaining).filter(|used| *used > 0);
    match reading.reset {
        Some(Reset::Full(time)) if !time.is_zero() => {
            let whole_s = time.as_secs_f64() * limit as f64 / used? as f64;
            Some(usual(whole_s))
        }
        Some(Reset::Restart(time) | Reset::Unclear(time)) if time > HOUR => Some(DAY),
        Some(Reset::Restart(time) | Reset::Unclear(time)) if time > MINUTE => Some(HOUR),
        _ => Some(MINUTE),
    }
}

/// A day where the numbers are those of a bucket of a day, else a minute. In a bucket the product
/// is exact; a window that starts anew gives any number, and is a minute's as a rule.
fn usual(whole_s: f64) -> Duration {
    let quotient = whole_s / DAY.as_secs_f64();
    if (0.98..1.02).contains(&quotient) {
        DAY
    } else {
        MINUTE
    }
}

/// The name of a limit that the server named.
pub(super) fn name(kind: LimitKind, window: Duration) -> String {
    let what = match kind {
        LimitKind::Requests | LimitKind::Concurrency | LimitKind::Custom(_) => "r",
        LimitKind::TotalTokens => "t",
        LimitKind::InputTokens => "it",
        LimitKind::OutputTokens => "ot",
    };
    match window {
        SECOND => format!("told-{what}ps"),
        MINUTE => format!("told-{what}pm"),
        HOUR => format!("told-{what}ph"),
        DAY => format!("told-{what}pd"),
        other => format!("told-{what}p{}s", other.as_secs()),
    }
}

/// Replies that no bucket sends, from which it is sure that it is none.
const WINDOWS_LEAST: u32 = 3;

/// Whether level and reset of a limit are those of a bucket that refills all the time: what is left
/// and what is earned until it is full are then the same sum in every reply.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    holds: Option<f64>,
    times: u32,
    proven: bool,
    /// Replies that no bucket sends, less those that one may, until it is sure.
    windows: u32,
}

impl Bucket {
    pub(super) const fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether it is none: more is to come until the reset than a bucket of the whole amount can
    /// earn, so that the reset is when a window starts anew.
    pub(super) const fn is_window(&self) -> bool {
        self.windows >= WINDOWS_LEAST
    }

    /// What it holds, where that is known.
    pub(super) fn holds(&self) -> Option<u64> {
        self.holds
            .filter(|_| self.proven)
            .map(|holds| holds.round() as u64)
    }

    /// The limit has become another one; its bucket has grown or shrunk with it.
    pub(super) fn scaled(&mut self, from: u64, to: u64) {
        self.holds = self.holds.map(|holds| holds * to as f64 / from as f64);
    }

    /// Adds what one reply says. Whether anything has changed by it.
    pub(super) fn add(
        &mut self,
        reading: &Reading,
        amount: u64,
        window: Duration,
        times: u32,
    ) -> bool {
        let (Some(Reset::Full(time)), Some(remaining)) = (reading.reset, reading.remaining) else {
            return false;
        };
        let rate = amount as f64 / window.as_secs_f64();
        let sum = remaining as f64 + rate * time.as_secs_f64();
        // A reset in whole seconds is up to one too long.
        let coarse = if time.subsec_nanos() == 0 { rate } else { 0.0 };
        let rounding = reading.granularity as f64 + coarse + 0.002 * rate + 1.0;
        if remaining == 0 {
            return false;
        }
        let whole = amount as f64;
        let close = |a: f64, b: f64| (a - b).abs() <= 0.05 * b + rounding;
        // A bucket of the whole amount is what most have: one reply is enough.
        let holds = if close(sum, whole) { whole } else { sum };
        let before = (self.proven, self.holds);
        match self.holds {
            Some(known) if close(holds, known) => self.times += 1,
            _ => {
                self.times = 1;
                self.holds = Some(holds);
                self.proven = false;
            }
        }
        let fits = holds <= whole * 1.05 + rounding;
        // In the second half of a window it looks like a bucket again: once found out, it stays.
        if !fits {
            self.windows = self.windows.saturating_add(1);
        } else if !self.is_window() {
            self.windows = self.windows.saturating_sub(1);
        }
        self.proven = fits && (holds == whole || self.proven || self.times >= times);
        (self.proven, self.holds) != before
    }
}
