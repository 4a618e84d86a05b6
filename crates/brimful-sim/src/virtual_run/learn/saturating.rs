//! Servers that never refuse: what they cannot serve waits.

use std::time::Duration;

use brimful_core::{EngineConfig, Learning};

use crate::config::ServerConfig;
use crate::virtual_run::{Size, Sizes};

use super::unknown::silent;
use super::{Check, MINUTE, MS, Measure, Scenario, Stretch, saturated};

/// When the number of places has to be found.
const LEARNT: Duration = Duration::from_secs(10 * 60);
const FIRST_BYTE: Duration = Duration::from_millis(200);
const PER_TOKEN_MS: f64 = 20.0;
const TOKENS: f64 = 150.0;

/// How a server slows down.
struct Curve {
    name: &'static str,
    saturation: Option<u64>,
    gradual: bool,
    slots: Option<u64>,
}

/// A knee, as of a server that is bound by computing; a curve that flattens, as of one that is
/// bound by memory; and a few places, as of one that serves a single user.
pub(super) fn saturating(all: &mut Vec<Scenario>) {
    for curve in [
        Curve {
            name: "fast up to 48 at once",
            saturation: Some(48),
            gradual: false,
            slots: None,
        },
        Curve {
            name: "ever slower, 128 slots",
            saturation: Some(192),
            gradual: true,
            slots: Some(128),
        },
        Curve {
            name: "4 slots",
            saturation: None,
            gradual: false,
            slots: Some(4),
        },
    ] {
        for streamed in [true, false] {
            push(all, &curve, streamed);
        }
    }
}

fn push(all: &mut Vec<Scenario>, curve: &Curve, streamed: bool) {
    let server = ServerConfig {
        latency_ms_median: FIRST_BYTE.as_secs_f64() * 1e3,
        latency_sigma: 0.2,
        latency_ms_per_token: PER_TOKEN_MS,
        output_tokens_median: TOKENS,
        output_tokens_sigma: 0.6,
        saturation_in_flight: curve.saturation,
        saturation_gradual: curve.gradual,
        slots: curve.slots,
        ..silent()
    };
    let sizes = Sizes::Fixed(Size {
        input: 100,
        max_output: 2_000,
    });
    let engine = EngineConfig::new(Vec::new());
    let mut run = saturated(engine, server, sizes, LEARNT + 20 * MINUTE);
    run.engine.upstreams[0].learning = Learning::Concurrency;
    run.client.sees_first_bytes = streamed;
    let after = Stretch::between(LEARNT, LEARNT + 20 * MINUTE);
    let best_per_s = best_per_s(curve);
    let unloaded = unloaded_p95();
    let seen = if streamed { "streamed" } else { "in one piece" };
    all.push(Scenario {
        name: format!("saturating: {}, {seen}", curve.name),
        run,
        checks: vec![
            Check::goal(
                "best tokens/s",
                Measure::TokenGoodput { best_per_s },
                after,
                0.95,
            ),
            Check::goal(
                "first byte p95",
                Measure::FirstByteP95 { unloaded },
                after,
                2.0,
            ),
            Check::goal("429s", Measure::Throttled, Stretch::WHOLE, 0.0),
        ],
    });
}

/// Output tokens a second with as many in flight as bring the most: of the mean answer.
fn best_per_s(curve: &Curve) -> f64 {
    let sigma: f64 = 0.6;
    let tokens = TOKENS * (sigma * sigma / 2.0).exp();
    let alone_s = FIRST_BYTE.as_secs_f64() * 1.02 + tokens * PER_TOKEN_MS / 1e3;
    let places = curve.slots.or(curve.saturation).unwrap_or(1) as f64;
    let slowdown = match curve.saturation {
        Some(saturation) if curve.gradual => 1.0 + places / saturation as f64,
        _ => 1.0,
    };
    places * tokens / (alone_s * slowdown)
}

/// σ of 0.2 puts the 95th percentile at e^(1.645 × 0.2) of the median.
fn unloaded_p95() -> Duration {
    FIRST_BYTE.mul_f64((1.645_f64 * 0.2).exp()).max(MS)
}
