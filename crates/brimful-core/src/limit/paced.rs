//! Shape `paced`: the server's way of counting is not known.
//!
//! Two rules together. *Pace*: units start evenly at 99.1 % of the rate, so that a bucket, or a
//! window of 10 s and more at any phase, never sees more than it allows, whatever its phase.
//! *Window*: in any window plus jitter no more than the amount starts, whatever the sizes.
//!
//! 99.1 %: on windows of 60 s with 300 ms of jitter, N / (W + J) allows 99.5 %; catching up 50 ms
//! and the resolution of the count cost 0.1 %, and the rest keeps the count from binding. Lower
//! would waste rate, higher would be judged over by 1 s windows more often. See
//! `docs/design/limits.md` for the measured table. With more jitter the pace falls to what the
//! count allows: evenly slower, instead of a pause after each window.

use super::LimitSpec;
use super::counted::{Counted, is_paced};
use super::pace::{Pace, nanos};
use super::window::{Window, part};

const PERMILLE: u64 = 991;

pub(super) fn paced(spec: &LimitSpec) -> Counted {
    let window = nanos(spec.window);
    let jitter = spec.jitter.unwrap_or(spec.window / 200);
    let stretch = nanos(spec.window + jitter);
    let permille = permille(window, stretch);
    let pace = is_paced(spec.window)
        .then(|| Pace::new(spec.amount, spec.amount * permille, window * 1000, None));
    Counted::new(spec.amount, pace, Window::new(spec.amount, stretch))
}

/// What part of the rate the count over `stretch` allows, rounded down, and no more than 99.1 %.
fn permille(window: u64, stretch: u64) -> u64 {
    let counted = stretch + part(stretch);
    // 31 days in nanoseconds, a thousandfold, are a seventh of what fits.
    (window * 1000 / counted).clamp(1, PERMILLE)
}
