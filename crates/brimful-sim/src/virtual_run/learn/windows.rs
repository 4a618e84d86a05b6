//! The limit is known and how it is judged is not, and the server says nothing of it.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec};

use crate::config::{Enforcement, ServerConfig};
use crate::virtual_run::{Size, Sizes};

use super::unknown::silent;
use super::{Check, MINUTE, Measure, SECOND, Scenario, Stretch, saturated};

const RPM: u64 = 6_000;
/// One refusal in twenty thousand.
const NONE_TO_SPEAK_OF: f64 = 0.000_05;
/// How long a window may stay unknown.
const LEARNT: Duration = Duration::from_secs(600);
const SMALL: Sizes = Sizes::Fixed(Size {
    input: 10,
    max_output: 10,
});

/// Fixed windows of 60, 10 and 1 s at any phase.
pub(super) fn unknown(all: &mut Vec<Scenario>) {
    for (span, window, refused_most, used_least) in [
        ("60 s", MINUTE, 0.000_1, 0.99),
        ("10 s", 10 * SECOND, 0.000_1, 0.98),
        ("1 s", SECOND, 0.003, 0.95),
    ] {
        let server = ServerConfig {
            rpm: Some(RPM),
            enforcement: Enforcement::FixedWindow,
            judged_over: Some(window),
            ..silent()
        };
        let limit = LimitSpec::new("rpm", LimitKind::Requests, RPM, MINUTE);
        let run = saturated(EngineConfig::new(vec![limit]), server, SMALL, 2 * LEARNT);
        let (before, after) = (Stretch::before(LEARNT), Stretch::after(LEARNT));
        let checks = vec![
            Check::goal(
                "429s, first 10 min",
                Measure::Throttled,
                before,
                refused_most,
            ),
            Check::goal("429s, then", Measure::Throttled, after, NONE_TO_SPEAK_OF),
            Check::goal("used", Measure::FreeShare, Stretch::WHOLE, used_least),
        ];
        all.push(Scenario {
            name: format!("{RPM} rpm, unknown window of {span}, silent"),
            run,
            checks,
        });
    }
}
