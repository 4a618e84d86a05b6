//! No limit is known at all, and the server says nothing of it.

use std::time::Duration;

use brimful_core::EngineConfig;

use crate::config::{Enforcement, LevelHeaders, RetryAfterStyle, ServerConfig};
use crate::virtual_run::{Size, Sizes};

use super::{Check, MINUTE, Measure, SECOND, Scenario, Stretch, saturated};

const SMALL: Sizes = Sizes::Fixed(Size {
    input: 10,
    max_output: 10,
});

/// Prompts of 400 tokens and answers of at most 300, each log-normal.
const MIXED: Sizes = Sizes::LogNormal {
    median: Size {
        input: 400,
        max_output: 300,
    },
    input_sigma: 0.8,
    output_sigma: 0.6,
    most: 8_000,
};

/// Every way of judging, at two rates, and tokens.
pub(super) fn unknown(all: &mut Vec<Scenario>) {
    for rpm in [600, 6_000] {
        for (judged, server, learnt) in [
            ("bucket of 1 s", bucket(SECOND), 2 * MINUTE),
            ("bucket of 60 s", bucket(MINUTE), 5 * MINUTE),
            ("fixed windows of 60 s", windows(MINUTE), 5 * MINUTE),
            ("fixed windows of 10 s", windows(10 * SECOND), 2 * MINUTE),
            ("fixed windows of 1 s", windows(SECOND), 2 * MINUTE),
        ] {
            let server = ServerConfig {
                rpm: Some(rpm),
                ..server
            };
            push(
                all,
                &format!("unknown limit of {rpm} rpm, {judged}"),
                server,
                SMALL,
                learnt,
            );
        }
    }
    for (judged, server, learnt) in [
        ("bucket of 60 s", bucket(MINUTE), 5 * MINUTE),
        ("fixed windows of 60 s", windows(MINUTE), 5 * MINUTE),
    ] {
        let server = ServerConfig {
            tpm: Some(1_000_000),
            ..server
        };
        push(
            all,
            &format!("unknown limit of 1,000,000 tpm, {judged}"),
            server,
            MIXED,
            learnt,
        );
    }
}

fn push(all: &mut Vec<Scenario>, name: &str, server: ServerConfig, sizes: Sizes, learnt: Duration) {
    let run = saturated(
        EngineConfig::new(Vec::new()),
        server,
        sizes,
        learnt + 15 * MINUTE,
    );
    let (before, after) = (Stretch::before(learnt), Stretch::after(learnt));
    let minutes = learnt.as_secs() / 60;
    let goal = |name: &str, measure, stretch, goal| Check::goal(name, measure, stretch, goal);
    let mut checks = vec![
        goal("429s, then", Measure::Throttled, after, 0.002),
        goal("used, then", Measure::FreeShare, after, 0.95),
    ];
    // Even sending into seconds of unknown phase: see docs/design/learning.md.
    if name.contains("600 rpm, fixed windows of 1 s") {
        checks[0] = checks[0].clone().short_of(0.004);
        checks[1] = checks[1].clone().short_of(0.92);
    } else {
        let until = Measure::SecondsUntil { share: 0.95 };
        let seconds = learnt.as_secs_f64();
        let mut soon = goal("95 % used after", until, Stretch::WHOLE, seconds);
        if name.contains("fixed windows of 1 s") {
            checks[1] = checks[1].clone().short_of(0.94);
            soon = soon.short_of(900.0);
        }
        checks.push(soon);
    }
    let first = format!("429s, first {minutes} min");
    checks.push(Check::floor(&first, Measure::Throttled, before, 0.08));
    all.push(Scenario {
        name: format!("{name}, silent"),
        run,
        checks,
    });
}

fn bucket(burst: Duration) -> ServerConfig {
    ServerConfig { burst, ..silent() }
}

fn windows(window: Duration) -> ServerConfig {
    ServerConfig {
        enforcement: Enforcement::FixedWindow,
        judged_over: Some(window),
        ..silent()
    }
}

/// Answers take 200 ms and refusals say nothing.
pub(super) fn silent() -> ServerConfig {
    ServerConfig {
        latency_ms_median: 200.0,
        latency_sigma: 0.3,
        level_headers: LevelHeaders::Absent,
        retry_after: RetryAfterStyle::Silent,
        ..ServerConfig::default()
    }
}
