//! The server's limit becomes another one, or the server is away for a while.

use std::time::Duration;

use brimful_core::EngineConfig;
use brimful_providers::observe::HeaderGrammar;

use crate::config::{Change, ConfigPatch, Outage, ScriptStep, ServerConfig};

use super::headers::fixed;
use super::{Check, MINUTE, Measure, SECOND, Scenario, Stretch, saturated};

const RPM: u64 = 6_000;
const TIME: Duration = Duration::from_secs(900);
const CHANGE: Duration = Duration::from_secs(300);

/// Halved, doubled, and away for a minute; the client knows no limit but those that it is told.
pub(super) fn changes(all: &mut Vec<Scenario>) {
    let rpm = |amount| vec![step(CHANGE, |patch| patch.rpm = Change::Set(amount))];
    all.push(scenario("halves", rpm(RPM / 2), CHANGE));
    all.push(scenario("doubles", rpm(RPM * 2), CHANGE));
    let back = CHANGE + MINUTE;
    let away = vec![
        step(CHANGE, |patch| {
            patch.outage = Change::Set(Outage::Unavailable);
        }),
        step(back, |patch| patch.outage = Change::Clear),
    ];
    all.push(scenario("is away for 60 s", away, back));
}

fn step(after: Duration, change: impl Fn(&mut ConfigPatch)) -> ScriptStep {
    let mut patch = ConfigPatch::default();
    change(&mut patch);
    ScriptStep { after, patch }
}

fn scenario(what: &str, script: Vec<ScriptStep>, from: Duration) -> Scenario {
    let server = ServerConfig {
        rpm: Some(RPM),
        burst: MINUTE,
        latency_ms_median: 1_000.0,
        latency_sigma: 0.3,
        script,
        ..ServerConfig::default()
    };
    let mut engine = EngineConfig::new(Vec::new());
    engine.upstreams[0].first_alone = true;
    let mut run = saturated(engine, server, fixed(10), TIME);
    run.client.grammar = HeaderGrammar::Openai;
    let after = Stretch::between(from, TIME);
    let until = Measure::SecondsUntil { share: 0.95 };
    Scenario {
        name: format!("a limit that headers name {what}"),
        run,
        checks: vec![
            Check::goal("95 % again", until, after, 60.0),
            Check::goal("429s from then on", Measure::Throttled, after, 0.01),
            Check::goal(
                "429s after a minute",
                Measure::Throttled,
                Stretch::after(from + 60 * SECOND),
                0.000_5,
            ),
        ],
    }
}
