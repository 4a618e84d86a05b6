//! How many requests may be in flight: what the flags ask for and the descriptors allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::custom::CustomLimit;
use super::super::{provider, say, usage};
use super::{HOUR, published};
use crate::args::{Provider, RunArgs, Switch};
use crate::units::positive;

/// In flight when the rate is not known.
const CONCURRENCY_WITHOUT_RATE: u64 = 64;
/// In flight at most when the rate decides: 4,096 connections cost 160 MB.
const CONCURRENCY_WITH_RATE: u64 = 4096;
/// Descriptors that are not connections: files, the terminal, timers.
const DESCRIPTORS_RESERVED: u64 = 64;
/// What macOS takes at most where the hard limit says more, or that there is none (`OPEN_MAX`).
const DESCRIPTORS_MACOS: u64 = 10_240;

/// Requests in flight that the flags ask for and the descriptors allow.
pub(in crate::run) fn concurrency(args: &RunArgs, model: Option<&str>) -> anyhow::Result<u64> {
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
    let profile = provider::whose_limits(args);
    let rates = [limits.rps, limits.rpm, limits.tpm, limits.itpm, limits.otpm];
    let custom = |limit: &CustomLimit| !limit.window.is_zero() && limit.window < HOUR;
    let is_rated = rates.iter().any(Option::is_some) || limits.limit.iter().any(custom);
    let auto = match published::concurrency(limits, profile, model) {
        Some(published) => published,
        // What is learnt decides.
        None if limits.learn == Switch::On => CONCURRENCY_WITH_RATE,
        None if is_rated || limits.tier.is_some() => CONCURRENCY_WITH_RATE,
        None => CONCURRENCY_WITHOUT_RATE,
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
    use super::*;

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
