//! Limits and retry, from flags to the engine.

use std::time::Duration;

use brimful_core::{
    Budget, ChargeRule, EngineConfig, LimitKind, LimitSpec, RetryPolicy, Settlement, Shape,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{say, usage};
use crate::args::{Charge, LimitShape, Provider, RunArgs, Settle};
use crate::units::{Burst, positive};

/// In flight when the rate is not known.
const CONCURRENCY_WITHOUT_RATE: u64 = 64;
/// In flight at most when the rate decides: 4,096 connections cost 160 MB.
const CONCURRENCY_WITH_RATE: u64 = 4096;
/// Descriptors that are not connections: files, the terminal, timers.
const DESCRIPTORS_RESERVED: u64 = 64;
/// What macOS takes at most where the hard limit says more, or that there is none (`OPEN_MAX`).
const DESCRIPTORS_MACOS: u64 = 10_240;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn engine(args: &RunArgs, concurrency: u64) -> anyhow::Result<EngineConfig> {
    let mut specs = rates(args)?;
    specs.push(LimitSpec::concurrency(concurrency));
    let mut config = EngineConfig::new(specs);
    config.retry = RetryPolicy::new();
    config.retry.base_backoff = args.retry.base_backoff;
    config.retry.max_backoff = args.retry.max_backoff;
    config.retry.max_attempts = args.retry.max_attempts;
    config.retry.max_request_time = args.retry.max_request_time;
    config.upstreams[0].charge_rule = match args.limits.charge {
        Some(Charge::Max) => ChargeRule::Max,
        Some(Charge::Sum) => ChargeRule::Sum,
        Some(Charge::Input) => ChargeRule::Input,
        None if super::target::is_openai(args) => ChargeRule::Max,
        None => ChargeRule::Sum,
    };
    config.upstreams[0].settlement = match args.limits.settle {
        Settle::None => Settlement::None,
        Settle::Usage => Settlement::Usage,
    };
    config.seed = args.watch.seed;
    Ok(config)
}

/// The limits as one, which is where values out of range are found.
pub(super) fn budget(engine: &EngineConfig) -> anyhow::Result<Budget> {
    Budget::new(engine.upstreams[0].limits.clone()).map_err(|error| usage(error.to_string()))
}

fn rates(args: &RunArgs) -> anyhow::Result<Vec<LimitSpec>> {
    let limits = &args.limits;
    if limits.burst.is_some() && limits.limit_shape == LimitShape::Paced {
        return Err(usage(
            "--burst says what a server takes at once that is known: add --limit-shape token-bucket, \
             sliding or fixed",
        ));
    }
    let second = Duration::from_secs(1);
    let flags = [
        ("rps", LimitKind::Requests, limits.rps, second),
        ("rpm", LimitKind::Requests, limits.rpm, MINUTE),
        ("rpd", LimitKind::Requests, limits.rpd, DAY),
        ("tpm", LimitKind::TotalTokens, limits.tpm, MINUTE),
        ("itpm", LimitKind::InputTokens, limits.itpm, MINUTE),
        ("otpm", LimitKind::OutputTokens, limits.otpm, MINUTE),
        ("tpd", LimitKind::TotalTokens, limits.tpd, DAY),
    ];
    let mut specs = Vec::new();
    for (name, kind, amount, window) in flags {
        let Some(amount) = amount else { continue };
        let mut spec = LimitSpec::new(name, kind, amount, window);
        spec.shape = match limits.limit_shape {
            LimitShape::Paced => Shape::Paced,
            LimitShape::TokenBucket => Shape::TokenBucket,
            LimitShape::Sliding => Shape::Sliding,
            LimitShape::Fixed => Shape::Fixed,
        };
        spec.burst = burst(limits.burst, &spec);
        spec.jitter = limits.jitter;
        specs.push(spec);
    }
    Ok(specs)
}

fn burst(declared: Option<Burst>, spec: &LimitSpec) -> Option<u64> {
    match declared? {
        Burst::Requests(count) => (spec.kind == LimitKind::Requests).then_some(count),
        Burst::Time(time) => {
            let units = u128::from(spec.amount) * time.as_nanos() / spec.window.as_nanos();
            Some(u64::try_from(units).unwrap_or(u64::MAX).max(1))
        }
    }
}

/// Requests in flight that the flags ask for and the descriptors allow.
pub(super) fn concurrency(args: &RunArgs) -> anyhow::Result<u64> {
    let limits = &args.limits;
    let network = args.target.provider != Some(Provider::Mock);
    let available = if network { descriptors() } else { u64::MAX };
    if limits.concurrency != "auto" {
        let wanted = positive(&limits.concurrency)
            .map_err(|error| usage(format!("--concurrency: {error} (or auto)")))?;
        if wanted > available {
            let text = format!(
                "--concurrency {wanted} needs {} file descriptors, this shell allows {}: going on \
                 with {available}; raise it by `ulimit -n {}`",
                wanted + DESCRIPTORS_RESERVED,
                available + DESCRIPTORS_RESERVED,
                wanted + DESCRIPTORS_RESERVED,
            );
            say(args.watch.log_format, "warning", &text);
        }
        return Ok(wanted.min(available));
    }
    let rated = [limits.rps, limits.rpm, limits.tpm, limits.itpm, limits.otpm];
    let auto = if rated.iter().any(Option::is_some) {
        CONCURRENCY_WITH_RATE
    } else {
        CONCURRENCY_WITHOUT_RATE
    };
    Ok(auto.min(available))
}

/// Connections that the descriptor limit leaves room for, after raising it as far as it goes.
fn descriptors() -> u64 {
    raise(getrlimit(Resource::Nofile), |limit| {
        setrlimit(Resource::Nofile, limit).is_ok()
    });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    now.saturating_sub(DESCRIPTORS_RESERVED).max(1)
}

/// Raises a limit as far as `set` takes it. Where nothing is taken, the old limit stands.
fn raise(limit: Rlimit, mut set: impl FnMut(Rlimit) -> bool) {
    let Rlimit { current, maximum } = limit;
    let finite = Some(DESCRIPTORS_MACOS);
    // No limit is more than any number, unlike in the order of `Option`.
    let is_more = |wanted: Option<u64>, than: Option<u64>| {
        than.is_some_and(|than| wanted.is_none_or(|wanted| wanted > than))
    };
    let mut taken = |wanted| {
        set(Rlimit {
            current: wanted,
            maximum,
        })
    };
    if is_more(maximum, current)
        && !taken(maximum)
        && is_more(maximum, finite)
        && is_more(finite, current)
    {
        taken(finite);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn specs(flags: &str) -> anyhow::Result<Vec<LimitSpec>> {
        let argv = "brimful run in.jsonl -o out.jsonl".split_whitespace();
        let cli = Cli::parse_from(argv.chain(flags.split_whitespace()));
        let Command::Run(args) = cli.command else {
            panic!("the command is run")
        };
        rates(&args)
    }

    #[test]
    fn every_shape_reaches_the_core_with_its_burst_and_jitter() {
        for (name, shape) in [
            ("token-bucket", Shape::TokenBucket),
            ("sliding", Shape::Sliding),
            ("fixed", Shape::Fixed),
        ] {
            let flags = format!("--rpm 600 --tpm 6000 --limit-shape {name} --jitter 20ms");
            for spec in specs(&flags).unwrap() {
                assert_eq!((spec.shape, spec.burst), (shape, None), "{name}");
                assert_eq!(spec.jitter, Some(Duration::from_millis(20)));
            }
            let bursts = |flags: &str| -> Vec<Option<u64>> {
                let specs = specs(flags).unwrap();
                specs.iter().map(|spec| spec.burst).collect()
            };
            assert_eq!(bursts(&format!("{flags} --burst 5")), [Some(5), None]);
            assert_eq!(
                bursts(&format!("{flags} --burst 1s")),
                [Some(10), Some(100)]
            );
        }
        assert_eq!(specs("--rpm 600").unwrap()[0].shape, Shape::Paced);
        let error = specs("--rpm 600 --burst 5").unwrap_err().to_string();
        assert!(error.contains("add --limit-shape"), "{error}");
    }

    /// The limits that a system is asked for which takes numbers up to `most`.
    fn asked(current: Option<u64>, maximum: Option<u64>, most: u64) -> Vec<Option<u64>> {
        let mut asked = Vec::new();
        raise(Rlimit { current, maximum }, |limit| {
            assert_eq!(limit.maximum, maximum);
            asked.push(limit.current);
            limit.current.is_some_and(|number| number <= most)
        });
        asked
    }

    #[test]
    fn descriptors_are_raised_as_far_as_the_system_takes_it() {
        assert_eq!(asked(Some(1024), Some(4096), u64::MAX), [Some(4096)]);
        // macOS: the hard limit is infinite, and asking for it is refused.
        assert_eq!(asked(Some(256), None, 10_240), [None, Some(10_240)]);
        assert_eq!(
            asked(Some(256), Some(1 << 40), 10_240),
            [Some(1 << 40), Some(10_240)]
        );
    }

    #[test]
    fn descriptors_are_never_lowered() {
        assert_eq!(asked(Some(4096), Some(4096), u64::MAX), []);
        assert_eq!(asked(None, None, u64::MAX), []);
        assert_eq!(asked(Some(20_000), None, 20_000), [None]);
        assert_eq!(asked(Some(256), Some(4096), 100), [Some(4096)]);
    }
}
