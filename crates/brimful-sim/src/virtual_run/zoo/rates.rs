//! Limits on requests: every way of judging them, known to the client and not.

use std::time::Duration;

use brimful_core::Shape;

use crate::config::{Enforcement, ServerConfig};
use crate::virtual_run::{Delay, Workload};

use super::{Aim, Goal, MINUTE, MS, Scenario, requests_per, run, server};

const RATES: [u64; 2] = [600, 6_000];
const SPANS: [(&str, Duration); 3] = [
    ("60 s", MINUTE),
    ("10 s", Duration::from_secs(10)),
    ("1 s", Duration::from_secs(1)),
];

/// What the client has been told is so.
pub(super) fn known(all: &mut Vec<Scenario>) {
    for rpm in RATES {
        for (span, burst) in SPANS {
            known_bucket(all, rpm, span, burst);
        }
    }
    for rpm in RATES {
        for (span, window) in SPANS {
            for (judged, enforcement, shape) in [
                ("fixed windows", Enforcement::FixedWindow, Shape::Fixed),
                ("sliding log", Enforcement::SlidingLog, Shape::Sliding),
            ] {
                let server = judged_over(rpm, enforcement, window);
                known_window(all, rpm, &format!("{judged} of {span}"), server, shape);
            }
        }
    }
}

fn known_bucket(all: &mut Vec<Scenario>, rpm: u64, span: &str, burst: Duration) {
    let server = ServerConfig {
        burst,
        ..judged(rpm, Enforcement::TokenBucket)
    };
    let limit = requests_per(rpm, MINUTE);
    let held = units_in(rpm, burst);
    for (client, limit) in [
        ("token-bucket", limit.clone().shape(Shape::TokenBucket)),
        ("token-bucket, burst", limit.burst(held)),
    ] {
        all.push(Scenario {
            name: format!("{rpm} rpm, bucket of {span}; {client}"),
            run: run(vec![limit], server.clone(), ten_minutes(rpm)),
            aim: Aim::Goal(Goal::rate(0.0, 0.999)),
        });
    }
}

/// The delay varies by no more than J, surely.
fn known_window(all: &mut Vec<Scenario>, rpm: u64, span: &str, server: ServerConfig, shape: Shape) {
    let window = server.judged_over.unwrap_or(MINUTE);
    let amount = units_in(rpm, window);
    // No more than a tenth of the window, or little is left to send in.
    let jitter = (300 * MS).min(window / 10);
    let limit = requests_per(amount, window).shape(shape).jitter(jitter);
    let mut run = run(vec![limit], server, ten_minutes(rpm));
    run.network.send = Delay::Uniform {
        least: 20 * MS,
        most: 20 * MS + jitter,
    };
    let (amount, window_s) = (amount as f64, window.as_secs_f64());
    let best = (amount - 1.0) / (window_s + jitter.as_secs_f64()) * window_s / amount;
    all.push(Scenario {
        name: format!("{rpm} rpm, {span}; {shape:?}, delay varies by {jitter:?}").to_lowercase(),
        run,
        aim: Aim::Goal(Goal::rate(0.0, 0.995 * best)),
    });
}

/// The client knows the limit and nothing of how it is judged: `paced`.
pub(super) fn unknown(all: &mut Vec<Scenario>) {
    for rpm in RATES {
        for (span, window) in SPANS {
            let bucket = ServerConfig {
                burst: window,
                ..judged(rpm, Enforcement::TokenBucket)
            };
            paced(
                all,
                rpm,
                &format!("bucket of {span}"),
                bucket,
                Aim::Goal(Goal::rate(0.0, 0.99)),
            );
            for (judged, enforcement) in [
                ("fixed windows", Enforcement::FixedWindow),
                ("sliding log", Enforcement::SlidingLog),
                ("sliding counter", Enforcement::SlidingCounter),
            ] {
                let server = judged_over(rpm, enforcement, window);
                let name = format!("{judged} of {span}");
                let aim = paced_aim(rpm, span, enforcement);
                paced(all, rpm, &name, server, aim);
            }
        }
        let strict = judged(rpm, Enforcement::Spacing);
        // Even sending is not safe here and does not claim to be; it must get through all the same.
        let floor = if rpm == 600 {
            Goal::rate(0.38, 0.61)
        } else {
            Goal::rate(0.47, 0.48)
        };
        paced(all, rpm, "strict spacing", strict, Aim::floor(floor));
    }
}

/// A log or a counter of a short window is asked about at every phase of it, so that any bunching
/// by the way is seen; nothing is promised there, nor of ten a second judged by the second. The
/// floors are the figures of twenty seeds, with a twentieth more of 429s (a tenth where they are
/// below 1 %) and half a point less of the rate.
fn paced_aim(rpm: u64, span: &str, enforcement: Enforcement) -> Aim {
    use Enforcement::{FixedWindow, SlidingLog};
    match (span, rpm, enforcement) {
        ("60 s", ..) => Aim::Goal(Goal::rate(0.0, 0.99)),
        ("10 s", _, FixedWindow) => Aim::Goal(Goal::rate(0.000_1, 0.98)),
        ("10 s", 600, SlidingLog) => Aim::floor(Goal::rate(0.004_8, 0.981)),
        ("10 s", 600, _) => Aim::floor(Goal::rate(0.004_2, 0.982)),
        ("10 s", ..) => Aim::floor(Goal::rate(0.0, 0.985)),
        (_, 600, FixedWindow) => Aim::floor(Goal::rate(0.009, 0.977)),
        (_, 600, SlidingLog) => Aim::floor(Goal::rate(0.083_5, 0.905)),
        (_, 600, _) => Aim::floor(Goal::rate(0.106, 0.885)),
        (_, _, FixedWindow) => Aim::Goal(Goal::rate(0.003, 0.95)),
        (_, _, SlidingLog) => Aim::floor(Goal::rate(0.022_4, 0.958)),
        _ => Aim::floor(Goal::rate(0.018_2, 0.966)),
    }
}

fn paced(all: &mut Vec<Scenario>, rpm: u64, judged: &str, server: ServerConfig, aim: Aim) {
    all.push(Scenario {
        name: format!("{rpm} rpm, {judged}; paced"),
        run: run(vec![requests_per(rpm, MINUTE)], server, ten_minutes(rpm)),
        aim,
    });
}

fn judged(rpm: u64, enforcement: Enforcement) -> ServerConfig {
    ServerConfig {
        rpm: Some(rpm),
        enforcement,
        ..server()
    }
}

fn judged_over(rpm: u64, enforcement: Enforcement, window: Duration) -> ServerConfig {
    ServerConfig {
        judged_over: Some(window),
        ..judged(rpm, enforcement)
    }
}

/// As many requests as the limit lets through in ten minutes.
const fn ten_minutes(rpm: u64) -> Workload {
    Workload::fixed(rpm * 10, 10, 10)
}

const fn units_in(rpm: u64, time: Duration) -> u64 {
    rpm * time.as_secs() / 60
}
