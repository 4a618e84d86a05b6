//! What a request takes is not what was declared, and headers or refusals show it.

use std::time::Duration;

use brimful_core::{ChargeRule, EngineConfig, LimitKind, LimitSpec};
use brimful_providers::observe::HeaderGrammar;

use crate::config::{Charge, LevelHeaders, ServerConfig};

use super::headers::log_normal;
use super::{Check, MINUTE, Measure, Scenario, Stretch, saturated};

const TPM: u64 = 600_000;
const TIME: Duration = Duration::from_secs(900);
/// Within this it must be right.
const LEARNT: Duration = Duration::from_secs(120);

/// Factors of 0.5 and 2, and a rule that is another one.
pub(super) fn wrong(all: &mut Vec<Scenario>) {
    for (what, charge, scale) in [
        ("half", Charge::Sum, 0.5),
        ("double", Charge::Sum, 2.0),
        ("max, not sum", Charge::Max, 1.0),
    ] {
        for (witness, levels) in [
            ("headers", LevelHeaders::Right),
            ("429s alone", LevelHeaders::Absent),
        ] {
            // Who sends too little is never refused.
            if levels == LevelHeaders::Absent && scale < 2.0 {
                continue;
            }
            all.push(scenario(what, charge, scale, witness, levels));
        }
    }
}

fn scenario(
    what: &str,
    charge: Charge,
    scale: f64,
    witness: &str,
    levels: LevelHeaders,
) -> Scenario {
    let server = ServerConfig {
        tpm: Some(TPM),
        burst: MINUTE,
        charge,
        charge_scale: scale,
        latency_ms_median: 2_000.0,
        latency_sigma: 0.3,
        level_headers: levels,
        ..ServerConfig::default()
    };
    let limit = LimitSpec::new("tpm", LimitKind::TotalTokens, TPM, MINUTE);
    let mut engine = EngineConfig::new(vec![limit]);
    engine.upstreams[0].charge_rule = ChargeRule::Sum;
    let mut run = saturated(engine, server, log_normal(), TIME);
    run.client.grammar = HeaderGrammar::Openai;
    run.charges_differ = true;
    let after = Stretch::between(LEARNT, TIME);
    Scenario {
        name: format!("charge learnt by {witness}: {what}"),
        run,
        checks: vec![
            Check::goal("429s, all", Measure::Throttled, Stretch::WHOLE, 0.01),
            Check::goal("429s after 2 min", Measure::Throttled, after, 0.000_5),
            Check::goal("used after 2 min", Measure::FreeShare, after, 0.98),
        ],
    }
}
