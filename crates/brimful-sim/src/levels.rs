//! What the server tells of its levels, true or not.

use std::collections::VecDeque;
use std::time::Duration;

use brimful_core::Timestamp;
use fastrand::Rng;

use crate::config::{LevelHeaders, Measure, ServerConfig};
use crate::limits::{Level, Limits};

/// Snapshots kept for late headers: how finely the lag is kept.
const SNAPSHOTS: u32 = 16;

/// The levels that one reply tells: of each measure the first limit's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
    pub(crate) input_tokens: Option<Level>,
    pub(crate) output_tokens: Option<Level>,
}

/// Levels of the last moments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(VecDeque<(Timestamp, Levels)>);

impl Levels {
    pub(crate) fn at(now: Timestamp, limits: &mut Limits) -> Self {
        Self {
            requests: limits.level(now, Measure::Requests),
            tokens: limits.level(now, Measure::Tokens),
            input_tokens: limits.level(now, Measure::InputTokens),
            output_tokens: limits.level(now, Measure::OutputTokens),
        }
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Level> {
        let [a, b] = [&mut self.requests, &mut self.tokens];
        let [c, d] = [&mut self.input_tokens, &mut self.output_tokens];
        [a, b, c, d].into_iter().flatten()
    }
}

impl Snapshots {
    /// What a reply at `now` tells, in the configured style.
    pub(crate) fn told(
        &mut self,
        now: Timestamp,
        limits: &mut Limits,
        config: &ServerConfig,
        rng: &mut Rng,
    ) -> Levels {
        if config.level_headers == LevelHeaders::Absent {
            return Levels::default();
        }
        let mut levels = Levels::at(now, limits);
        match config.level_headers {
            LevelHeaders::Right | LevelHeaders::Absent => {}
            LevelHeaders::Late => return self.late(now, levels, config.level_headers_lag),
            LevelHeaders::Rounded => {
                let tokens = [&mut levels.tokens, &mut levels.input_tokens];
                let tokens = tokens.into_iter().chain([&mut levels.output_tokens]);
                for level in tokens.flatten() {
                    level.remaining = level.remaining.saturating_add(500) / 1_000 * 1_000;
                }
            }
            LevelHeaders::WrongLimit => {
                for level in levels.each_mut() {
                    level.limit = level.limit.saturating_mul(2);
                    level.remaining = level.remaining.saturating_mul(2);
                }
            }
            LevelHeaders::WrongRemaining => {
                for level in levels.each_mut() {
                    level.remaining = rng.u64(..=level.limit);
                }
            }
        }
        levels
    }

    /// Notes `present` and says what was noted `lag` ago; what came first until there is such.
    fn late(&mut self, now: Timestamp, present: Levels, lag: Duration) -> Levels {
        let step = lag / SNAPSHOTS;
        if self
            .0
            .back()
            .is_none_or(|(last, _)| now.since(*last) >= step)
        {
            self.0.push_back((now, present));
        }
        // The front stays until the one behind it is old enough too.
        while self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= lag) {
            self.0.pop_front();
        }
        self.0.front().map_or(present, |(_, levels)| *levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Charges;

    fn told(style: LevelHeaders, seconds: &[u64]) -> Vec<Levels> {
        let config = ServerConfig {
            rpm: Some(60),
            tpm: Some(60_000),
            burst: Duration::from_secs(60),
            level_headers: style,
            ..ServerConfig::default()
        };
        let mut limits = Limits::new(&config, 7);
        let charges = Charges {
            requests: 60,
            tokens: 58_700,
            ..Charges::default()
        };
        limits.admit(Timestamp::ZERO, charges, charges, 0).unwrap();
        let mut snapshots = Snapshots::default();
        let mut rng = Rng::with_seed(1);
        let told = seconds.iter().map(|&second| {
            let now = Timestamp::from_secs(second);
            snapshots.told(now, &mut limits, &config, &mut rng)
        });
        told.collect()
    }

    fn remaining(levels: &[Levels]) -> Vec<u64> {
        let requests = levels.iter().filter_map(|levels| levels.requests);
        requests.map(|level| level.remaining).collect()
    }

    #[test]
    fn late_levels_are_those_of_the_configured_time_ago() {
        let seconds = [1, 2, 3, 4, 5, 20];
        assert_eq!(
            remaining(&told(LevelHeaders::Right, &seconds)),
            [1, 2, 3, 4, 5, 20]
        );
        assert_eq!(
            remaining(&told(LevelHeaders::Late, &seconds)),
            [1, 1, 1, 2, 3, 5]
        );
    }

    #[test]
    fn tokens_are_rounded_to_thousands_and_requests_are_not() {
        let levels = told(LevelHeaders::Rounded, &[0, 1]);
        let tokens: Vec<_> = levels.iter().flat_map(|levels| levels.tokens).collect();
        assert_eq!((tokens[0].remaining, tokens[1].remaining), (1_000, 2_000));
        assert_eq!(remaining(&levels), [0, 1]);
    }

    #[test]
    fn lies_are_lies_and_silence_is_silence() {
        let truth = told(LevelHeaders::Right, &[7; 50]);
        let doubled = told(LevelHeaders::WrongLimit, &[7])[0].requests.unwrap();
        assert_eq!((doubled.limit, doubled.remaining), (120, 14));
        let wrong = told(LevelHeaders::WrongRemaining, &[7; 50]);
        assert!(
            wrong
                .iter()
                .all(|levels| levels.requests.unwrap().limit == 60)
        );
        let wrong = remaining(&wrong);
        assert!(wrong.iter().any(|&left| left > 40) && wrong.iter().any(|&left| left < 20));
        assert_ne!(wrong, remaining(&truth));
        assert_eq!(told(LevelHeaders::Absent, &[7]), [Levels::default()]);
    }
}
