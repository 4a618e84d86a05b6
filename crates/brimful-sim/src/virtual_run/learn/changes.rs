//! The limit changes while a run goes on, and the server says nothing of it.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec};

use crate::config::{Change, ConfigPatch, Enforcement, Outage, ScriptStep, ServerConfig};
use crate::virtual_run::{Size, Sizes};

use super::unknown::silent;
use super::{Check, MINUTE, Measure, SECOND, Scenario, Stretch, saturated};

const RPM: u64 = 6_000;
const SMALL: Sizes = Sizes::Fixed(Size {
    input: 10,
    max_output: 10,
});
/// When the change comes: what can be learnt before is learnt.
const AT: Duration = Duration::from_secs(6 * 60);

/// Halved, doubled, away for a minute; declared before, or found out.
pub(super) fn changes(all: &mut Vec<Scenario>) {
    for (judged, server) in judged() {
        for declared in [true, false] {
            halves(all, judged, &server, declared);
            outages(all, judged, &server, declared);
        }
        doubles(all, judged, &server);
    }
}

fn judged() -> [(&'static str, ServerConfig); 3] {
    let server = ServerConfig {
        rpm: Some(RPM),
        ..silent()
    };
    [
        ("bucket of 1 s", server.clone()),
        (
            "bucket of 60 s",
            ServerConfig {
                burst: MINUTE,
                ..server.clone()
            },
        ),
        (
            "fixed windows of 60 s",
            ServerConfig {
                enforcement: Enforcement::FixedWindow,
                ..server
            },
        ),
    ]
}

fn engine(declared: bool) -> (EngineConfig, &'static str) {
    let limit = LimitSpec::new("rpm", LimitKind::Requests, RPM, MINUTE);
    if declared {
        (EngineConfig::new(vec![limit]), "declared")
    } else {
        (EngineConfig::new(Vec::new()), "found out")
    }
}

fn step(after: Duration, change: impl FnOnce(&mut ConfigPatch)) -> ScriptStep {
    let mut patch = ConfigPatch::default();
    change(&mut patch);
    ScriptStep { after, patch }
}

fn halves(all: &mut Vec<Scenario>, judged: &str, server: &ServerConfig, declared: bool) {
    let halved = step(AT, |patch| patch.rpm = Change::Set(RPM / 2));
    let server = ServerConfig {
        script: vec![halved],
        ..server.clone()
    };
    let (engine, how) = engine(declared);
    let run = saturated(engine, server, SMALL, AT + 6 * MINUTE);
    let after = Stretch::after(AT);
    all.push(Scenario {
        name: format!("{RPM} rpm, {judged}, {how}; halved, silent"),
        run,
        checks: vec![
            Check::goal(
                "95 % used after",
                Measure::SecondsUntil { share: 0.95 },
                after,
                60.0,
            ),
            storm(Stretch::between(AT, AT + 2 * MINUTE)),
            Check::goal(
                "429s, 2 min later",
                Measure::Throttled,
                Stretch::after(AT + 2 * MINUTE),
                0.002,
            ),
        ],
    });
}

fn doubles(all: &mut Vec<Scenario>, judged: &str, server: &ServerConfig) {
    let doubled = step(AT, |patch| patch.rpm = Change::Set(2 * RPM));
    let server = ServerConfig {
        script: vec![doubled],
        ..server.clone()
    };
    let (engine, how) = engine(false);
    let run = saturated(engine, server, SMALL, AT + 14 * MINUTE);
    let after = Stretch::after(AT);
    all.push(Scenario {
        name: format!("{RPM} rpm, {judged}, {how}; doubled, silent"),
        run,
        checks: vec![
            Check::goal(
                "95 % used after",
                Measure::SecondsUntil { share: 0.95 },
                after,
                600.0,
            ),
            Check::goal("429s", Measure::Throttled, after, 0.002),
        ],
    });
}

fn outages(all: &mut Vec<Scenario>, judged: &str, server: &ServerConfig, declared: bool) {
    for (outage, what) in [
        (Outage::Unavailable, "503 for 60 s"),
        (Outage::Refuse, "no connection for 60 s"),
    ] {
        let away = step(AT, |patch| patch.outage = Change::Set(outage));
        let back = step(AT + MINUTE, |patch| patch.outage = Change::Clear);
        let server = ServerConfig {
            script: vec![away, back],
            ..server.clone()
        };
        let (engine, how) = engine(declared);
        let run = saturated(engine, server, SMALL, AT + 4 * MINUTE);
        let after = Stretch::after(AT + MINUTE);
        all.push(Scenario {
            name: format!("{RPM} rpm, {judged}, {how}; {what}, silent"),
            run,
            checks: vec![
                Check::goal(
                    "95 % used after",
                    Measure::SecondsUntil { share: 0.95 },
                    after,
                    60.0,
                ),
                storm(after),
                Check::goal(
                    "met the outage",
                    Measure::MetOutage,
                    Stretch::after(AT),
                    600.0,
                ),
            ],
        });
    }
}

/// What a storm is not: more refusals than two seconds' worth of the limit.
fn storm(stretch: Stretch) -> Check {
    let second = SECOND.as_secs_f64() * RPM as f64 / MINUTE.as_secs_f64();
    Check::goal("refused", Measure::Refusals, stretch, 2.0 * second)
}
