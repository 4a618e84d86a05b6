//! Shape `paced`: the server's way of counting is not known.
//!
//! Two rules together. *Pace*: units start evenly at 99.1 % of the rate, so that a bucket, or a
//! window of 10 s and more at any phase, never sees more than it allows, whatever its phase.
//! *Window*: in any window plus jitter no more than the amount starts, whatever the sizes.
//!
//! 99.1 %: on windows of 60 s with 300 ms of jitter, N / (W + J) allows 99.5 %; catching up 50 ms
//! and the resolution of the count cost 0.3 %. Lower would waste rate, higher would be judged over
//! by 1 s windows more often. See `docs/design/limits.md` for the measured table. With more jitter
//! the pace falls to what the count allows: evenly slower, instead of a pause after each window.
//!
//! Limits of an hour and longer are not paced, only counted: whoever may send 10,000 requests a day
//! does not want one every 8.6 s.

use std::time::Duration;

use super::LimitSpec;
use super::pace::Pace;
use super::window::{SLOTS, Window};
use crate::time::Timestamp;

const PERMILLE: u32 = 991;
const PACED_BELOW: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub(super) struct Paced {
    amount: u64,
    pace: Option<Pace>,
    window: Window,
}

impl Paced {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        let jitter = spec.jitter.unwrap_or(spec.window / 200);
        let permille = permille(spec.window, spec.window + jitter);
        let pace =
            (spec.window < PACED_BELOW).then(|| Pace::new(spec.amount, permille, spec.window));
        Self {
            amount: spec.amount,
            pace,
            window: Window::new(spec.amount, spec.window + jitter),
        }
    }

    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units > self.amount {
            return Err(self.amount);
        }
        let by_pace = self.pace.as_ref().map_or(now, |pace| pace.earliest(now));
        Ok(by_pace.max(self.window.earliest(now, units)))
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        if let Some(pace) = &mut self.pace {
            pace.take(now, units);
        }
        self.window.take(now, units);
    }

    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        taken_at: Timestamp,
        reserved: u64,
        actual: u64,
    ) {
        if let Some(pace) = &mut self.pace {
            pace.correct(now, i128::from(reserved) - i128::from(actual));
        }
        self.window.correct(now, taken_at, reserved, actual);
    }

    pub(super) fn drain(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.drain(now);
        }
    }
}

/// What part of the rate the count over `stretch` allows, rounded down, and no more than 99.1 %.
fn permille(window: Duration, stretch: Duration) -> u32 {
    let slots = u128::from(SLOTS);
    let counted = stretch.as_nanos() * (slots + 1);
    let allowed = window.as_nanos() * slots * 1000 / counted;
    u32::try_from(allowed).map_or(PERMILLE, |allowed| allowed.clamp(1, PERMILLE))
}
