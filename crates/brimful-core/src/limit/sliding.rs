//! Shape `sliding`: the server counts what it admitted in the last window W, start by start.
//!
//! What is sent at t is admitted somewhere in a stretch of the jitter J after t + d. So the server
//! never counts more than N if no more than N are sent in any W + J, both ends included, since
//! servers differ in whether an admission of exactly W ago still counts. The count alone keeps
//! this; sending evenly at N / (W + J) keeps a server from harm whose window was in use before we
//! came, or which also judges shorter windows. A declared burst gives that up: it may start at
//! once.

use std::time::Duration;

use super::LimitSpec;
use super::counted::{Counted, is_paced};
use super::pace::{Pace, nanos};
use super::window::{Window, part};

/// The variation of the delay that is covered by default: 0.5 % of the window, but not below 50 ms,
/// for that is what delays between machines vary by, and not above 300 ms, for they do not vary
/// more because a window is longer. No more than 5 % of the rate is given for it.
pub(super) fn jitter(spec: &LimitSpec) -> Duration {
    const LEAST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_millis(300);
    spec.jitter.unwrap_or_else(|| {
        let share = (spec.window / 200).clamp(LEAST, MOST);
        share.min(spec.window / 20)
    })
}

pub(super) fn sliding(spec: &LimitSpec) -> Counted {
    // One nanosecond more: both ends of a stretch count.
    let stretch = nanos(spec.window + jitter(spec)) + 1;
    let counted = stretch + part(stretch);
    let pace =
        is_paced(spec.window).then(|| Pace::new(spec.amount, spec.amount, counted, spec.burst));
    Counted::new(spec.amount, pace, Window::new(spec.amount, stretch))
}
