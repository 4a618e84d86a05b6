//! The server names its levels, and others use the same limits.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec};
use brimful_providers::observe::HeaderGrammar;

use crate::config::{Enforcement, LevelHeaders, ServerConfig};
use crate::virtual_run::{Size, Sizes};

use super::{Check, MINUTE, Measure, Scenario, Stretch, saturated};

/// How long others may stay unnoticed.
const LEARNT: Duration = Duration::from_secs(180);
/// How long a run lasts.
const TIME: Duration = Duration::from_secs(1_200);
const RPM: u64 = 600;
const TPM: u64 = 600_000;

/// What is asked for.
#[derive(Clone, Copy)]
enum Load {
    /// Small requests of one size: requests are scarce.
    Requests,
    /// Prompts and answers of all sizes: tokens are scarce, and levels of tokens are rounded.
    RoundedTokens,
    /// Sizes at which tokens and requests are both nearly used up.
    Both,
}

/// Foreign tenants of 0 to 50 % and answers that take up to 20 s.
pub(super) fn foreign(all: &mut Vec<Scenario>) {
    for load in [Load::Requests, Load::RoundedTokens, Load::Both] {
        for lag_s in [0.5, 5.0, 20.0] {
            for share in [0.0, 0.1, 0.3, 0.5] {
                all.push(scenario(load, lag_s, share));
            }
        }
    }
}

fn scenario(load: Load, lag_s: f64, share: f64) -> Scenario {
    let (what, sizes, tpm) = match load {
        Load::Requests => ("requests", fixed(10), None),
        Load::RoundedTokens => ("rounded tokens", log_normal(), Some(TPM)),
        Load::Both => ("tokens and requests", log_normal(), Some(540_000)),
    };
    let rpm = match load {
        Load::RoundedTokens => 5 * RPM,
        Load::Requests | Load::Both => RPM,
    };
    let server = ServerConfig {
        rpm: Some(rpm),
        tpm,
        burst: MINUTE,
        foreign_share: share,
        latency_ms_median: lag_s * 1_000.0,
        latency_sigma: 0.3,
        level_headers: match load {
            Load::RoundedTokens => LevelHeaders::Rounded,
            Load::Requests | Load::Both => LevelHeaders::Right,
        },
        ..ServerConfig::default()
    };
    let mut limits = vec![LimitSpec::new("rpm", LimitKind::Requests, rpm, MINUTE).burst(rpm)];
    if let Some(tpm) = tpm {
        limits.push(LimitSpec::new("tpm", LimitKind::TotalTokens, tpm, MINUTE).burst(tpm));
    }
    let mut run = saturated(EngineConfig::new(limits), server, sizes, TIME);
    run.client.grammar = HeaderGrammar::Openai;
    let refused_most = if share > 0.3 { 0.002 } else { 0.000_5 };
    let mut checks = vec![
        Check::goal("429s, all", Measure::Throttled, Stretch::WHOLE, 0.01),
        Check::goal(
            "429s after 3 min",
            Measure::Throttled,
            Stretch::after(LEARNT),
            refused_most,
        ),
        Check::goal(
            "of the free share after 3 min",
            Measure::FreeShare,
            Stretch::between(LEARNT, TIME),
            0.98,
        ),
    ];
    if share > 0.0 {
        checks.push(Check::goal(
            "the tenant's own",
            Measure::TenantKept,
            Stretch::WHOLE,
            0.98,
        ));
    }
    let percent = (share * 100.0).round();
    Scenario {
        name: format!("headers {lag_s} s late, foreign {percent} %: {what}"),
        run,
        checks,
    }
}

pub(super) const fn fixed(tokens: u32) -> Sizes {
    Sizes::Fixed(Size {
        input: tokens,
        max_output: tokens,
    })
}

/// Prompts of 400 tokens and answers of at most 300 in the middle: 911 in the mean.
pub(super) const fn log_normal() -> Sizes {
    Sizes::LogNormal {
        median: Size {
            input: 400,
            max_output: 300,
        },
        input_sigma: 0.8,
        output_sigma: 0.6,
        most: 8_000,
    }
}

/// Headers that lie, or that mean something else than they look like, beside a limit that is
/// known: at most so much worse than without any headers, where 99.1 % are used.
pub(super) fn misleading(all: &mut Vec<Scenario>) {
    let lying = |level_headers| ServerConfig {
        level_headers,
        burst: MINUTE,
        ..ServerConfig::default()
    };
    let windows = ServerConfig {
        enforcement: Enforcement::FixedWindow,
        ..ServerConfig::default()
    };
    for (what, server, used_least) in [
        ("any part left", lying(LevelHeaders::WrongRemaining), 0.94),
        (
            "double of everything",
            lying(LevelHeaders::WrongLimit),
            0.98,
        ),
        ("levels of 2 s ago", lying(LevelHeaders::Late), 0.98),
        ("windows of a minute", windows, 0.96),
    ] {
        let server = ServerConfig {
            rpm: Some(RPM),
            latency_ms_median: 500.0,
            latency_sigma: 0.3,
            ..server
        };
        let limit = LimitSpec::new("rpm", LimitKind::Requests, RPM, MINUTE);
        let mut run = saturated(EngineConfig::new(vec![limit]), server, fixed(10), TIME);
        run.client.grammar = HeaderGrammar::Openai;
        let whole = Stretch::before(TIME);
        all.push(Scenario {
            name: format!("misleading headers: {what}"),
            run,
            checks: vec![
                Check::goal("429s", Measure::Throttled, Stretch::WHOLE, 0.000_5),
                Check::goal("used", Measure::FreeShare, whole, used_least),
            ],
        });
    }
}
