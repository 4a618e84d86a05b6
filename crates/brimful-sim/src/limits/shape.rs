//! From the configuration to the state of each limit.

use std::time::Duration;

use fastrand::Rng;

use super::bucket::Bucket;
use super::counter::SlidingCounter;
use super::grid::{Grid, nanos};
use super::log::SlidingLog;
use super::model::Model;
use super::window::FixedWindow;
use crate::config::{Enforcement, LimitRule, Measure, ServerConfig};
use crate::hash::hash64;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// All limits that `config` sets, with those first that headers tell of when there are several of a
/// measure.
pub(super) fn rules(config: &ServerConfig) -> Vec<LimitRule> {
    let flat = [
        ("tpm", config.tpm, Measure::Tokens, MINUTE),
        ("itpm", config.itpm, Measure::InputTokens, MINUTE),
        ("otpm", config.otpm, Measure::OutputTokens, MINUTE),
        ("rpm", config.rpm, Measure::Requests, MINUTE),
        ("rps", config.rps, Measure::Requests, SECOND),
        ("rpd", config.rpd, Measure::Requests, DAY),
    ];
    let flat = flat
        .into_iter()
        .filter_map(|(name, amount, measure, window)| {
            Some(LimitRule::new(name, measure, amount?, window))
        });
    flat.chain(config.limits.iter().cloned()).collect()
}

/// The fresh state of `rule`.
pub(super) fn model(rule: &LimitRule, config: &ServerConfig, seed: u64) -> Model {
    let judged_over = rule.judged_over.or(config.judged_over);
    let (amount, length) = judged(rule, judged_over);
    let enforcement = rule.enforcement.unwrap_or(config.enforcement);
    let grid = || {
        let phase = rule.window_phase.or(config.window_phase);
        Grid::new(
            length,
            phase.unwrap_or_else(|| drawn_phase(rule, length, seed)),
        )
    };
    match enforcement {
        Enforcement::TokenBucket => {
            let bucket = bucket(rule, config);
            Model::Bucket(match judged_over {
                Some(time) => bucket.holding_at_most(time),
                None => bucket,
            })
        }
        // What holds a single unit gives it away and then needs the whole time for the next.
        Enforcement::Spacing => Model::Bucket(Bucket::holding_units(rule.amount, rule.window, 1)),
        Enforcement::FixedWindow => Model::Fixed(FixedWindow::new(amount, grid())),
        Enforcement::SlidingLog => Model::Log(SlidingLog::new(amount, nanos(length))),
        Enforcement::SlidingCounter => Model::Counter(SlidingCounter::new(amount, grid())),
    }
}

fn bucket(rule: &LimitRule, config: &ServerConfig) -> Bucket {
    let units = match (rule.burst, rule.measure) {
        (Some(_), _) => None,
        (None, Measure::Requests) if rule.name == "rpd" => Some(rule.amount),
        (None, Measure::Requests) => config.burst_requests,
        (None, _) => config.burst_tokens,
    };
    match units {
        Some(units) => Bucket::holding_units(rule.amount, rule.window, units),
        None => {
            let burst = rule.burst.unwrap_or(config.burst);
            Bucket::holding_time(rule.amount, rule.window, burst)
        }
    }
}

/// Amount and length of the windows in which a limit is judged.
fn judged(rule: &LimitRule, over: Option<Duration>) -> (u64, Duration) {
    let length = over.map_or(rule.window, |over| over.min(rule.window));
    let share = u128::from(rule.amount) * u128::from(nanos(length));
    match u64::try_from(share / u128::from(nanos(rule.window))) {
        Ok(0) => {
            let for_one = nanos(rule.window).div_ceil(rule.amount);
            (1, Duration::from_nanos(for_one))
        }
        amount => (amount.unwrap_or(rule.amount), length),
    }
}

/// Of the seed and the limit's name alone, so that no other setting moves it.
fn drawn_phase(rule: &LimitRule, length: Duration, seed: u64) -> Duration {
    let mut rng = Rng::with_seed(hash64(seed, rule.name.as_bytes()));
    Duration::from_nanos(rng.u64(..nanos(length).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(amount: u64, secs: u64) -> LimitRule {
        LimitRule::new("a", Measure::Requests, amount, Duration::from_secs(secs))
    }

    #[test]
    fn a_shorter_window_allows_its_share_and_at_least_one() {
        let over = |ms| Some(Duration::from_millis(ms));
        assert_eq!(judged(&rule(600, 60), None), (600, MINUTE));
        assert_eq!(judged(&rule(600, 60), over(1_000)), (10, SECOND));
        assert_eq!(judged(&rule(90, 60), over(1_000)), (1, SECOND));
        assert_eq!(judged(&rule(90, 60), over(10_000)).0, 15);
        assert_eq!(judged(&rule(30, 60), over(1_000)), (1, 2 * SECOND));
        assert_eq!(judged(&rule(5, 1), over(10_000)), (5, SECOND));
        let huge = rule(u64::MAX, 60);
        assert_eq!(judged(&huge, over(60_000)), (u64::MAX, MINUTE));
    }

    #[test]
    fn phases_come_from_the_seed_and_differ_between_limits() {
        let phase = |name: &str, seed| {
            let rule = LimitRule::new(name, Measure::Requests, 1, MINUTE);
            drawn_phase(&rule, MINUTE, seed)
        };
        assert_eq!(phase("a", 1), phase("a", 1));
        assert_ne!(phase("a", 1), phase("a", 2));
        assert_ne!(phase("a", 1), phase("b", 1));
        let most = (0..1_000).map(|seed| phase("a", seed)).max();
        assert!(most > Some(Duration::from_secs(59)) && most < Some(MINUTE));
    }
}
