//! Several keys of unequal limits, of which some fail and some come back.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec, Shape, UpstreamConfig};

use crate::config::{
    Change, ConfigPatch, Enforcement, LevelHeaders, Outage, ScriptStep, ServerConfig,
};
use crate::virtual_run::{Size, Sizes};

use super::{Check, MINUTE, Measure, Scenario, Stretch, saturated};

/// Requests a minute of each key.
const RPM: [u64; 4] = [1_800, 900, 450, 150];
const SMALL: Sizes = Sizes::Fixed(Size {
    input: 10,
    max_output: 10,
});

/// Four keys: one is away for five minutes and returns, one's money is used up for good.
pub(super) fn keys(all: &mut Vec<Scenario>) {
    for (how, outage) in [
        ("connections refused", Outage::Refuse),
        ("503 to everything", Outage::Unavailable),
    ] {
        let mut servers = RPM.map(|rpm| ServerConfig {
            rpm: Some(rpm),
            enforcement: Enforcement::TokenBucket,
            latency_ms_median: 200.0,
            latency_sigma: 0.3,
            level_headers: LevelHeaders::Absent,
            ..ServerConfig::default()
        });
        servers[1].script = vec![
            step(5 * MINUTE, |patch| patch.outage = Change::Set(outage)),
            step(10 * MINUTE, |patch| patch.outage = Change::Clear),
        ];
        servers[2].script = vec![step(15 * MINUTE, |patch| {
            patch.quota_after = Change::Set(0);
        })];
        let upstreams = RPM.iter().enumerate().map(|(number, &rpm)| {
            // As known as it is of OpenAI's keys.
            let limit = LimitSpec::new("rpm", LimitKind::Requests, rpm, MINUTE);
            let limit = limit.shape(Shape::TokenBucket);
            UpstreamConfig::new(format!("key {number}"), vec![limit])
        });
        let engine = EngineConfig::with(upstreams.collect());
        let [first, further @ ..] = servers;
        let mut run = saturated(engine, first, SMALL, 25 * MINUTE);
        run.further = further.into();
        all.push(Scenario {
            name: format!("4 keys of unequal rpm, one dies, one returns after {how}"),
            run,
            checks: vec![
                Check::goal("used", Measure::AllowedShare, Stretch::WHOLE, 0.99),
                Check::goal("429s", Measure::Throttled, Stretch::WHOLE, 0.000_1),
            ],
        });
    }
}

fn step(after: Duration, change: impl FnOnce(&mut ConfigPatch)) -> ScriptStep {
    let mut patch = ConfigPatch::default();
    change(&mut patch);
    ScriptStep { after, patch }
}
